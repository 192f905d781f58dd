"""Errors in the place of an answer: in a body with status 200, or in an event of a stream.

Invariant: pure. An answer is never taken for an error: a null, an empty or a zero error is none.
"""

from typing import Any, Final

from llm.wire.formats import Body

_PIECES: Final = frozenset(
    {"content_block_delta", "response.output_text.delta", "response.function_call_arguments.delta"}
)
_ANSWERS: Final = ("choices", "content", "output", "data", "message", "response", "delta")

# what servers call their errors, as the status that they mean; the first that is part of the name counts
_STATUS_OF: Final = (
    ("context_length", 400),
    ("insufficient_quota", 429),
    ("rate_limit", 429),
    ("ratelimit", 429),
    ("resource_exhausted", 429),
    ("too_many_requests", 429),
    ("overloaded", 529),
    ("unavailable", 503),
    ("timeout", 504),
    ("deadline", 504),
    ("authentication", 401),
    ("unauthorized", 401),
    ("unauthenticated", 401),
    ("invalid_api_key", 401),
    ("billing", 402),
    ("payment", 402),
    ("permission", 403),
    ("forbidden", 403),
    ("not_found", 404),
    ("notfound", 404),
    ("too_large", 413),
    ("unprocessable", 422),
    ("invalid_request", 400),
    ("invalid_argument", 400),
    ("invalid_prompt", 400),
    ("badrequest", 400),
    ("bad_request", 400),
    ("content_filter", 400),
    ("content_policy", 400),
    ("image", 400),
)
_WORDS_OF: Final = (("overloaded", 529), ("rate limit", 429), ("too many requests", 429))
SERVER_ERROR: Final = 500


def error_in(payload: Body) -> dict[str, Any] | None:
    """The error in a whole body or an event, in any of the shapes in use; None if there is none."""
    kind = payload.get("type")
    if kind in _PIECES:  # most of a stream
        return None
    error = payload.get("error")
    if error and (not isinstance(error, dict) or any(error.values())):
        return _described(error, payload=payload)
    if (choices := payload.get("choices")) and isinstance(choices, list):
        return _of_choices(choices)
    if kind == "error" or payload.get("object") == "error":
        return payload
    if kind == "response.failed" or payload.get("status") == "failed":
        return _of_response(payload)
    return _of_no_answer(payload)


def error_in_any(body: Any) -> dict[str, Any] | None:
    """The same for a body of any type: some servers send a list with the error in it."""
    if isinstance(body, list) and len(body) == 1:
        body = body[0]
    return error_in(body) if isinstance(body, dict) else None


def status_of(error: dict[str, Any]) -> int:
    """The HTTP status that an error in words or numbers means; 500 where it says nothing."""
    for name in ("status_code", "status", "code", "http_code"):
        if (status := _number(error.get(name))) is not None:
            return status
    names = "/".join(str(error.get(name) or "") for name in ("code", "type", "status")).lower()
    for word, status in _STATUS_OF:
        if word in names:
            return status
    message = str(error.get("message") or "").lower()
    return next((status for words, status in _WORDS_OF if words in message), SERVER_ERROR)


def _described(error: Any, *, payload: Body) -> dict[str, Any]:
    if isinstance(error, dict):
        return error
    message = error if isinstance(error, str) else payload.get("message") or "unknown error"
    named = {
        name: payload[name] for name in ("code", "type", "status") if isinstance(payload.get(name), str | int)
    }
    return {**named, "message": str(message)}


def _of_choices(choices: Any) -> dict[str, Any] | None:
    for choice in choices:
        if isinstance(choice, dict) and (choice.get("error") or choice.get("finish_reason") == "error"):
            return _described(choice.get("error") or "The provider's answer ended with an error.", payload={})
    return None


def _of_response(payload: Body) -> dict[str, Any] | None:
    """The error of a response that has failed."""
    response = payload.get("response") if payload.get("type") == "response.failed" else payload
    if not isinstance(response, dict) or response.get("object", "response") != "response":
        return None
    return _described(response.get("error") or "The response has failed.", payload={})


def _of_no_answer(payload: Body) -> dict[str, Any] | None:
    """The error of a body that has a status of the server's own in place of an answer."""
    if any(payload.get(name) for name in _ANSWERS):
        return None
    own = payload.get("base_resp")
    if isinstance(own, dict) and own.get("status_code"):
        return {
            "code": f"status {own['status_code']}",
            "message": str(own.get("status_msg") or "unknown error"),
        }
    if payload.get("success") is False or payload.get("ok") is False:
        return payload
    if payload.get("detail"):
        return {"message": str(payload["detail"])}
    if payload.get("errors"):
        first = payload["errors"][0] if isinstance(payload["errors"], list) else payload["errors"]
        return _described(first, payload=payload)
    return None


def _number(value: Any) -> int | None:
    """A status, as a number or as its digits."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) == 3:
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 400 <= value < 600 else None
