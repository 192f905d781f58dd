"""Odd lines in the results of a provider's batch: none keeps another one from being read."""

import io
import json
from typing import Any

from llm.providers.kinds.anthropic import message_batches
from llm.providers.kinds.batch_results import lines_in
from llm.providers.kinds.openai import file_batches
from tests.llm.answers.bodies import chat, message, response


def line(custom_id: str, body: Any, *, status: int = 200) -> bytes:
    return json.dumps({"custom_id": custom_id, "response": {"status_code": status, "body": body}}).encode()


def test_it_works() -> None:
    """Half a character, NaN, what is nested deep, a line that breaks off, a word."""
    odd = line("half", chat({"content": "Hi \ud83d"}))
    nan = line("nan", chat()).replace(b'"index": 0', b'"index": 0, "logprobs": NaN')
    deep = line("deep", chat()).replace(b'"index": 0', b'"index": 0, "x": ' + b"[" * 400 + b"]" * 400)
    content = b"\n".join([odd, nan, b"OK", deep, line("cut", chat())[:-9], b"[]", line("last", chat())])
    assert [one["custom_id"] for one in lines_in(io.BytesIO(content))] == ["half", "nan", "deep", "last"]
    assert all(json.dumps(one) for one in lines_in(io.BytesIO(content)))


def test_an_error_with_status_200_is_no_answer() -> None:
    result = file_batches.result_of(json.loads(line("a", {"error": {"code": 429, "message": "no"}})))
    assert (result.answer, result.error) == (None, {"code": 429, "message": "no"})
    failed = response(status="failed", error={"code": "server_error", "message": "boom"})
    told = file_batches.result_of(json.loads(line("b", failed)))
    assert told.answer == failed  # it tells its usage: that is billed
    answered = file_batches.result_of(json.loads(line("c", chat())))
    assert answered.error is None


def test_a_result_without_its_parts_is_no_answer() -> None:
    for odd in ({}, {"type": "succeeded"}, {"type": "errored"}, {"type": "errored", "error": None}):
        assert message_batches.result_of("a", odd).answer is None
    assert message_batches.result_of("a", {"type": "succeeded", "message": message()}).answer == message()
