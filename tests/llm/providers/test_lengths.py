"""A prompt too long, in the words that the client's API has for it."""

import pytest

from llm.errors import envelope
from llm.prompt_too_long import in_words_of
from llm.providers.classify import failure_of

ANTHROPIC = "prompt is too long: 204009 tokens > 200000 maximum"
OPENAI = (
    "This model's maximum context length is 200000 tokens. However, your messages resulted in 204009 tokens."
)


def test_it_works() -> None:
    assert in_words_of("openai", ANTHROPIC) == OPENAI
    assert in_words_of("anthropic", OPENAI) == ANTHROPIC


@pytest.mark.parametrize(
    ("told", "by_anthropic"),
    [
        (
            "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (4000 in the "
            "messages, 1000 in the completion).",
            "prompt is too long: 5000 tokens > 4096 maximum",
        ),
        (
            "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300001 tokens.",
            "prompt is too long: 300001 tokens > 272000 maximum",
        ),
        (
            "Your input exceeds the context window of this model.",
            "prompt is too long: Your input exceeds the context window of this model.",
        ),
        ("input length and `max_tokens` exceed context limit: 188000 + 21333 > 200000", None),
        ("messages: at least one message is required", None),
    ],
)
def test_what_already_speaks_to_the_client_stays(told: str, by_anthropic: str | None) -> None:
    assert in_words_of("anthropic", told) == (by_anthropic or told)


@pytest.mark.parametrize("told", [ANTHROPIC, OPENAI, "exceed context limit: 188000 + 21333 > 200000"])
def test_a_providers_refusal_keeps_its_code_and_its_words(told: str) -> None:
    body = b'{"type": "error", "error": {"type": "invalid_request_error", "message": "%s"}}' % told.encode()
    failure = failure_of(400, body, {}, provider="p", api_key="")
    assert (failure.code, failure.message) == ("context_length_exceeded", told)
    assert b"tokens > 200000 maximum" in envelope(failure, api="anthropic") or told.encode() in envelope(
        failure, api="anthropic"
    )
    assert b"maximum context length is 200000 tokens" in envelope(failure, api="openai")


@pytest.mark.parametrize(
    "told",
    [
        "messages.1.content.0: Input tag 'key_points' found using 'type' does not match any of the expected tags",
        "tools.0.custom.input_schema: JSON schema is invalid",
        "Overloaded",
    ],
)
@pytest.mark.parametrize("status", [400, 404, 422, 429, 500, 503, 529])
def test_words_that_hold_no_secret_pass_unchanged(told: str, status: int) -> None:
    body = b'{"error": {"type": "x", "message": "%s"}}' % told.encode()
    assert failure_of(status, body, {}, provider="p", api_key="sk-ours").message == told
