"""What the admin pages of an entry and of a scope show besides their own columns.

Invariant: read-only, and only rows of the tenant and the scope of the page's object.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

from django.db import connection
from django.db.models import Count, Q, Sum
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from caching.admin import texts
from caching.learning.noise import ENOUGH
from caching.models import CacheEntry, CacheLabel, CacheScope, CacheScopeDay, CacheThresholdPoint
from tenants.models import Tenant

SHOWN_DAYS = 30
STATIC_THRESHOLDS = (0.80, 0.85, 0.90, 0.95, 0.98)
_MOST_POINTS = 30
_MOST_NEIGHBOURS = 8
_Z = 1.645  # 90 %, as the bound of a scope has it

_NEIGHBOURS = """
SELECT e.id, e.question, -(e.vector <#> self.vector), e.hits
FROM caching_entry e, (SELECT vector FROM caching_entry WHERE tenant_id = %(tenant)s AND id = %(id)s) self
WHERE e.tenant_id = %(tenant)s AND e.scope_digest = %(scope)s AND e.id <> %(id)s
ORDER BY e.vector <#> self.vector LIMIT %(most)s
"""


Shown = TypeVar("Shown", CacheEntry, CacheScope)


def once(show: Callable[[Shown], str]) -> Callable[[Shown], str]:
    """A page reads the same field several times: compute it once for each object."""

    def shown(row: Shown) -> str:
        known: dict[str, str] = row.__dict__.setdefault("_figures", {})
        if show.__name__ not in known:
            known[show.__name__] = show(row)
        return known[show.__name__]

    return shown


def interval(wrong: int, of: int) -> tuple[float, float]:
    """Wilson's interval of a share at 90 %: valid also for few or no cases."""
    if not of:
        return 0.0, 1.0
    rate, z2 = wrong / of, _Z * _Z
    middle = (rate + z2 / (2 * of)) / (1 + z2 / of)
    half = _Z * math.sqrt(rate * (1 - rate) / of + z2 / (4 * of * of)) / (1 + z2 / of)
    return max(0.0, middle - half), min(1.0, middle + half)


def describe_share(wrong: int, of: int) -> str:
    """A share of wrong answers with its interval, as a person reads it."""
    if not of:
        return "no evidence yet"
    low, high = interval(wrong, of)
    return f"{100 * wrong / of:.2f} % ({100 * low:.2f}–{100 * high:.2f} %), {wrong} of {of}"


@once
def neighbours_of(entry: CacheEntry) -> SafeString:
    """The entries of the same scope that are nearest to this one."""
    parameters: dict[str, Any] = {
        "tenant": entry.tenant_id,
        "id": entry.pk,
        "scope": bytes(entry.scope_digest),
        "most": _MOST_NEIGHBOURS,
    }
    with connection.cursor() as cursor:
        cursor.execute(_NEIGHBOURS, parameters)
        rows = [
            (f"{near:.4f}", _entry_link(pk, question, entry.tenant), hits)
            for pk, question, near, hits in cursor.fetchall()
        ]
    return _table(("Similarity", "Question", "Hits"), rows) if rows else SafeString("none")


@once
def entries_of(scope: CacheScope) -> SafeString:
    """The scope's most used entries."""
    entries = (
        CacheEntry.objects.filter(tenant_id=scope.tenant_id, scope_digest=bytes(scope.scope_digest))
        .order_by("-hits", "-last_hit_at")
        .values_list("pk", "question", "hits")[:_MOST_NEIGHBOURS]
    )
    rows = [(hits, _entry_link(pk, question, scope.tenant)) for pk, question, hits in entries]
    return _table(("Hits", "Question"), rows) if rows else SafeString("none")


@once
def money_of(scope: CacheScope) -> SafeString:
    """What the scope's hits saved in the last days, and what checking them cost."""
    sums = CacheScopeDay.objects.filter(
        tenant_id=scope.tenant_id,
        scope_digest=bytes(scope.scope_digest),
        day__gt=datetime.now(UTC).date() - timedelta(days=SHOWN_DAYS),
    ).aggregate(hits=Sum("hits"), saved=Sum("saved_usd"), checks=Sum("checks"), cost=Sum("check_usd"))
    saved, cost = sums["saved"] or Decimal(0), sums["cost"] or Decimal(0)
    row = (sums["hits"] or 0, saved, sums["checks"] or 0, cost, saved - cost)
    return _table(("Hits", "Saved, USD", "Checks", "Cost of checks and judging, USD", "Net, USD"), [row])


@once
def wrong_hits_of(scope: CacheScope) -> str:
    """How often a hit was wrong, according to the checked hits and to complaints."""
    labels = _labels_of(scope).aggregate(
        checks=Count("id", filter=Q(source="check")),
        wrong=Count("id", filter=Q(source="check", is_wrong=True)),
        complaints=Count("id", filter=Q(source="feedback")),
    )
    complaints = f"; {labels['complaints']} complaints" if labels["complaints"] else ""
    return describe_share(labels["wrong"], labels["checks"]) + complaints


@once
def noise_of(scope: CacheScope) -> str:
    """How often the comparison of answers is wrong, according to questions that were answered twice."""
    if scope.noise_floor is None:
        return f"not known: it takes {ENOUGH} questions answered twice, and there are {scope.repeats}"
    whose = "this scope" if scope.repeats_from == "scope" else "all scopes of this model"
    return (
        f"at least {100 * scope.noise_floor:.2f} %: of {scope.repeats} questions answered twice in {whose}, "
        f"{scope.repeats_wrong} were judged to differ"
    )


@once
def dry_run_of(scope: CacheScope) -> str:
    """How often a hit of a dry run would have been wrong. All of them were asked upstream."""
    labels = _labels_of(scope).filter(source="would_hit")
    return describe_share(labels.filter(is_wrong=True).count(), labels.count())


@once
def static_thresholds_of(scope: CacheScope) -> SafeString:
    """What each static threshold would have served, and how often it would have been wrong, by the labels."""
    counts = (
        _labels_of(scope)
        .exclude(source=CacheLabel.Source.REPEAT)
        .aggregate(
            **{
                f"{name}_{number}": Count("id", filter=Q(similarity__gte=threshold) & extra)
                for number, threshold in enumerate(STATIC_THRESHOLDS)
                for name, extra in (("of", Q()), ("wrong", Q(is_wrong=True)))
            }
        )
    )
    rows = [
        (f"{threshold:.2f}", describe_share(counts[f"wrong_{number}"], counts[f"of_{number}"]))
        for number, threshold in enumerate(STATIC_THRESHOLDS)
    ]
    return _table(("Similarity from", "Would have been wrong"), rows)


@once
def thresholds_of(scope: CacheScope) -> SafeString:
    """How the threshold moved."""
    points = CacheThresholdPoint.objects.filter(
        tenant_id=scope.tenant_id, scope_digest=bytes(scope.scope_digest)
    ).order_by("-at")[:_MOST_POINTS]
    rows = [
        (
            point.at,
            "closed" if point.threshold is None else f"{point.threshold:.3f}",
            _percent(point.error_rate),
            _percent(point.error_rate_upper),
            point.labels,
        )
        for point in points
    ]
    head = ("At", "Open from", "Wrong, estimated", "Upper bound", "Labels")
    return _table(head, rows) if rows else SafeString("never found yet")


def _labels_of(scope: CacheScope) -> Any:
    return CacheLabel.objects.filter(tenant_id=scope.tenant_id, scope_digest=bytes(scope.scope_digest))


def _percent(rate: float | None) -> str:
    return "–" if rate is None else f"{100 * rate:.2f} %"


def _entry_link(pk: int, question: str, tenant: Tenant) -> SafeString:
    question = question if texts.may_read(tenant) else texts.not_shown(question)
    shown = question if len(question) <= 120 else f"{question[:119]}…"
    return format_html(
        '<a class="text-link" href="{}">{}</a>', reverse("admin:caching_cacheentry_change", args=(pk,)), shown
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> SafeString:
    return render_to_string("admin/table.html", {"table": {"headers": list(head), "rows": list(rows)}})
