"""What each step of a policy did in the last thirty days, and what a changed policy would have done with last month's traffic.

Invariant: figures are sums of days; where the past cannot tell, that is said instead of a guess.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final

from billing.admin.figures import count, usd, utc_today
from billing.prices.savings import BATCH, COMPRESSION, PROVIDER_CACHE, ROUTING
from config.tenant_page import days
from config.tenant_page.parts import first_of_month, month_before
from tenants.models import EndUser, Tenant
from tenants.policies.fields import value_at
from tenants.policies.steps import steps
from tenants.policy import InvalidPolicy, Policy, parse_policy

DAYS_LOOKED_AT: Final = 30
UNKNOWN: Final = "Takes effect with the next request. The past cannot tell what it changes."
Row = tuple[str, Any, Any, str]


class Past:
    """A tenant's figures over some days, by what the steps did; a query for each cut that is asked for."""

    def __init__(self, tenant: Tenant, first: date, last: date) -> None:
        self.tenant, self.first, self.last = tenant, first, last
        self.days = days.days_of(tenant, first, last)
        self._saved: Any = None
        self._cuts: dict[str, dict[Any, dict[str, Any]]] = {}

    def by(self, column: str) -> dict[Any, dict[str, Any]]:
        """The measures by the values of a column."""
        if column not in self._cuts:
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


def effects_of(tenant: Tenant) -> dict[str, list[tuple[str, str]]]:
    """By step, figures of the last thirty days."""
    today = utc_today().date()
    past = Past(tenant, today - timedelta(days=DAYS_LOOKED_AT - 1), today)
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


def consequences(tenant: Tenant, wanted: dict[str, Any]) -> dict[str, Any]:
    """What a changed policy would have done with the traffic of last month and of this one so far, as a table."""
    today = utc_today().date()
    past = Past(tenant, month_before(today)[0], today)
    try:
        before = parse_policy(tenant.policy)
    except InvalidPolicy:
        before = Policy()
    after = parse_policy(wanted)
    rows: list[Row] = []
    for step in steps():
        changed = [path for path in step.paths if value_at(before, path) != value_at(after, path)]
        if changed:
            told = list(CONSEQUENCES[step.name](past, before, after)) if step.name in CONSEQUENCES else []
            rows += [(step.title, *row) for row in told] or [(step.title, None, None, UNKNOWN)]
    since = first_of_month(month_before(today)[1])
    return {
        "headers": ["Step", "Requests", "USD", "Meaning"],
        "since": f"{since:%-d %B}",
        "rows": rows,
        "empty": UNKNOWN,
    }


def _without_cache(name: str, title: str) -> Callable[..., Iterator[tuple[Any, Any, str]]]:
    def told(past: Past, before: Policy, after: Policy) -> Iterator[tuple[Any, Any, str]]:
        hits, saved = past.hits(name)
        served, serves = _serves(name, before), _serves(name, after)
        if served and not serves:
            yield (
                hits,
                saved,
                f"answered by the {title}; each would have been bought, at list price for this much more",
            )
        elif serves and not served and name == "exact":
            yield (
                None,
                None,
                "How many requests were equal is not known while the cache is off; it costs nothing to try.",
            )
        elif serves and not served:
            yield (
                None,
                None,
                "A dry run tells before you decide: how much would have been served, and how much of it wrong.",
            )
        else:
            yield (
                hits,
                saved,
                f"answered by the {title} under the rules that were; what the new ones serve is not known",
            )

    return told


def _serves(name: str, policy: Policy) -> bool:
    return policy.cache.exact if name == "exact" else policy.cache.semantic in ("static", "bounded")


def _users(past: Past, before: Policy, after: Policy) -> Iterator[tuple[Any, Any, str]]:
    if before.users.unknown != "refuse" and after.users.unknown == "refuse":
        yield (
            *past.of_undeclared(),
            "named a user who is not declared (or switched off), and would have been refused",
        )
    if before.users.missing != "refuse" and after.users.missing == "refuse":
        row = past.by("user_id").get("")
        found = (row["calls"], row["billed"]) if row else (0, Decimal(0))
        yield *found, "named no user, and would have been refused where users have budgets"


def _routing(past: Past, before: Policy, after: Policy) -> Iterator[tuple[Any, Any, str]]:
    if before.routing.enabled and not after.routing.enabled:
        yield None, past.saved_by(ROUTING), "saved by routing, and would have been paid"
        for tier, row in past.by("tier").items():
            if tier and tier != after.routing.default_tier and row["calls"]:
                why = f"went to the tier {tier}; those that asked for auto would have gone to {after.routing.default_tier}"
                yield row["calls"], row["billed"], why


def _without(
    kind: str, title: str, is_on: Callable[[Policy], bool]
) -> Callable[..., Iterator[tuple[Any, Any, str]]]:
    def told(past: Past, before: Policy, after: Policy) -> Iterator[tuple[Any, Any, str]]:
        if is_on(before) and not is_on(after):
            yield None, past.saved_by(kind), f"saved by {title}, and would have been paid"

    return told


CONSEQUENCES: Final[dict[str, Callable[..., Iterator[tuple[Any, Any, str]]]]] = {
    "exact": _without_cache("exact", "exact cache"),
    "semantic": _without_cache("semantic", "semantic cache"),
    "routing": _routing,
    "compression": _without(COMPRESSION, "compression", lambda policy: policy.compression.enabled),
    "provider_cache": _without(
        PROVIDER_CACHE, "the provider's cache", lambda policy: policy.cache.provider_marks
    ),
    "platform": _users,
}
