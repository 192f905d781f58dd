"""The short way through a stream says what the long one says, or leaves the event to it."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.wire.texts.events import EventReader, Malformed
from llm.wire.texts.sse import SseSplitter

CHUNK = {
    "id": "c",
    "choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": None}],
    "usage": None,
}
TEXT = orjson.dumps(CHUNK)


def test_it_works() -> None:
    for raw in (b"data: %b\n\n" % TEXT, b"event: chunk\ndata: %b\n\n" % TEXT):
        assert EventReader().plain(raw) == CHUNK


@pytest.mark.parametrize(
    "raw",
    [
        b"data: [DONE]\n\n",
        b": alive\n\n",
        b"event: ping\n\n",
        b'event: {"a": 1}\n \n\n',  # a name that looks like data
        b"data: {\ndata: }\n\n",
        b"data:%b\n\n" % TEXT,
        b"id: 1\ndata: %b\n\n" % TEXT,
        b'data: {"a": NaN}\n\n',
        b'data: {"error": {"message": "no"}}\n\n',
        b'event: error\ndata: {"message": "no"}\n\n',
        b'data: {"a": %b}\n\n' % (b"[" * 250 + b"]" * 250),
        b"data: {\n\n",
        b"event: a\rdata: {}\ndata: {}\n\n",
    ],
)
def test_what_is_not_plain_is_left_to_be_read(raw: bytes) -> None:
    assert EventReader().plain(raw) is None


PIECES = st.sampled_from(
    [
        *(b"data: ", b"data:", b"event: ", b"event: error", b"id: 1", b": c", b"\n", b"\r", b"\r\n", b"\n\n"),
        *(
            TEXT,
            b"{}",
            b"{",
            b"}",
            b'{"error": "x"}',
            b'{"a": "\\ud83d"}',
            b" ",
            b"[DONE]",
            b"\xff",
            b"\xef\xbb\xbf",
        ),
    ]
)


@given(st.lists(PIECES, max_size=12))
def test_both_ways_say_the_same_of_anything(pieces: list[bytes]) -> None:
    reader = EventReader()
    for raw in SseSplitter().feed(b"".join(pieces) + b"\n\n"):
        payload = EventReader().plain(raw)
        try:
            event = reader.read(raw)
        except Malformed:
            assert payload is None
            return
        if payload is not None and not event.before:
            assert (event.raw, event.payload, event.error, event.is_end) == (raw, payload, None, False)


def test_after_half_a_character_nothing_is_plain_until_its_other_half_has_come() -> None:
    reader = EventReader()
    first = b'data: {"choices": [{"index": 0, "delta": {"content": "a\\ud83d"}}]}\n\n'
    assert reader.plain(first) is None
    reader.read(first)
    assert reader.plain(b"data: %b\n\n" % TEXT) is None
