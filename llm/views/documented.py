"""Documents an endpoint in the API's reference: its headers, its errors, its examples.

Invariant: annotations only; nothing here is executed for a request. Every operation names every error it can
answer with, in the envelope of the API it belongs to.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema

from llm.views.schemas import AnthropicError, JobObject, OpenAIError, StreamEvent

Documented = TypeVar("Documented")

JSON: Final = "application/json"
EVENTS: Final = "text/event-stream"

ERRORS: Final[Mapping[int, str]] = {
    400: "`invalid_request`, naming the field; `context_length_exceeded`.",
    401: "`invalid_api_key`, `expired_api_key`, `revoked_api_key`.",
    402: "`model_unpriced`: a model without a price is never called.",
    403: "`model_not_allowed` to the key, `tenant_suspended`, `ip_not_allowed`, `user_not_allowed`, `quota_exceeded`; "
    "`right_missing`: what is asked for is the whole tenant's, and a person's key has no right to it.",
    404: "`model_not_found`; `not_found`, also for another tenant's object.",
    413: "`request_too_large`.",
    429: "`budget_exceeded`: the budget is named, `x-should-retry: false`, `x-purser-budget-resets-at` is its reset. "
    "`rate_limit_exceeded`: the limit and its owner are named, with `retry-after`.",
    500: "`internal_error`; the request id finds it in the gateway's logs.",
    502: "`provider_error`: the provider's own message, without secrets.",
    503: "`provider_unavailable`; `service_unavailable` while the ledger cannot be reached or the gateway is full.",
    504: "`provider_timeout`.",
}
FINAL: Final = [400, 401, 402, 403, 404, 413, 429]
OF_EVERY_CALL: Final = (401, 403, 500, 503)
OF_A_LOOK_UP: Final = (*OF_EVERY_CALL, 400, 404)
OF_A_COMPLETION: Final = tuple(ERRORS)


def _header(name: str, description: str, *choices: str) -> OpenApiParameter:
    return OpenApiParameter(name, str, OpenApiParameter.HEADER, description=description, enum=choices or None)


def query(name: str, description: str, *choices: str, kind: type = str) -> OpenApiParameter:
    """A parameter of the query string."""
    return OpenApiParameter(name, kind, OpenApiParameter.QUERY, description=description, enum=choices or None)


WHOSE: Final = (
    _header("x-purser-user", "The end user; falls back to the body's `user` or `metadata.user_id`."),
    _header("x-purser-feature", "The feature of your product that calls."),
    _header(
        "x-purser-tags",
        "`k=v,k=v`, at most 20: whose cost it is; `cost_center` and `project` have budgets of their own.",
    ),
)
OF_LINES: Final = (
    *WHOSE,
    _header("x-purser-cache", "Which caches may answer.", "off", "exact", "on", "refresh"),
    _header("x-purser-tier", "The tier, where `model` is `auto`.", "simple", "standard", "complex"),
    _header("x-purser-compress", "Overrules the tenant's policy.", "on", "off"),
    _header("x-purser-prompt-version", "Another version never meets an answer to a former one."),
    _header(
        "x-purser-run", "The run or ticket that the call is part of; its envelope pays, where there is one."
    ),
    _header(
        "x-purser-run-tags",
        "Tags of the run or session, said with any of its calls, for those that name none.",
    ),
    _header("x-purser-run-usd", "Opens an envelope of so many USD for the run, as far as the policy allows."),
)
CALL: Final = (
    *OF_LINES,
    _header(
        "x-purser-urgency",
        "`now`, `deferred`, `by=<RFC 3339>` or `within=<n>s|m|h`: all but `now` get a 202 with a job (`JobObject`), whose answer "
        "is at `/v1/jobs/{id}`. Of chat completions, messages and responses.",
    ),
    _header(
        "idempotency-key",
        "For 24 hours the same key, sent again with the same body to the same endpoint, gets the same answer and is "
        "not charged again.",
    ),
)
_ANSWERED: Final = {
    "x-purser-cost-usd": "What the call cost, in USD. Not on a stream: its last event says it.",
    "x-purser-list-cost-usd": "What it would have cost without Purser, in USD. Not on a stream.",
    "x-purser-cache": "`miss`, `exact`, `semantic` or `bypass`.",
    "x-purser-structured-output": "`valid`, `repaired`, `invalid` or `unchecked`, where the answer had to fit a JSON schema.",
    "x-purser-similarity": "Similarity of the nearest question in the semantic cache, where one was asked for.",
    "x-purser-model": "The model that answered.",
    "x-purser-route": "The tier, or `named`, and the reason.",
    "x-purser-budget-remaining": "What is left of the tightest budget, where one applies.",
    "x-purser-idempotent-replay": "`true` on an answer that was given to the same `idempotency-key` before.",
    "server-timing": "Our share and the provider's, in milliseconds.",
}


def operation(
    operation_id: str,
    summary: str,
    *,
    tag: str,
    answers: type | None = None,
    status: int = 200,
    takes: Any = None,
    example: Any = None,
    parameters: tuple[OpenApiParameter, ...] = (),
    errors: tuple[int, ...] = OF_A_LOOK_UP,
    content_type: str = JSON,
    request_type: str = JSON,
    streams: bool = False,
    is_completion: bool = False,
    may_wait: bool = False,
    is_anthropic: bool = False,
    also: Mapping[tuple[int, str], tuple[type, str]] | None = None,
) -> Callable[[Documented], Documented]:
    """Annotate a view's method, or a view of one method, which may be inherited.

    `answers` and `takes` are models of `llm.views.schemas`; `example` is a request body that works as pasted; `also` has further
    answers by status and content type, each with what it is.
    """
    answer = OpenApiResponse(answers or bytes, description=summary)
    responses: dict[Any, Any] = {(status, content_type): answer}
    if streams:
        responses[status, EVENTS] = OpenApiResponse(
            StreamEvent, description="With `stream: true`: server-sent events, each like this."
        )
    for place, (model, description) in (also or {}).items():
        responses[place] = OpenApiResponse(model, description=description)
    if may_wait:
        responses[202, JSON] = OpenApiResponse(JobObject, description="With `x-purser-urgency`: its job.")
    error = AnthropicError if is_anthropic else OpenAIError
    for code in sorted(set(errors)):
        responses[code, JSON] = OpenApiResponse(error, description=ERRORS[code])
    annotate = extend_schema(
        summary=summary,
        tags=[tag],
        request={request_type: takes} if takes else None,
        responses=responses,
        parameters=[*parameters, *_response_headers(status, errors, is_completion=is_completion)],
        examples=[OpenApiExample("Example", example, request_only=True)] if example is not None else [],
    )

    def document(target: Documented) -> Documented:
        # extend_schema takes no id for a class, and falls back to docstrings, which are for readers of the code
        said = {"get_operation_id": lambda self: operation_id, "get_description": lambda self: ""}
        named: Any = type("Named", (AutoSchema,), said)
        if isinstance(target, type):
            target.schema = named()  # type: ignore[attr-defined]
        else:
            target.kwargs = {"schema": named}  # type: ignore[attr-defined]
        return annotate(target)  # type: ignore[type-var]

    return document


def _response_headers(status: int, errors: tuple[int, ...], *, is_completion: bool) -> list[OpenApiParameter]:
    headers = [("x-request-id", "Names the request in logs and receipts.", [status, *errors])]
    if is_completion:
        headers += [(name, description, [status]) for name, description in _ANSWERED.items()]
        headers += [
            ("retry-after", "Seconds until another try makes sense, 60 at most.", [429, 502, 503, 504]),
            ("x-should-retry", "`false`: the same request would be refused again.", FINAL),
            ("x-purser-budget-resets-at", "When the budget resets, in RFC 3339.", [429]),
        ]
    return [
        OpenApiParameter(name, str, OpenApiParameter.HEADER, description=text, response=list(codes))
        for name, text, codes in headers
    ]
