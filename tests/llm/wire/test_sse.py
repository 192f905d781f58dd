"""Server-sent events are split and joined without losing a byte."""

from itertools import pairwise

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.wire.texts.sse import EventTooLarge, SseSplitter, data_of, encode, splice_purser

line_ends = st.sampled_from(["\n", "\r\n", "\r"])
texts = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=40)


@st.composite
def events(draw: st.DrawFn) -> tuple[bytes, list[str]]:
    """An event as bytes, and the lines of its data."""
    end = draw(line_ends)
    lines = draw(st.lists(texts, min_size=1, max_size=3))
    name = draw(st.sampled_from(["", f"event: message{end}", f": a comment{end}", f"id: 7{end}"]))
    space = draw(st.sampled_from(["", " "]))
    # without a space a text that begins with one would lose it: that is the standard's rule
    lines = [line.lstrip(" ") if not space else line for line in lines]
    return (name + "".join(f"data:{space}{line}{end}" for line in lines) + end).encode(), lines


def chunked(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    return [stream[start:end] for start, end in pairwise(places)]


def test_it_works() -> None:
    splitter = SseSplitter()
    assert splitter.feed(b"data: 1\n\ndata: 2") == [b"data: 1\n\n"]
    assert splitter.feed(b"\n\n") == [b"data: 2\n\n"]
    assert splitter.rest() == b""


@given(st.lists(events(), max_size=6), st.lists(st.integers(0, 2000), max_size=12))
def test_any_chunking_gives_the_same_events(told: list[tuple[bytes, list[str]]], cuts: list[int]) -> None:
    stream = b"".join(event for event, _ in told)
    splitter = SseSplitter()
    found = [event for chunk in chunked(stream, cuts) for event in splitter.feed(chunk)]
    found += splitter.feed(b":")  # whatever follows settles a bare CR at the end
    assert b"".join(found) == stream
    assert [data_of(event).decode() for event in found] == ["\n".join(lines) for _, lines in told]


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=8))
def test_no_byte_is_ever_lost_or_changed(stream: bytes, cuts: list[int]) -> None:
    splitter = SseSplitter()
    found = [event for chunk in chunked(stream, cuts) for event in splitter.feed(chunk)]
    assert b"".join(found) + splitter.rest() == stream


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=4), st.sampled_from(["", "ping"]))
def test_what_is_encoded_is_read_back(payload: dict[str, str], name: str) -> None:
    assert orjson.loads(data_of(encode(payload, event=name))) == payload


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=4))
def test_our_object_is_added_and_nothing_else_changes(payload: dict[str, str]) -> None:
    raw = encode(payload, event="last")
    spliced = splice_purser(raw, {"cost": "1"})
    payload.pop("purser", None)
    assert orjson.loads(data_of(spliced)) == {**payload, "purser": {"cost": "1"}}
    assert spliced.startswith(raw[: raw.rindex(b"}")])


def test_a_character_cut_in_two_survives() -> None:
    splitter = SseSplitter()
    event = 'data: {"text":"Grüße 🎉"}\n\n'.encode()
    found = [part for index in range(len(event)) for part in splitter.feed(event[index : index + 1])]
    assert found == [event]


def test_an_event_without_end_is_refused() -> None:
    splitter = SseSplitter(max_event_bytes=100)
    with pytest.raises(EventTooLarge):
        splitter.feed(b"data: " + b"x" * 200)
