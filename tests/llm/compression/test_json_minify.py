"""JSON without its layout: lossless, wherever it stands in a text."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.compression.json_minify import compact, minify_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=25,
)


def test_it_works():
    text = 'Read this:\n{\n  "name": "A  B",\n  "total": 1.0,\n  "rows": [1, 2, 3]\n}\nThen answer.'
    assert minify_json(text) == 'Read this:\n{"name":"A  B","total":1.0,"rows":[1,2,3]}\nThen answer.'


@given(value=VALUES, indent=st.sampled_from([None, 1, 2, 4]), escapes=st.booleans())
def test_every_document_reads_back_equal(value, indent, escapes):
    document = json.dumps(value, indent=indent, ensure_ascii=escapes)
    shorter = compact(document)
    assert json.loads(shorter) == value
    assert len(shorter) <= len(document)


@given(text=st.text(alphabet='{}[]":, \n\t\\ab1.0e-`', max_size=200))
def test_text_that_is_no_json_comes_back_unchanged_or_equal(text):
    assert "".join(minify_json(text).split()) == "".join(text.split())


@pytest.mark.parametrize(
    ("document", "shorter"),
    [
        (
            '{"a": 1.0, "b": 1.00, "c": 1e5, "d": 1E+05, "e": -0.0}',
            '{"a":1.0,"b":1.00,"c":1e5,"d":1E+05,"e":-0.0}',
        ),
        ('{"id": 12345678901234567890123, "pi": 3.14159265358979323846}', None),
        (
            '{"key": 1, "key": 2, "other": "\\u00e9 \\" [ { \\n  x"}',
            '{"key":1,"key":2,"other":"\\u00e9 \\" [ { \\n  x"}',
        ),
    ],
)
def test_every_byte_but_the_layout_stays(document, shorter):
    assert compact(document) == (shorter or document.replace(": ", ":").replace(", ", ","))


def test_a_fence_marked_as_json_is_minified_and_any_other_is_not():
    document = '{\n    "first": 1,\n    "second": [1, 2, 3],\n    "third": null\n}'
    text = f"```json\n{document}\n```\n\n```python\nx = {document}\n{document}\n```\n"
    shorter = '{"first":1,"second":[1,2,3],"third":null}'
    assert minify_json(text) == (f"```json\n{shorter}\n```\n\n```python\nx = {document}\n{document}\n```\n")


def test_lines_of_json_are_minified_one_by_one():
    lines = "\n".join(f'{{"number": {number}, "name": "row {number}", "ok": true}}' for number in range(3))
    assert minify_json(lines).split("\n")[1] == '{"number":1,"name":"row 1","ok":true}'


def test_brackets_in_prose_stay():
    text = (
        "[1, 2] is an interval, { a, b } is a set, and [see the note below, please] is a remark.\n[x, y] too."
    )
    assert minify_json(text) == text


def test_deep_nesting_is_left_alone():
    text = "[ " * 5_000
    assert minify_json(text) == text


def test_text_full_of_brackets_takes_bounded_work():
    text = "[ 1, \n" * 20_000
    assert minify_json(text) == text
