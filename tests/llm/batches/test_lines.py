"""A batch's file, line by line: what can be sent, and what is wrong with the rest."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.batches.lines import LONGEST_LINE_BYTES, BatchLine, LineReader, Problem, numbered
from llm.errors import ModelNotFound
from llm.providers.kinds import KINDS
from llm.providers.target import Target

ENDPOINT = "/v1/chat/completions"


def find(model: str) -> Target:
    if model.startswith("gone"):
        raise ModelNotFound(f"The model '{model}' does not exist here.", param="model")
    return Target(
        model=model,
        provider="somewhere",
        kind=KINDS["anthropic" if model.startswith("claude") else "openai"],
        base_url="",
        api_key="",
        upstream=model,
        model_kind="embedding" if "embedding" in model else "chat",
    )


def line(custom_id: Any = "a", *, body: Any = None, **changes: Any) -> dict[str, Any]:
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}]} if body is None else body
    return {"custom_id": custom_id, "method": "POST", "url": ENDPOINT, "body": body, **changes}


def read(*lines: Any, endpoint: str = ENDPOINT):
    content = b"\n".join(one if isinstance(one, bytes) else json.dumps(one).encode() for one in lines)
    return read_content(content, endpoint=endpoint)


def read_content(
    content: bytes, *, endpoint: str = ENDPOINT, size: int = 7
) -> tuple[list[BatchLine], list[Problem]]:
    """The lines and the problems of a content that comes in pieces of so many bytes."""
    pieces = (content[at : at + size] for at in range(0, len(content), size))
    found = list(LineReader(find=find, endpoint=endpoint).read(pieces))
    return [one for one in found if isinstance(one, BatchLine)], [
        one for one in found if isinstance(one, Problem)
    ]


def problem_of(*lines: Any, endpoint: str = ENDPOINT) -> tuple[int, str, str | None]:
    _, problems = read(*lines, endpoint=endpoint)
    assert len(problems) == 1
    return problems[0].line, problems[0].code, problems[0].param


def test_it_works():
    lines, problems = read(line("a"), line("b"))
    assert [(one.number, one.custom_id, one.target.model) for one in lines] == [
        (1, "a", "gpt-4o-mini"),
        (2, "b", "gpt-4o-mini"),
    ]
    assert problems == []


def test_blank_lines_and_windows_line_ends_are_no_lines():
    content = (
        b"\xef\xbb\xbf"
        + json.dumps(line("a")).encode()
        + b"\r\n\r\n"
        + json.dumps(line("b")).encode()
        + b"\r\n"
    )
    lines, problems = read_content(content)
    assert [one.number for one in lines] == [1, 3]
    assert problems == []


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        (b"{not json", (2, "invalid_request", None)),
        (b"[1]", (2, "invalid_request", None)),
        (line("a"), (2, "invalid_request", "custom_id")),
        (line(""), (2, "invalid_request", "custom_id")),
        (line(7), (2, "invalid_request", "custom_id")),
        (line("x" * 513), (2, "invalid_request", "custom_id")),
        (line("b", method="GET"), (2, "invalid_request", "method")),
        (line("b", url="/v1/embeddings"), (2, "invalid_request", "url")),
        (line("b", body="text"), (2, "invalid_request", "body")),
        (line("b", body={"messages": []}), (2, "invalid_request", "messages")),
        (line("b", body={**line()["body"], "stream": True}), (2, "invalid_request", "stream")),
        (line("b", body={**line()["body"], "model": "gone-1"}), (2, "model_not_found", "model")),
        (
            line("b", body={**line()["body"], "model": "text-embedding-3-small"}),
            (2, "invalid_request", "model"),
        ),
        (line("b", body={**line()["body"], "user": "a\x00b"}), (2, "invalid_request", "body")),
    ],
)
def test_a_wrong_line_is_named_by_its_number(wrong, problem):
    assert problem_of(line("a"), wrong) == problem


def test_what_has_no_counterpart_at_the_models_provider_is_refused_by_name():
    body = {**line()["body"], "model": "claude-haiku-4-5", "logprobs": True}
    assert problem_of(line("a", body=body))[1:] == ("invalid_request", "logprobs")


def test_an_empty_file_is_a_problem_of_the_file():
    assert read(b"  \n ")[1][0].to_json() == {
        "code": "empty_file",
        "message": "The file has no lines.",
        "param": None,
        "line": None,
    }


def test_every_wrong_line_is_named():
    _, problems = read(line("a"), b"x", line("b"), b"y")
    assert [problem.line for problem in problems] == [2, 4]


def test_embeddings_are_read_as_embeddings():
    body = {"model": "text-embedding-3-small", "input": ["one", "two"]}
    lines, problems = read(line("a", body=body, url="/v1/embeddings"), endpoint="/v1/embeddings")
    assert len(lines) == 1
    assert problems == []


@given(content=st.binary(max_size=200))
def test_no_file_makes_it_fail(content):
    lines, problems = read_content(content)
    assert not lines
    assert problems


def test_it_reads_the_endpoint_of_a_file_from_its_first_line():
    reader = LineReader(find=find)
    content = b"\n".join(json.dumps(one).encode() for one in (line("a"), line("b", url="/v1/embeddings")))
    first, second = reader.read([content])
    assert isinstance(first, BatchLine)
    assert (reader.endpoint, second.line, second.param) == (ENDPOINT, 2, "url")


def test_a_line_that_is_too_long_is_a_problem_and_the_next_one_is_read():
    long = (b"x" * 1_000_000 for _ in range(LONGEST_LINE_BYTES // 1_000_000 + 1))
    first, second = LineReader(find=find, endpoint=ENDPOINT).read(
        [*long, b"\n", json.dumps(line("a")).encode()]
    )
    assert (first.line, first.code) == (1, "line_too_long")
    assert second.number == 2


def test_ten_million_blank_lines_are_counted_and_not_kept():
    blank = b"\n" * 1_000_000
    assert list(numbered([*([blank] * 10), b" \r\n", b"{}"])) == [(10_000_002, b"{}")]


def test_the_same_id_is_found_however_far_apart():
    lines = [line(str(number)) for number in range(3_000)]
    assert problem_of(*lines, line("0")) == (3_001, "invalid_request", "custom_id")


@given(
    content=st.binary(max_size=60) | st.text(alphabet="a\n\r \ufeff", max_size=60).map(str.encode),
    cuts=st.integers(1, 9),
)
def test_pieces_make_no_difference(content, cuts):
    pieces = [content[at : at + cuts] for at in range(0, len(content), cuts)]
    assert list(numbered(pieces)) == list(numbered([content]))
