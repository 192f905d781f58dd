"""Pages of requests: a list that is found in, and the receipt of one as a story.

Invariant: a member sees her own requests only; an owner all of the tenant. No prompt is shown, of nobody: where a receipt has the
question of another request, it is left out.
"""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.dateparse import parse_datetime

from billing.admin.figures import usd
from config.portal.access import Visitor, page
from config.portal.layout import address, show
from config.site import cells
from config.site.filter_bar import Field, FilterBar, period_fields
from llm.admin.receipts.finding import OUTCOMES, error_codes, narrow
from llm.admin.receipts.refusals import budget_of, refusal_of, wish_of
from llm.admin.receipts.story import REQUESTS, story_of
from llm.models import RequestLog
from tenants.models import ApiKey, Tenant
from tenants.people.rights import Right

A_PAGE: Final = 50
# what a member's own page needs no more than the list does
LISTED: Final = (
    "request_id", "at", "user", "model_asked", "model", "cache_state", "status", "error_code", "cost_usd", "input_tokens",
    "output_tokens", "latency_ms",
)  # fmt: skip


@page(Right.CALL, Right.SEE)
def list_requests(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """The newest requests that the filter bar means, a page at a time."""
    bar = _bar(request, visitor)
    found = narrow(requests_of(visitor), bar, tenants=Tenant.objects.filter(pk=visitor.tenant.pk))
    rows = list(
        _before(found, request.GET.get("before", ""))
        .order_by("-at", "-request_id")
        .only(*LISTED)[: A_PAGE + 1]
    )
    further = ""
    if len(rows) > A_PAGE:
        last = rows[A_PAGE - 1]
        further = f"{bar.query()}&{urlencode({'before': f'{last.at.isoformat()}~{last.request_id}'})}".lstrip(
            "&"
        )
    context = {"bar": bar, "requests": _table(visitor, rows[:A_PAGE]), "further": further}
    return show(request, visitor, "requests.html", context, title="Requests")


@page(Right.CALL, Right.SEE)
def show_request(request: HttpRequest, visitor: Visitor, request_id: UUID) -> HttpResponse:
    """One request: what it cost, what happened, and, if it was refused, why and what would let it through."""
    entry = get_object_or_404(requests_of(visitor), pk=request_id)
    is_raw = visitor.reads_all and request.GET.get("view") == "raw"
    budget = budget_of(entry)
    context = {
        "entry": entry,
        "cards": _cards(entry),
        "facts": _facts(visitor, entry),
        "refusal": refusal_of(entry),
        "ask": f"{address(visitor, 'ask_raise', budget_id=budget.pk)}?{urlencode(wish_of(entry))}"
        if budget
        else "",
        "happenings": story_of(_without_questions(entry.receipt or {}), linked=_linker(visitor)),
        "is_raw": is_raw,
        "raw": cells.json_block(_without_questions(entry.receipt or {})) if is_raw else "",
    }
    return show(request, visitor, "request.html", context, title="Request")


def requests_of(visitor: Visitor) -> QuerySet[RequestLog]:
    """The requests that the visitor may see."""
    requests = RequestLog.objects.filter(tenant=visitor.tenant)
    if visitor.reads_all:
        return requests
    return requests.filter(user=visitor.person) if visitor.person else requests.none()


def _bar(request: HttpRequest, visitor: Visitor) -> FilterBar:
    return FilterBar.read(
        (
            Field("q", "Find", hint="Request id, session, feature"),
            *((Field("user", "User"),) if visitor.reads_all else ()),
            Field("model", "Model"),
            Field("outcome", "Outcome", choices=[*OUTCOMES, *((code, code) for code in error_codes())]),
            Field("session", "Session", is_rare=True),
            Field("cost", "From USD", kind="number", is_rare=True),
            *period_fields(default="7d"),
        ),
        request.GET,
    )


def _before(requests: QuerySet[RequestLog], mark: str) -> QuerySet[RequestLog]:
    """Those that are older than the last one of the former page; a mark that is none counts as the first page."""
    moment, _, request_id = mark[:100].partition("~")
    try:
        at, last = parse_datetime(moment), UUID(request_id)
    except ValueError:
        return requests
    if at is None or at.tzinfo is None:
        return requests
    return requests.filter(Q(at__lt=at) | Q(at=at, request_id__lt=last))


def _table(visitor: Visitor, rows: list[RequestLog]) -> dict[str, Any]:
    shown = [
        [
            cells.link(address(visitor, "request", request_id=row.pk), f"{row.at:%Y-%m-%d %H:%M:%S}"),
            *([row.user or cells.NOTHING] if visitor.reads_all else []),
            f"{row.model_asked} → {row.model}" if row.model not in ("", row.model_asked) else row.model_asked,
            _outcome(row),
            row.input_tokens,
            row.output_tokens,
            row.cost_usd,
            row.latency_ms,
        ]
        for row in rows
    ]
    heads = ["At, UTC", *(["User"] if visitor.reads_all else []), "Model", "Outcome"]
    return {
        "headers": [*heads, "Tokens in", "Tokens out", "Cost, USD", "ms"],
        "rows": shown,
        "empty": "No request in this time. Choose a longer one, or make your first call: Connect has the lines.",
    }


def _outcome(row: RequestLog) -> str:
    if row.status >= 400:
        return (row.error_code or str(row.status)).replace("_", " ")
    return "from the cache" if row.cache_state in ("exact", "semantic") else "answered"


def _cards(entry: RequestLog) -> list[dict[str, str]]:
    saved = entry.list_cost_usd - entry.cost_usd
    first = "not streamed" if entry.ttft_ms is None else f"first token after {entry.ttft_ms:,} ms"
    return [
        {
            "title": "Outcome",
            "value": _outcome(entry).capitalize(),
            "note": f"by {entry.model}" if entry.model else f"status {entry.status}",
        },
        {
            "title": "Cost",
            "value": usd(entry.cost_usd),
            "note": f"{usd(saved)} saved of {usd(entry.list_cost_usd)}",
        },
        {"title": "Time", "value": f"{entry.latency_ms:,} ms", "note": first},
        {"title": "Tokens", "value": f"{entry.input_tokens:,} / {entry.output_tokens:,}", "note": "in / out"},
    ]


def _facts(visitor: Visitor, entry: RequestLog) -> list[tuple[str, Any]]:
    key = ApiKey.objects.filter(pk=entry.key_id, tenant=visitor.tenant).first() if entry.key_id else None
    is_hers = key is not None and (
        visitor.may(Right.CONFIGURE) or (visitor.person and key.user == visitor.person)
    )
    shown = (
        (cells.link(address(visitor, "key", key_id=key.pk), key.name) if is_hers else key.name)
        if key
        else cells.NOTHING
    )
    return [
        ("Request", entry.request_id),
        ("At", cells.moment(entry.at, zone=visitor.tenant.timezone)),
        ("Key", shown),
        ("User", entry.user or cells.NOTHING),
        ("Feature", entry.feature or cells.NOTHING),
        ("Session", entry.session or cells.NOTHING),
        ("Model asked", entry.model_asked or cells.NOTHING),
        ("Cache", entry.cache_state),
        ("Answer", "streamed" if entry.is_stream else "in one piece"),
    ]


def _linker(visitor: Visitor) -> Any:
    """Requests are links for an owner; a member may not own them, and a cached entry has no page here."""

    def linked(name: str, value: Any) -> Any:
        if name in REQUESTS and isinstance(value, str) and visitor.reads_all:
            try:
                parts = {"tenant": visitor.tenant.slug, "request_id": UUID(value)}
            except ValueError:
                return value
            return cells.link(reverse("portal:request", kwargs=parts), value)
        return value

    return linked


def _without_questions(receipt: Mapping[str, Any]) -> dict[str, Any]:
    """The receipt without the texts of other people's questions."""
    steps = []
    for step in receipt.get("steps") or []:
        if candidates := step.get("candidates"):
            kept = [{name: value for name, value in one.items() if name != "question"} for one in candidates]
            step = {**step, "candidates": kept}
        steps.append(step)
    return {**receipt, "steps": steps}
