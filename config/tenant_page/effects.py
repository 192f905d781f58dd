"""What each step of a policy did in the last days: a tenant's figures over some days, by what the steps did.

Invariant: reads sums along one dimension, however many calls there were.
"""

from collections import Counter
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final

from django.db.models import Sum

from billing.admin.figures import count, usd, utc_today
from billing.prices.savings import BATCH, COMPRESSION, PROVIDER_CACHE, ROUTING
from config.tenant_page import days
from tenants.models import EndUser, Tenant

DAYS_LOOKED_AT: Final = 30
DONE: Final = ("cache", "tier", "processing")  # what steps did: dimensions of few values each


class Past:
    """A tenant's figures over some days, by what the steps did, one query; and by user, of the months that those days are in."""

    def __init__(self, tenant: Tenant, first: date, last: date) -> None:
        self.tenant, self.first, self.last = tenant, first, last
        self._saved: Any = None
        self._done: dict[str, dict[str, dict[str, Any]]] | None = None

    def by(self, dimension: str) -> dict[str, dict[str, Any]]:
        """The measures by what a step did, one of `DONE`."""
        if self._done is None:
            sums = days.sums_of(self.tenant, DONE, self.first, self.last)
            self._done = {name: {} for name in DONE}
            for row in days.summed(sums.values("dimension", "value")):
                self._done[row["dimension"]][row["value"]] = row
        return self._done[dimension]

    def hits(self, cache: str) -> tuple[int, Decimal]:
        """The requests that a cache answered, and what they would have cost."""
        row = self.by("cache").get(cache)
        return (row["cached"], days.saved(row)) if row else (0, Decimal(0))

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
        users = days.months_of(self.tenant, "user_id", self.first).exclude(value="")
        found = users.exclude(value__in=known).aggregate(calls=Sum("asked"), usd=Sum("billed"))
        return found["calls"] or 0, found["usd"] or Decimal(0)

    def of_nobody(self) -> tuple[int, Decimal]:
        """The requests that named no user, and what they cost."""
        row = days.months_of(self.tenant, "user_id", self.first).filter(value="").order_by("value").first()
        return (row["asked"], row["billed"]) if row else (0, Decimal(0))


def effects_of(tenant: Tenant) -> dict[str, list[tuple[str, str]]]:
    """By step, figures of the last days."""
    today = utc_today().date()
    past = Past(tenant, today - timedelta(days=DAYS_LOOKED_AT - 1), today)
    calls = days.total(past.by("cache").values(), "calls")
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
    row = past.by("cache").get(state)
    return [(name, usd(row["billed"]))] if row else []


def _shares(groups: dict[Any, dict[str, Any]], names: tuple[str, ...]) -> list[tuple[str, str]]:
    return [
        (name.capitalize(), f"{count(groups[name]['calls'])} requests, {usd(groups[name]['billed'])}")
        for name in names
        if name in groups and groups[name]["calls"]
    ]
