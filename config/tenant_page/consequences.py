"""What a changed policy would have done with the traffic that was: counted from the log where it changes single requests, from
the sums of days where it changes all of a kind.

Invariant: each figure has its basis beside it; one that follows from an assumption is "about". Where the past cannot tell, it
says so instead of guessing.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any, Final

from billing.admin.figures import utc_today
from billing.prices.savings import COMPRESSION, PROVIDER_CACHE, ROUTING
from config.tenant_page import limits
from config.tenant_page.effects import DAYS_LOOKED_AT, Past
from config.tenant_page.parts import first_of_month, month_before
from llm.past.questions import Question, met
from llm.past.samples import Sample, last_days
from tenants.models import Tenant
from tenants.policies.fields import value_at
from tenants.policies.steps import steps
from tenants.policy import InvalidPolicy, Policy, parse_policy

UNKNOWN: Final = "Takes effect with the next request. The past cannot tell what it changes."
DAYS: Final = "exact: sums of days"
MONTHS: Final = "exact: sums of last month and this one, in the tenant's time zone"
LIST_PRICE: Final = "about: sums of days; a request that was answered from memory counts at its list price"
MEASURED: Final = "about: sums of days; the saving as it was measured, request by request, against what would have been paid"
IN_LOG: Final = f"the log's last {DAYS_LOOKED_AT} days"


@dataclass(frozen=True, slots=True)
class Told:
    """One consequence: of how many requests, for how much, what it means, and how that is known."""

    requests: int | None
    usd: Decimal | None
    meaning: str
    basis: str = "not known"


class Asked:
    """A changed policy and the past that it is tried on."""

    def __init__(self, tenant: Tenant, before: Policy, after: Policy) -> None:
        today = utc_today().date()
        self.tenant, self.before, self.after = tenant, before, after
        self.first = month_before(today)[0]
        self.past = Past(tenant, self.first, today)

    @cached_property
    def sample(self) -> Sample:
        """The log's last days."""
        return last_days(self.tenant.pk)

    def count(self, question: Question, meaning: str, *, is_listed: bool = False, **values: Any) -> Told:
        """What the log says of single requests."""
        found = met(self.sample, question, **values)
        usd = found.listed if is_listed else found.usd
        return Told(found.calls, usd, meaning, f"{IN_LOG}, {found.basis}")

    def changes(self, *path: str) -> bool:
        return bool(value_at(self.before, path) != value_at(self.after, path))


def consequences(tenant: Tenant, wanted: dict[str, Any]) -> dict[str, Any]:
    """What a changed policy would have done, as a table."""
    try:
        before = parse_policy(tenant.policy)
    except InvalidPolicy:
        before = Policy()
    asked = Asked(tenant, before, parse_policy(wanted))
    rows = []
    for step in steps():
        if any(asked.changes(*path) for path in step.paths):
            told = list(CONSEQUENCES[step.name](asked)) if step.name in CONSEQUENCES else []
            for one in told or [Told(None, None, UNKNOWN)]:
                rows.append([step.title, one.requests, one.usd, one.meaning, one.basis])
    since = first_of_month(asked.first)
    return {
        "headers": ["Step", "Requests", "USD", "Meaning", "How it is known"],
        "since": f"{since:%-d %B}",
        "rows": rows,
        "empty": UNKNOWN,
    }


def _exact(asked: Asked) -> Iterator[Told]:
    hits, saved = asked.past.hits("exact")
    was_on, is_on = asked.before.cache.exact, asked.after.cache.exact
    if was_on and not is_on:
        yield Told(hits, saved, "answered by the exact cache; each would have been bought", LIST_PRICE)
    elif is_on and not was_on:
        yield Told(
            None,
            None,
            "How many requests were equal is not known while the cache is off; it costs nothing to try.",
        )
    elif asked.changes("cache", "max_entries") or asked.changes("cache", "ttl_seconds"):
        yield Told(
            hits,
            saved,
            "answered by the exact cache as it is; an answer that is kept longer can only serve more",
            DAYS,
        )


def _semantic(asked: Asked) -> Iterator[Told]:
    before, after = asked.before.cache, asked.after.cache
    hits, saved = asked.past.hits("semantic")
    was_on, is_on = (one.semantic in ("static", "bounded") for one in (before, after))
    if was_on and not is_on:
        yield Told(hits, saved, "answered by the semantic cache; each would have been bought", LIST_PRICE)
    elif is_on and not was_on:
        yield Told(
            None, None,
            "A dry run tells before you decide: how much would have been served, and how much of it wrong.",
        )  # fmt: skip
    elif is_on and after.semantic == "static" and after.threshold > _threshold(asked.before):
        yield asked.count(
            "less_similar",
            f"answered by the semantic cache with a similarity below {after.threshold}; each would have been bought",
            is_listed=True,
            value=after.threshold,
        )
    elif is_on:
        yield Told(
            hits,
            saved,
            "answered by the semantic cache under the rules that were; what the new ones serve is not known",
            DAYS,
        )


def _threshold(policy: Policy) -> float:
    """What an answer had to be like at least; bounded mode has no threshold of its own."""
    return policy.cache.threshold if policy.cache.semantic == "static" else 0.0


def _platform(asked: Asked) -> Iterator[Told]:
    before, after = asked.before.users, asked.after.users
    if before.unknown != "refuse" and after.unknown == "refuse":
        found = asked.past.of_undeclared()
        yield Told(
            *found, "named a user who is not declared (or switched off), and would have been refused", MONTHS
        )
    if before.missing != "refuse" and after.missing == "refuse":
        yield Told(
            *asked.past.of_nobody(),
            "named no user, and would have been refused where users have budgets",
            MONTHS,
        )


def _routing(asked: Asked) -> Iterator[Told]:
    before, after = asked.before.routing, asked.after.routing
    if before.enabled and not after.enabled:
        yield Told(None, asked.past.saved_by(ROUTING), "saved by routing, and would have been paid", MEASURED)
        for tier, row in asked.past.by("tier").items():
            if tier and tier != after.default_tier and row["calls"]:
                why = f"went to the tier {tier}; those that asked for auto would have gone to {after.default_tier}"
                yield Told(row["calls"], row["billed"], why, DAYS)
    elif after.enabled and not before.enabled:
        yield asked.count(
            "auto",
            "asked for auto, took the default tier, and would have been judged; where each goes needs its text",
        )
    for tier in ("simple", "standard", "complex"):
        most = value_at(asked.after, ("default_max_tokens", tier))
        if asked.changes("default_max_tokens", tier) and most < value_at(
            asked.before, ("default_max_tokens", tier)
        ):
            yield asked.count(
                "longer",
                f"asked for auto, got more than {most:,} tokens from the tier {tier}, and would have been cut there, if they"
                " named no maximum",
                tier=tier,
                value=most,
            )


def _compression(asked: Asked) -> Iterator[Told]:
    before, after = asked.before.compression, asked.after.compression
    if before.enabled and not after.enabled:
        yield Told(
            None, asked.past.saved_by(COMPRESSION), "saved by compression, and would have been paid", MEASURED
        )
    elif after.enabled and not before.enabled:
        yield asked.count(
            "bought", "were bought, and would have been looked at; how much shorter each gets needs its text"
        )


def _provider_cache(asked: Asked) -> Iterator[Told]:
    if asked.before.cache.provider_marks and not asked.after.cache.provider_marks:
        saved = asked.past.saved_by(PROVIDER_CACHE)
        yield Told(None, saved, "saved by the provider's cache, and would have been paid", MEASURED)


def _hedging(asked: Asked) -> Iterator[Told]:
    after = asked.after.hedging
    if after.after_ms is None:
        return
    also = f" A second call is paid too, for at most {after.max_percent} % of the calls."
    kinds: tuple[Question, ...] = ("late_stream", "late_answer") if after.whole_answers else ("late_stream",)
    for kind in kinds:
        what = "first tokens" if kind == "late_stream" else "whole answers"
        yield asked.count(
            kind,
            f"{what} later than {after.after_ms:,} ms, which would have had one.{also}",
            value=after.after_ms,
        )


def _user_limits(asked: Asked) -> Iterator[Told]:
    changed, unchanged = limits.refused_by_users(asked.tenant, asked.after.user_rate_limits)
    basis = f"{IN_LOG}, {changed.sample.basis}, in the limiter's own windows"
    yield Told(
        changed.in_all, None, f"refused by a rate limit, with the change; {limits.in_words(changed)}", basis
    )
    yield Told(unchanged.in_all, None, "refused by a rate limit, as it is now", basis)


CONSEQUENCES: Final[dict[str, Callable[[Asked], Iterator[Told]]]] = {
    "exact": _exact,
    "semantic": _semantic,
    "routing": _routing,
    "compression": _compression,
    "provider_cache": _provider_cache,
    "hedging": _hedging,
    "user_limits": _user_limits,
    "platform": _platform,
}
