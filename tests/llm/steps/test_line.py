"""The line between a stream and the client that it is written to."""

import asyncio
from collections.abc import Callable

import pytest

from llm.steps.streams.line import Line

LONG = 3600.0
SHORT = 0.01


class Client:
    """A client of one line. While it is `slow`, what is written to it waits."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.can_take = asyncio.Event()
        self.can_take.set()

    async def write(self, chunk: bytes) -> None:
        await self.can_take.wait()
        self.got.append(chunk)


def line(*, patience_seconds: float = LONG, on_cut: Callable[[], None] = lambda: None) -> Line:
    return Line(patience_seconds=patience_seconds, on_cut=on_cut)


async def test_it_works() -> None:
    """What was put before the client came waits for it; then everything goes out in its order, and the client is at its end."""
    client, ours = Client(), line()

    async def stream() -> None:
        for chunk in (b"1", b"2", b"3"):
            await ours.put(chunk)
        ours.end()

    streaming = asyncio.create_task(stream())
    await asyncio.sleep(0)
    await ours.carry(client.write)
    await streaming
    assert client.got == [b"1", b"2", b"3"]
    assert not ours.is_cut


async def test_a_slow_client_holds_up_the_stream_and_loses_nothing() -> None:
    client, ours = Client(), line()
    carrying = asyncio.create_task(ours.carry(client.write))
    await asyncio.sleep(0)
    client.can_take.clear()
    putting = asyncio.create_task(ours.put(b"1"))
    await asyncio.sleep(SHORT)
    assert not putting.done()
    client.can_take.set()
    await putting
    ours.end()
    await carrying
    assert client.got == [b"1"]


@pytest.mark.parametrize("has_come", [True, False])
async def test_a_client_that_takes_nothing_for_too_long_is_cut_off(has_come: bool) -> None:
    cuts: list[bool] = []
    client, ours = Client(), line(patience_seconds=SHORT, on_cut=lambda: cuts.append(True))
    client.can_take.clear()
    carrying = asyncio.create_task(ours.carry(client.write)) if has_come else None
    await asyncio.sleep(0)
    await ours.put(b"1")
    await ours.put(b"2")  # waits for nobody
    assert (ours.is_cut, cuts, client.got) == (True, [True], [])
    if carrying:
        await carrying


async def test_a_client_that_goes_frees_the_stream_at_once() -> None:
    """Nothing of it reaches the stream's task but that it need not wait any more."""
    client, ours = Client(), line()
    carrying = asyncio.create_task(ours.carry(client.write))
    await asyncio.sleep(0)
    client.can_take.clear()
    putting = asyncio.create_task(ours.put(b"1"))
    await asyncio.sleep(0)
    carrying.cancel()
    await putting
    assert (putting.cancelling(), ours.is_cut) == (0, True)


async def test_who_cancels_the_stream_itself_is_obeyed() -> None:
    client, ours = Client(), line()
    carrying = asyncio.create_task(ours.carry(client.write))
    client.can_take.clear()
    putting = asyncio.create_task(ours.put(b"1"))
    await asyncio.sleep(SHORT)
    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting
    assert not ours.is_cut
    ours.end()
    await carrying


async def test_both_at_the_same_time_end_the_stream() -> None:
    client, ours = Client(), line()
    carrying = asyncio.create_task(ours.carry(client.write))
    client.can_take.clear()
    putting = asyncio.create_task(ours.put(b"1"))
    await asyncio.sleep(SHORT)
    ours.cut()
    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting
    await carrying


async def test_who_hurries_waits_less() -> None:
    client, ours = Client(), line()
    carrying = asyncio.create_task(ours.carry(client.write))
    client.can_take.clear()
    putting = asyncio.create_task(ours.put(b"1"))
    await asyncio.sleep(0)
    ours.hurry(patience_seconds=SHORT)
    await putting
    await carrying
    assert ours.is_cut


async def test_a_client_that_cannot_be_written_to_is_gone() -> None:
    async def write(_: bytes) -> None:
        raise ConnectionResetError

    ours = line()
    carrying = asyncio.create_task(ours.carry(write))
    await asyncio.sleep(0)
    await ours.put(b"1")
    await carrying
    assert ours.is_cut


async def test_a_client_that_goes_after_the_end_is_not_cut_off() -> None:
    cuts: list[bool] = []
    ours = line(on_cut=lambda: cuts.append(True))
    ours.end()
    ours.cut()
    assert (ours.is_cut, cuts) == (False, [])
