"""What each step of a policy did in the last days: a tenant's figures over some days, by what the steps did.

Invariant: figures are sums of days.
"""

from collections import Counter
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final

from billing.admin.figures import count, usd, utc_today
from billing.prices.savings import BATCH, COMPRESSION, PROVIDER_CACHE, ROUTING
from config.tenant_page import days
from tenants.models import EndUser, Tenant

DAYS_LOOKED_AT: Final = 30
MOST_REQUESTS: Final = 150_000
DONE: Final = ("cache_state", "tier", "processing")  # what steps did, of few values each
ADDED: Final = ("calls", "cached", "billed", "listed", "saved")


class Past:
    """A tenant's figures over some days, by what the steps did; one query for all that steps do."""

    def __init__(self, tenant: Tenant, first: date, last: date) -> None:
        self.tenant, self.first, self.last = tenant, first, last
        self.days = days.days_of(tenant, first, last)
        self._saved: Any = None
        self._cuts: dict[str, dict[Any, dict[str, Any]]] = {}

    def by(self, column: str) -> dict[Any, dict[str, Any]]:
        """The measures by the values of a column."""
        if column not in self._cuts:
            if column in DONE:
                self._cuts |= _cuts(list(days.measured(self.days.values(*DONE))))
            else:
                self._cuts[column] = days.by(self.days, column)
        return self._cuts[column]

    def hits(self, cache: str) -> tuple[int, Decimal]:
        """The requests that a cache answered, and what they would have cost."""
        row = self.by("cache_state").get(cache)
        return (row["cached"], row["saved"]) if row else (0, Decimal(0))

    def saved_by(self, kind: str) -> Decimal:
        """What a kind of measure saved, in USD; less than nothing where it cost more."""
        if self._saved is None:
            rows = days.sums_of(self.tenant, "total", self.first, self.last).values_list("saving", flat=True)
            self._saved = Counter()
            for saving in rows:
                for name, amount in saving.items():
                    self._saved[name] += Decimal(amount)
        return self._saved[kind] or Decimal(0)

    def of_undeclared(self) -> tuple[int, Decimal]:
        """The requests of users who are not declared, and what they cost."""
        known = EndUser.objects.filter(tenant=self.tenant, is_active=True).values("external_id")
        row = self.days.exclude(user_id="").exclude(user_id__in=known)
        found = list(days.measured(row.values("tenant")))
        return days.total(found, "calls"), days.total(found, "billed")


def _cuts(rows: list[dict[str, Any]]) -> dict[str, dict[Any, dict[str, Any]]]:
    """By each column of `DONE`, the measures by its values."""
    cuts: dict[str, dict[Any, dict[str, Any]]] = {}
    for column in DONE:
        groups: dict[Any, list[dict[str, Any]]] = {}
        for row in rows:
            groups.setdefault(row[column], []).append(row)
        cuts[column] = {
            value: {name: days.total(group, name) for name in ADDED} for value, group in groups.items()
        }
    return cuts


def days_looked_at(tenant: Tenant) -> int:
    """Thirty days, or fewer where these have too many requests to be looked at while somebody waits."""
    today = utc_today().date()
    sums = days.sums_of(tenant, "total", today - timedelta(days=DAYS_LOOKED_AT - 1), today)
    seen = 0
    for day, requests in sums.order_by("-day").values_list("day", "requests"):
        seen += requests
        if seen > MOST_REQUESTS:
            return max(int((today - day).days), 1)
    return DAYS_LOOKED_AT


def effects_of(tenant: Tenant, looked_at: int) -> dict[str, list[tuple[str, str]]]:
    """By step, figures of the last days."""
    today = utc_today().date()
    past = Past(tenant, today - timedelta(days=looked_at - 1), today)
    calls = days.total(past.by("cache_state").values(), "calls")
    return {
        "exact": _cache(past, "exact", calls),
        "semantic": _cache(past, "semantic", calls),
        "refresh": _own_call(past, "refresh", "Bought ahead"),
        "provider_cache": _saved(past, PROVIDER_CACHE),
        "routing": _saved(past, ROUTING) + _shares(past.by("tier"), ("simple", "standard", "complex")),
        "compression": _saved(past, COMPRESSION),
        "deferred": _saved(past, BATCH) + _shares(past.by("processing"), ("batch", "flex")),
    }


def _cache(past: Past, cache: str, calls: int) -> list[tuple[str, str]]:
    hits, saved = past.hits(cache)
    share = f", {hits * 100 / calls:.1f} % of all" if calls and hits else ""
    return [("Hits", f"{count(hits)}{share}"), ("Saved", usd(saved))]


def _saved(past: Past, kind: str) -> list[tuple[str, str]]:
    saved = past.saved_by(kind)
    return [("Saved", usd(saved))] if saved else []


def _own_call(past: Past, state: str, name: str) -> list[tuple[str, str]]:
    row = past.by("cache_state").get(state)
    return [(name, usd(row["billed"]))] if row else []


def _shares(groups: dict[Any, dict[str, Any]], names: tuple[str, ...]) -> list[tuple[str, str]]:
    return [
        (name.capitalize(), f"{count(groups[name]['calls'])} requests, {usd(groups[name]['billed'])}")
        for name in names
        if name in groups and groups[name]["calls"]
    ]
