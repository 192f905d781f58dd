"""The errors that a client can get, and how either API words them.

Invariant: one exception per outcome; its status and code are fixed on the class, and one renderer writes the envelope.
"""

from typing import Any
from uuid import UUID

import orjson

from llm.prompt_too_long import too_long
from tenants.errors import Api, ClientError


class InvalidRequest(ClientError):
    status, code, type = 400, "invalid_request", "invalid_request_error"


class ThreadUnsupported(InvalidRequest):
    """Anthropic's own way to say that a call must bring its whole conversation: its SDK's tool runner then does."""

    details = {"error_code": "thread_unsupported_request"}


class ContextLengthExceeded(ClientError):
    """A prompt that no doubt is longer than the model takes, in the words that either API's clients look for."""

    status, code, type = 400, "context_length_exceeded", "invalid_request_error"

    def __init__(self, *, tokens: int, most_tokens: int, model: str, param: str = "messages") -> None:
        super().__init__(
            too_long(Api.OPENAI, tokens=tokens, most_tokens=most_tokens),
            param=param,
            facts={"model": model, "tokens": tokens, "context_window": most_tokens},
        )

    def message_for(self, api: Api) -> str:
        return too_long(api, tokens=self.facts["tokens"], most_tokens=self.facts["context_window"])


class ModelNotFound(ClientError):
    status, code, type = 404, "model_not_found", "invalid_request_error"


class ModelSwitchedOff(ModelNotFound):
    """An operator switched the model off, or every account of it, and none of its fallbacks can answer."""

    status, code, type = 503, "provider_unavailable", "api_error"
    recurs = True

    def __init__(self, model: str, why_not: str = "") -> None:
        message = f"The model '{model}' is switched off here at the moment"
        super().__init__(f"{message} ({why_not})." if why_not else f"{message}.", param="model")


class NotFound(ClientError):
    status, code, type = 404, "not_found", "invalid_request_error"


class MethodNotAllowed(ClientError):
    status, code, type = 405, "invalid_request", "invalid_request_error"


class UpgradeRequired(ClientError):
    """A websocket was asked for. This status makes Codex go on with plain HTTP immediately."""

    status, code, type = 426, "invalid_request", "invalid_request_error"


class UnsupportedEncoding(ClientError):
    status, code, type = 415, "unsupported_encoding", "invalid_request_error"


class BodyTimeout(ClientError):
    """The body of the request did not come in time."""

    status, code, type = 408, "request_timeout", "invalid_request_error"


class RequestTooLarge(ClientError):
    status, code, type = 413, "request_too_large", "invalid_request_error"


class FeatureSwitchedOff(ClientError):
    """What the tenant's policy switches off while a budget presses."""

    status, code, type = 429, "budget_exceeded", "rate_limit_error"
    recurs = True


class GatewayBusy(ClientError):
    """More calls than this gateway takes at one time: nothing was begun, and the line says when to come back."""

    status, code, type = 503, "service_unavailable", "api_error"


class StillInProgress(ClientError):
    """Another call with the same idempotency key is being answered, for longer than we wait."""

    status, code, type = 504, "provider_timeout", "api_error"


class InternalError(ClientError):
    status, code, type = 500, "internal_error", "api_error"


# Anthropic's own names for its error types, by status
_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "request_too_large",
    415: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def openai_envelope(error: ClientError) -> dict[str, Any]:
    """The body of an error as the OpenAI API words it."""
    message = error.message_for(Api.OPENAI)
    return {"error": {"message": message, "type": error.type, "param": error.param, "code": error.code}}


def anthropic_envelope(error: ClientError, *, request_id: UUID | None = None) -> dict[str, Any]:
    """The body of an error as the Anthropic API words it, with our stable code next to its type."""
    kind = _ANTHROPIC_TYPES.get(error.status, "api_error")
    detail: dict[str, Any] = {
        "type": kind,
        "message": error.message_for(Api.ANTHROPIC),
        "code": error.code,
        "param": error.param,
    }
    if error.details:
        detail["details"] = dict(error.details)
    return {"type": "error", "error": detail, "request_id": str(request_id) if request_id else None}


def envelope(error: ClientError, *, api: Api, request_id: UUID | None = None) -> bytes:
    """The JSON body of an error in an API's envelope."""
    if api == Api.ANTHROPIC:
        return orjson.dumps(anthropic_envelope(error, request_id=request_id))
    return orjson.dumps(openai_envelope(error))


def error_headers(error: ClientError, *, request_id: UUID | None = None) -> dict[str, str]:
    """The headers that go with an error: the request's id, when to come back, whether an SDK should retry."""
    headers = error.response_headers()
    if request_id:
        headers["x-request-id"] = str(request_id)
    return headers
