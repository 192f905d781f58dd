"""A changed body keeps the bytes of everything that was not changed."""

import random
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.wire import Source
from tests.json_text import written_oddly

names = st.text(max_size=6)
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**40), 2**60),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12),
)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)
bodies = st.dictionaries(names, values, max_size=6)


@given(body=bodies, seed=st.integers(0, 2**32))
def test_it_works(body: dict[str, Any], seed: int) -> None:
    """Nothing changed: the same bytes. Something added: the same bytes, and it."""
    raw = f" {written_oddly(body, random.Random(seed))}\n".encode()
    source = Source(raw, orjson.loads(raw))
    assert source.rewritten(source.body) == raw
    more = source.rewritten({**source.body, "added-here": 5})
    head, _, tail = more.partition(b'"added-here":5')
    assert raw.startswith(head.rstrip().removesuffix(b",").rstrip())
    assert raw.endswith(tail)


@given(body=bodies, other=bodies, seed=st.integers(0, 2**32))
def test_what_is_written_is_what_was_asked_for(
    body: dict[str, Any], other: dict[str, Any], seed: int
) -> None:
    style = random.Random(seed)
    raw = written_oddly(body, style).encode()
    source = Source(raw, orjson.loads(raw))
    wanted = changed(source.body, other, style)
    written = orjson.loads(source.rewritten(wanted))
    assert written == wanted
    assert orjson.dumps(written, option=orjson.OPT_SORT_KEYS) == orjson.dumps(
        wanted, option=orjson.OPT_SORT_KEYS
    )


def changed(body: Any, other: dict[str, Any], style: random.Random) -> Any:
    """The body with some of its values exchanged, taken away, or joined by others, at any depth."""
    if isinstance(body, dict):
        kept = {name: changed(value, other, style) for name, value in body.items() if style.random() < 0.8}
        return kept | ({} if style.random() < 0.5 else other)
    if isinstance(body, list):
        return [changed(item, other, style) for item in body if style.random() < 0.9]
    return body if style.random() < 0.8 else style.choice([1, 1.0, True, None, "1", [], {}])


@pytest.mark.parametrize(
    ("raw", "changes", "written"),
    [
        ('{"n": 1.0, "model": "a"}', {"model": "b"}, '{"n": 1.0, "model": "b"}'),
        (
            '{"seed":123456789012345678901234567890}',
            {"m": 1},
            '{"seed":123456789012345678901234567890,"m":1}',
        ),
        ('{"a":1e5,\n "b":"\\u00e9"}', {"c": True}, '{"a":1e5,\n "b":"\\u00e9",\n "c":true}'),
        ('{"a": {"x": 1.50}, "b": 2}', {"a": {"x": 1.5, "y": 0}}, '{"a": {"x": 1.50,"y":0}, "b": 2}'),
        ('{"a": 1, "b": 2, "c": 3}', {"b": None}, '{"a": 1, "b": null, "c": 3}'),
        ("{}", {"a": 1}, '{"a":1}'),
        ('{"n": 1}', {"n": 1.0}, '{"n": 1.0}'),
        ('{"n": 1}', {"n": True}, '{"n": true}'),
    ],
)
def test_only_what_changed_is_written_anew(raw: str, changes: dict[str, Any], written: str) -> None:
    source = Source(raw.encode(), orjson.loads(raw))
    assert source.rewritten({**source.body, **changes}).decode() == written


@pytest.mark.parametrize(("gone", "written"), [("a", '{"b": 2}'), ("b", '{"a": 1.0}')])
def test_a_member_goes_with_its_comma(gone: str, written: str) -> None:
    source = Source(b'{"a": 1.0, "b": 2}', {"a": 1.0, "b": 2})
    assert (
        source.rewritten({name: it for name, it in source.body.items() if name != gone}).decode() == written
    )


def test_turns_that_stay_keep_their_bytes_when_others_go() -> None:
    raw = b'{"messages": [{"n": 1.0}, {"n": 2.0 }, {"n": "\\u0033"}]}'
    body = orjson.loads(raw)
    fewer = {"messages": [body["messages"][0], body["messages"][2]]}
    assert Source(raw, body).rewritten(fewer) == b'{"messages": [{"n": 1.0}, {"n": "\\u0033"}]}'


@pytest.mark.parametrize(
    "raw", [b'{"model":"cheap","model":"dear"}', b'{"model":"cheap","m\\u006fdel":"dear"}']
)
def test_a_name_said_twice_is_said_once(raw: bytes) -> None:
    """Else a provider that takes the first one would answer with another model than the one that was priced."""
    source = Source(raw, orjson.loads(raw))
    assert source.rewritten(source.body) == b'{"model":"dear"}'
    assert source.rewritten({"model": "other"}) == b'{"model":"other"}'


@given(body=bodies, other=bodies, seed=st.integers(0, 2**32))
def test_a_body_written_as_sdks_write_it_keeps_its_order(
    body: dict[str, Any], other: dict[str, Any], seed: int
) -> None:
    source = Source(orjson.dumps(body), body)
    wanted = changed(body, other, random.Random(seed))
    assert source.rewritten(body) == source.raw
    assert source.rewritten(wanted) == orjson.dumps(wanted)
