"""More output than a model can give is refused as its provider would, before anything else is done for it."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.api.conftest import ask, fresh_question, purser_of, turns
from tests.world import Deployment, World

MESSAGES = "/v1/messages"
CHAT = "/v1/chat/completions"


def call(world: World, path: str, body: dict[str, Any], **headers: str) -> tuple[int, dict[str, Any]]:
    text = fresh_question()
    asked = {"input": text} if path == "/v1/responses" else {"messages": turns(text)}
    asked = {"prompt": text} if path == "/v1/completions" else asked
    return world.request("POST", path, {**asked, **body}, headers=headers)


@pytest.mark.parametrize(
    ("path", "body", "param", "message"),
    [
        (
            CHAT,
            {"model": "gpt-4o-mini", "max_tokens": 16_385},
            "max_tokens",
            "max_tokens is too large: 16385. This model supports at most 16384 completion tokens, "
            "whereas you provided 16385.",
        ),
        (
            CHAT,
            {"model": "gpt-4o-mini", "max_completion_tokens": 2**31 - 1},
            "max_completion_tokens",
            "max_completion_tokens is too large: 2147483647.",
        ),
        (CHAT, {"model": "claude-haiku-4-5", "max_tokens": 64_001}, "max_tokens", "at most 64000"),
        (
            "/v1/responses",
            {"model": "gpt-4o-mini", "max_output_tokens": 16_385},
            "max_output_tokens",
            "Invalid 'max_output_tokens': integer above maximum value. Expected a value <= 16384, but got 16385",
        ),
        ("/v1/completions", {"model": "gpt-4o-mini", "max_tokens": 16_385}, "max_tokens", "too large"),
        (CHAT, {"model": "gpt-4o-mini", "n": 129}, "n", "Expected a value <= 128, but got 129 instead."),
        (CHAT, {"model": "auto", "n": 2**31 - 1}, "n", "Expected a value <= 128"),
        (CHAT, {"model": "gpt-4o-mini", "logprobs": True, "top_logprobs": 21}, "top_logprobs", "<= 20"),
        ("/v1/completions", {"model": "gpt-4o-mini", "best_of": 21}, "best_of", "<= 20"),
        ("/v1/completions", {"model": "gpt-4o-mini", "n": 129}, "n", "<= 128"),
    ],
)
def test_openais_words(world: World, path: str, body: dict[str, Any], param: str, message: str) -> None:
    status, answer = call(world, path, body)
    assert status == 400
    error = answer["error"]
    assert (error["type"], error["code"], error["param"]) == (
        "invalid_request_error",
        "invalid_request",
        param,
    )
    assert message in error["message"]


def test_anthropics_words(world: World) -> None:
    status, answer = call(world, MESSAGES, {"model": "claude-haiku-4-5", "max_tokens": 64_001})
    assert (status, answer["type"], answer["error"]["type"]) == (400, "error", "invalid_request_error")
    assert answer["error"]["message"] == (
        "max_tokens: 64001 > 64000, which is the maximum allowed number of output tokens for claude-haiku-4-5"
    )


def test_the_maximum_itself_is_taken(world: World) -> None:
    assert call(world, CHAT, {"model": "gpt-4o-mini", "max_tokens": 16_384})[0] == 200
    assert call(world, MESSAGES, {"model": "claude-haiku-4-5", "max_tokens": 64_000})[0] == 200


def test_a_beta_that_raises_the_maximum_is_the_providers_to_judge(
    world: World, make_deployment: Callable[..., Deployment]
) -> None:
    body = {"model": make_deployment("anthropic", max_output_tokens=1000).model, "max_tokens": 2000}
    assert call(world, MESSAGES, body)[0] == 400
    assert call(world, MESSAGES, body, **{"anthropic-beta": "output-128k-2025-02-19"})[0] == 200


def test_who_leaves_the_model_to_us_gets_what_the_chosen_one_can(world: World) -> None:
    block = purser_of(ask(world.openai(), model="auto:simple", max_tokens=1_000_000))
    assert block["model"]
