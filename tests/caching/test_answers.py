"""An answer comes out of its bytes as it went in, whatever stored them."""

import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from caching.answers import UnreadableAnswer, _decompressed, pack, unpack
from tests.caching.material import answer


def test_it_works() -> None:
    kept = answer("Here. " * 1000)
    assert unpack(pack(kept)) == kept
    assert len(pack(kept)) < 1000


def test_what_was_stored_before_is_read() -> None:
    kept = answer("Here.")
    assert unpack(b"\x01" + zlib.compress(_decompressed(pack(kept)))) == kept


@pytest.mark.parametrize(
    "damage", [b"", b"\x03later", b"\x02", b"\x02not of this format", b"\x01nor of that"]
)
def test_damaged_bytes_are_unreadable(damage: bytes) -> None:
    with pytest.raises(UnreadableAnswer):
        unpack(damage)


def test_half_an_answer_is_unreadable() -> None:
    kept = answer("Here.")
    packed = pack(kept)
    for at in range(len(packed)):
        with pytest.raises(UnreadableAnswer):
            unpack(packed[:at])


def test_threads_do_not_mix_their_answers() -> None:
    answers = [answer(f"{n} " * 500) for n in range(200)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda kept: unpack(pack(kept)), answers)) == answers
