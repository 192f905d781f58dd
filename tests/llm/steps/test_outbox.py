"""The line between who reads the provider and who writes to the client."""

import asyncio

import pytest

from llm.steps.streams.outbox import Outbox


async def test_it_works() -> None:
    """It takes so many bytes and a chunk more; then the writer waits for the reader, and nothing is lost."""
    outbox = Outbox(most_bytes=10)
    await outbox.put(b"12345678", patience_seconds=60)
    await outbox.put(b"9abc", patience_seconds=60)
    late = asyncio.create_task(outbox.put(b"def", patience_seconds=60))
    await asyncio.sleep(0)
    assert not late.done()
    assert await outbox.get() == b"12345678"
    await late
    await outbox.put(None, patience_seconds=60)
    assert [await outbox.get() for _ in range(3)] == [b"9abc", b"def", None]


async def test_a_reader_that_takes_nothing_is_given_up() -> None:
    outbox = Outbox(most_bytes=1)
    await outbox.put(b"1", patience_seconds=60)
    with pytest.raises(TimeoutError):
        await outbox.put(b"2", patience_seconds=0.01)
    await outbox.put(None, patience_seconds=0)  # the end always finds room


@pytest.mark.parametrize("make_room", ["drop", "let_pass"])
async def test_the_end_waits_for_nobody(make_room: str) -> None:
    outbox = Outbox(most_bytes=1)
    await outbox.put(b"1", patience_seconds=60)
    late = asyncio.create_task(outbox.put(b"2", patience_seconds=3600))
    await asyncio.sleep(0)
    getattr(outbox, make_room)()
    await late
    assert await outbox.get() == (b"2" if make_room == "drop" else b"1")
