"""Texts in files: nothing starts a formula, nothing is lost."""

import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from billing.months.exports.cells import exact_texts, guarded, json_cell

ODD = st.text(st.sampled_from("=+-@'\"ab ;,|\t\n\r＝＋1"), max_size=12)


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("alice", "alice"),
        ("=x", "'=x"),
        ("'=x", "''=x"),
        ("+49 170", "'+49 170"),
        ("semi;=1+1", "semi;'=1+1"),
        ("O'Brien", "O'Brien"),
        ("a-b@example.com", "a-b@example.com"),
        ("Müller", "Müller"),
        ("", ""),
    ],
)
def test_it_works(text: str, cell: str) -> None:
    assert guarded(text) == cell


@given(ODD)
@example("a;\t=1")
def test_no_part_of_a_cell_starts_a_formula(text: str) -> None:
    for part in re.split(r"[;,|\t\r\n]", guarded(text)):
        assert not part.lstrip(' "').startswith(("=", "+", "-", "@", "＝", "＋"))


@given(ODD, ODD)
def test_different_texts_stay_different(one: str, other: str) -> None:
    assert (guarded(one) == guarded(other)) == (one == other)


@given(ODD)
def test_the_exact_text_is_beside_it(text: str) -> None:
    found = exact_texts({"user": text, "model": "gpt-4o"})
    assert (json.loads(found) if found else {}) == ({"user": text} if guarded(text) != text else {})
    assert not re.search(r"[=+\-@＝＋]", found)
    assert json.loads(json_cell({"k": text})) == {"k": text}
