"""What the tests of the API share: asking a question, and reading what came beside the answer."""

import itertools
import json
import secrets
from typing import Any

_numbers = itertools.count(1)


def fresh_question() -> str:
    """A question that nobody asked before, unlike any other."""
    return f"Describe the object with the code {secrets.token_hex(6)} in a sentence, number {next(_numbers)}."


def turns(text: str) -> list[dict[str, str]]:
    """A conversation of one question."""
    return [{"role": "user", "content": text}]


def ask(client: Any, text: str = "", *, model: str = "gpt-4o-mini", **options: Any) -> Any:
    """A chat completion through the OpenAI SDK: the raw response, whose `parse()` is the SDK's object."""
    return client.chat.completions.with_raw_response.create(
        model=model, messages=turns(text or fresh_question()), **options
    )


def ask_claude(client: Any, text: str = "", *, model: str = "claude-haiku-4-5", **options: Any) -> Any:
    """A message through the Anthropic SDK, raw like `ask`."""
    return client.messages.with_raw_response.create(
        **{"model": model, "max_tokens": 100, "messages": turns(text or fresh_question()), **options}
    )


def purser_of(response: Any) -> dict[str, Any]:
    """The `purser` object of a whole answer."""
    return body_of(response)["purser"]  # type: ignore[no-any-return]


def body_of(response: Any) -> dict[str, Any]:
    """The decoded body of either SDK's raw response."""
    body: dict[str, Any] = json.loads(response.http_response.content)
    return body


def events_of(text: str) -> list[dict[str, Any]]:
    """The JSON payloads of a stream, in order."""
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]
