"""Owns the error bodies of both providers.

Invariant: a ProviderError is rendered in the envelope of the API that was called.
"""

from typing import Any

OPENAI_TYPES = {
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("invalid_request_error", "permission_denied"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
    500: ("server_error", None),
    502: ("server_error", None),
    503: ("server_error", "service_unavailable"),
    504: ("server_error", None),
}
ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
MESSAGES = {
    401: "Incorrect API key provided.",
    403: "You are not allowed to do this.",
    404: "Not found.",
    408: "Request timed out.",
    409: "Conflict: another request changed this resource.",
    413: "Request exceeds the maximum size.",
    429: "Rate limit reached: please slow down.",
    500: "The server had an error while processing your request. Sorry about that!",
    502: "Bad gateway.",
    503: "The engine is currently overloaded, please try again later.",
    504: "The request timed out inside the provider.",
    529: "Overloaded",
}


class ProviderError(Exception):
    """An answer that is an error; raised anywhere while a call is served."""

    def __init__(
        self,
        status: int,
        message: str = "",
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
        anthropic_type: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message or MESSAGES.get(status, "The request failed.")
        self.param = param
        self.code = code
        self.retry_after = retry_after
        self.anthropic_type = anthropic_type

    def body(self, kind: str, request_id: str) -> dict[str, Any]:
        """The envelope of `openai` or `anthropic`."""
        if kind == "anthropic":
            default = "api_error" if self.status >= 500 else "invalid_request_error"
            error_type = self.anthropic_type or ANTHROPIC_TYPES.get(self.status, default)
            error = {"type": error_type, "message": self.message}
            return {"type": "error", "error": error, "request_id": request_id}
        error_type, code = OPENAI_TYPES.get(self.status, ("invalid_request_error", None))
        if self.code == "insufficient_quota":
            error_type = "insufficient_quota"
        return {
            "error": {
                "message": self.message,
                "type": error_type,
                "param": self.param,
                "code": self.code or code,
            }
        }
