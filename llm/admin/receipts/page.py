"""The page of one request: who asked, what it cost, what happened, and where each thing that took part has its own page.

Invariant: a fixed number of queries, each of which names the request's tenant.
"""

from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlencode

from django.db.models import Q
from django.urls import reverse
from django.utils.safestring import SafeString

from billing.admin.figures import usd
from billing.models import AlertEvent, Attempt, UsageRecord
from caching.models import CacheEntry
from config.site import cells
from llm.admin.receipts.refusals import refusal_of
from llm.admin.receipts.story import story_of
from llm.models import RequestLog
from tenants.models import ApiKey, EndUser

MOST_RELATED = 10
AROUND: Final = timedelta(hours=1)


def page_of(entry: RequestLog, *, view: str) -> dict[str, Any]:
    """The context of the page's template. `view`: "raw" for the receipt as it is stored, else its story."""
    is_raw = view == "raw"
    return {
        "entry": entry,
        "is_raw": is_raw,
        "refusal": refusal_of(entry),
        "cards": _cards(entry),
        "who": _who(entry),
        "related": _related(entry),
        "happenings": [] if is_raw else story_of(entry.receipt or {}),
        "raw": cells.json_block(entry.receipt) if is_raw else "",
    }


def _cards(entry: RequestLog) -> list[dict[str, str]]:
    saved = entry.list_cost_usd - entry.cost_usd
    outcome = "Answered" if entry.status < 400 else "Refused" if entry.status < 500 else "Failed"
    by = f"by {entry.model} at {entry.provider}" if entry.model else "by no model"
    compressed = (
        f"{entry.tokens_before_compression:,} before compression"
        if entry.tokens_before_compression
        else "in and out"
    )
    first = "not streamed" if entry.ttft_ms is None else f"first token after {entry.ttft_ms:,} ms"
    return [
        {
            "title": "Outcome",
            "value": f"{outcome}, {entry.status}",
            "note": by if entry.status < 400 else entry.error_code,
        },
        {
            "title": "Cost",
            "value": usd(entry.cost_usd),
            "note": f"{usd(entry.list_cost_usd)} at list price, {usd(saved)} saved",
        },
        {"title": "Time", "value": f"{entry.latency_ms:,} ms", "note": first},
        {"title": "Tokens", "value": f"{entry.input_tokens:,} / {entry.output_tokens:,}", "note": compressed},
    ]


def _who(entry: RequestLog) -> list[tuple[str, Any]]:
    tenant = entry.tenant
    zone = tenant.timezone if tenant else "UTC"
    key = (
        ApiKey.objects.filter(pk=entry.key_id, tenant=entry.tenant_id).first()
        if entry.key_id and tenant
        else None
    )
    facts: list[tuple[str, Any]] = [
        ("Request", entry.request_id),
        ("At", cells.moment(entry.at, zone=zone)),
        ("Tenant", _link("tenants_tenant", tenant.pk, tenant) if tenant else "not known: refused before"),
        ("Key", _link("tenants_apikey", key.pk, f"{key.name} ({key.public_id})") if key else "–"),
        ("User", _user(entry)),
        ("Feature", _filtered("feature", entry.feature)),
        ("Session", _filtered("session", entry.session)),
        ("Endpoint", entry.endpoint),
        ("Answer", "streamed" if entry.is_stream else "in one piece"),
        ("Model asked", entry.model_asked or "–"),
    ]
    if entry.tier:
        facts.append(("Tier", entry.tier))
    cache = (
        entry.cache_state
        if entry.similarity is None
        else f"{entry.cache_state}, similarity {entry.similarity:.4f}"
    )
    return [*facts, ("Cache", cache)]


def _user(entry: RequestLog) -> Any:
    if not entry.user:
        return "–"
    known = EndUser.objects.filter(tenant=entry.tenant_id, external_id=entry.user).first()
    return _link("tenants_enduser", known.pk, known) if known else _filtered("user", entry.user)


def _is_alerted(entry: RequestLog) -> Q:
    """The alerts in which this request is counted: a key's dear requests are one alert."""
    counted = Q(
        metric="request_cost",
        subject_key=f"key:{entry.key_id}" if entry.key_id else "",
        threshold__lt=entry.cost_usd,
        last_at__gte=entry.at,
        fired_at__lte=entry.at + timedelta(milliseconds=entry.latency_ms, hours=1),
    )
    return Q(subject_key=str(entry.request_id)) | counted


def _ledger_rows(entry: RequestLog, attempts: list[Attempt]) -> list[UsageRecord]:
    """Its rows of the ledger, which has no index of requests: those of the time of its attempts, and what corrects them."""
    rows = UsageRecord.objects.filter(tenant=entry.tenant_id, request_id=entry.request_id).order_by(
        "occurred_at"
    )
    times = [entry.at, *(one.occurred_at for one in attempts)]
    near = rows.filter(occurred_at__range=(min(times) - AROUND, max(times) + AROUND))
    corrections = rows.filter(charge_class="Correction")
    found = {row.pk: row for row in (*near[:MOST_RELATED], *corrections[:MOST_RELATED])}
    return list(found.values())[:MOST_RELATED]


def _related(entry: RequestLog) -> list[tuple[str, list[Any]]]:
    """What took part, by kind; only kinds of which there is something."""
    if entry.tenant_id is None:
        return []
    own = {"tenant": entry.tenant_id, "request_id": entry.request_id}
    attempts = list(Attempt.objects.filter(**own).order_by("attempt_no")[:MOST_RELATED])
    records = _ledger_rows(entry, attempts)
    alerts = AlertEvent.objects.filter(_is_alerted(entry), tenant=entry.tenant_id)[:MOST_RELATED]
    entries = CacheEntry.objects.filter(tenant=entry.tenant_id, request_id=str(entry.request_id)).defer(
        "vector", "answer"
    )
    feedback = entry.feedback.filter(tenant=entry.tenant_id)[:1]
    found = [
        (
            "Ledger",
            [
                _link(
                    "billing_usagerecord", row.pk, f"{usd(row.billed_cost)} billed, {row.model or row.kind}"
                )
                for row in records
            ],
        ),
        (
            "Attempts",
            [
                _link("billing_attempt", row.pk, f"{row.attempt_no}: {row.model}, {row.state}")
                for row in attempts
            ],
        ),
        ("Alerts", [_link("billing_alertevent", row.pk, row.message) for row in alerts]),
        (
            "Cached answer",
            [
                _link("caching_cacheentry", row.pk, f"{row.hits:,} hits so far")
                for row in entries[:MOST_RELATED]
            ],
        ),
        (
            "Feedback",
            [_link("llm_feedback", row.pk, "good" if row.rating > 0 else "bad") for row in feedback],
        ),
    ]
    return [(name, links) for name, links in found if links]


def _link(name: str, pk: Any, text: Any) -> SafeString:
    return cells.link(reverse(f"admin:{name}_change", args=(pk,)), text)


def _filtered(name: str, value: str | None) -> Any:
    """A value as a link to all requests that have it."""
    if not value:
        return "–"
    return cells.link(f"{reverse('admin:llm_requestlog_changelist')}?{urlencode({name: value})}", value)
