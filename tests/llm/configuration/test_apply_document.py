"""A configuration file as data with line numbers."""

import pytest

from llm.configuration import ConfigurationError
from llm.configuration.document import read_document


def read(text: str, **environ: str) -> object:
    return read_document(text, source="purser.yaml", environ=environ).value


def refusal(text: str, **environ: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read(text, **environ)
    return str(caught.value)


def test_it_works() -> None:
    document = read_document(
        "providers:\n  - name: openai\n    limits: {rpm: 5}\n", source="purser.yaml", environ={}
    )
    assert document.value == {"providers": [{"name": "openai", "limits": {"rpm": 5}}]}
    assert document.line_of(("providers", 0, "limits", "rpm")) == 3
    assert document.line_of(("providers", 0, "absent")) == 2


def test_a_scalar_means_what_it_looks_like() -> None:
    text = "{a: off, b: yes, c: true, d: 0047, e: 1_000, f: '1', g: 1:30, h: null, i: ~, j: 12}"
    assert read(text) == {
        "a": "off",
        "b": "yes",
        "c": True,
        "d": "0047",
        "e": 1000,
        "f": "1",
        "g": "1:30",
        "h": None,
        "i": None,
        "j": 12,
    }


def test_a_fraction_is_exact() -> None:
    assert str(read("price: 0.10")["price"]) == "0.10"  # type: ignore[index]


def test_variables_are_read_from_the_environment() -> None:
    text = "a: ${NAME}\nb: {secret: ${NAME}, url: 'https://${HOST}/v1'}\nc: $${NAME}\n# ${NOT_ASKED_FOR}\n"
    assert read(text, NAME="x: [y", HOST="h") == {
        "a": "x: [y",
        "b": {"secret": "x: [y", "url": "https://h/v1"},
        "c": "${NAME}",
    }


def test_a_variable_is_never_parsed_again() -> None:
    assert read("a: ${NAME}", NAME="${OTHER}") == {"a": "${OTHER}"}
    assert read("a: ${NAME}", NAME="true") == {"a": "true"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: ${NAME}", "purser.yaml:2: b: the environment variable NAME is not set"),
        ("a: 1\nb: {c: ${NAME}}", "purser.yaml:2: b.c: the environment variable NAME is not set"),
        ("a: 1\na: 2", "purser.yaml:2: a: is here twice"),
        ("a:\n  - [1", "purser.yaml:2: is not YAML: expected ',' or ']', but got '<stream end>'"),
        ("a: &x\n  b: *x", "purser.yaml:1: a.b: contains itself"),
        ("a: !!python/name:os.system", "purser.yaml:1: a: the tag python/name:os.system is not supported"),
        ("a: 2027-02-30", "purser.yaml:1: a: is no date: day is out of range for month"),
        ("? [a]\n: 1", "purser.yaml:1: a key must be a word"),
        ("a: &x 1\nb:\n  <<: *x", "purser.yaml:1: b: << takes mappings"),
        ("a: &x\n  <<: *x", "purser.yaml:1: a: contains itself"),
        ("a:\n  " + "[" * 60 + "]" * 60, "purser.yaml:2: is nested too deep"),
        ("a: " + "[" * 9_000 + "]" * 9_000, "purser.yaml:1: is nested too deep"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, message: str) -> None:
    assert refusal(text) == message


def test_anchors_and_merges_are_understood() -> None:
    assert read("a: &x {p: 1, q: 2}\nb: {<<: *x, q: 3}") == {"a": {"p": 1, "q": 2}, "b": {"p": 1, "q": 3}}
    several = "a: &a {p: 1, q: 2}\nb: &b {q: 3, r: 4}\nc: {<<: [*a, *b], r: 5}"
    assert read(several)["c"] == {"p": 1, "q": 2, "r": 5}  # type: ignore[index]
    assert read("'<<': 1") == {"<<": 1}


def test_what_is_wrong_in_a_merged_block_is_named_where_it_is_written() -> None:
    document = read_document("a: &x\n  p: 1\nb:\n  <<: *x\n  q: 2\n", source="purser.yaml", environ={})
    assert (document.line_of(("b", "p")), document.line_of(("b", "q"))) == (2, 5)


@pytest.mark.parametrize("level", ["[{}]", "{{k: 1, <<: [{}]}}"])
def test_aliases_of_aliases_do_not_multiply_without_end(level: str) -> None:
    lines = ["a0: &a0 {k: 1}"]
    lines += [f"a{n}: &a{n} " + level.format(", ".join([f"*a{n - 1}"] * 10)) for n in range(1, 12)]
    assert "has more than 200000 values" in refusal("\n".join(lines))
