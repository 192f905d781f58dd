"""Whitespace that says nothing: what goes, and what stays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.compression.whitespace import compact_whitespace


def test_it_works():
    assert compact_whitespace("one  \n\n\n\n  two\t\nthree") == "one\n\n  two\nthree"


@pytest.mark.parametrize("mark", ["```", "~~~"])
def test_a_code_fence_stays_byte_for_byte(mark):
    fence = f"{mark}python\nx = 1   \n\n\n\ny = 2\t\n{mark}"
    assert compact_whitespace(f"before   \n{fence}\n\n\n\nafter") == f"before\n{fence}\n\nafter"


def test_a_fence_that_never_closes_reaches_to_the_end():
    text = "```\nx   \n\n\n\ny   "
    assert compact_whitespace(text) == text


def test_a_fence_shown_inside_a_fence_does_not_close_it():
    text = "~~~\n```\nx   \n```js\n\n\n\n~~~"
    assert compact_whitespace(text) == text


def test_a_patch_stays_as_it_is():
    text = "diff --git a/x b/x\n@@ -1,3 +1,3 @@\n \n-one  \n+one\n \n"
    assert compact_whitespace(text) == text


@given(text=st.text(alphabet="ab \t\n`~", max_size=100))
def test_words_and_indentation_stay(text):
    shorter = compact_whitespace(text)
    assert shorter.split() == text.split()
    assert compact_whitespace(shorter) == shorter
    assert [line for line in map(str.rstrip, shorter.split("\n")) if line] == [
        line for line in map(str.rstrip, text.split("\n")) if line
    ]
