"""What a rate rule would change, told before it is set.

Invariant: nothing is left behind: the rule is tried in a transaction that is rolled back, with the code that rates for good.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from django.db import transaction
from django.utils.timezone import now

from billing.four_eyes import TRIAL
from billing.models import RateRule
from billing.prices.book import PriceBook, load_price_book
from billing.prices.plan_editing import set_rule
from billing.rerating.rows import IN_SPAN, Booked, CannotRate, booked, difference_of
from tenants.models import Tenant

LOOKED_BACK: Final = timedelta(days=30)  # of a rule that is not backdated
MOST_CALLS: Final = 20_000


@dataclass(frozen=True, slots=True)
class RuleEffect:
    """What a rule makes of past calls. Of one that begins later, the calls of the last 30 days as if it had counted."""

    starts_at: datetime
    ends_at: datetime
    is_backdated: bool
    calls: int
    changed: int
    billed_usd: Decimal
    change_usd: Decimal
    is_complete: bool  # False: there are more calls than MOST_CALLS, which alone are counted


def effect_of_rule(tenant: Tenant, **rule: Any) -> RuleEffect:
    """Try a rule; `rule` as `set_rule` takes it. Raises ValidationError as that does. Reads at most MOST_CALLS calls."""
    moment = now()
    valid_from, valid_to = rule.get("valid_from") or moment, rule.get("valid_to")
    is_backdated = valid_from < moment
    with transaction.atomic():
        before = load_price_book(tenant.pk)
        set_rule(tenant, **rule, approval=TRIAL)
        if not is_backdated:
            valid_from, valid_to = moment - LOOKED_BACK, None
            _make_room(tenant, priority=rule["priority"], since=valid_from)
            set_rule(tenant, **{**rule, "valid_from": valid_from, "valid_to": None}, approval=TRIAL)
        after = load_price_book(tenant.pk)
        span = {"starts_at": valid_from, "ends_at": min(valid_to or moment, moment)}
        named = {"provider": rule.get("provider", ""), "model": ""}
        calls = changed = 0
        billed, change, is_complete = Decimal(0), Decimal(0), True
        for call in booked(tenant.pk, which=IN_SPAN, **span, **named):
            if calls == MOST_CALLS:
                is_complete = False
                break
            calls += 1
            billed += call.billed_cost
            if delta := _delta(call, before, after):
                changed += 1
                change += delta
        transaction.set_rollback(True)
    return RuleEffect(**span, is_backdated=is_backdated, calls=calls, changed=changed, billed_usd=billed,
                      change_usd=change, is_complete=is_complete)  # fmt: skip


def _make_room(tenant: Tenant, *, priority: int, since: datetime) -> None:
    """Let nothing else of a priority count from a moment on. Only ever within a transaction that is rolled back."""
    for rule in RateRule.objects.filter(tenant=tenant, priority=priority):
        if rule.valid_to is None or rule.valid_to > since:
            RateRule.objects.filter(pk=rule.pk).update(valid_to=max(rule.valid_from, since))


def _delta(call: Booked, before: PriceBook, after: PriceBook) -> Decimal:
    try:
        old, new = difference_of(call, before), difference_of(call, after)
    except CannotRate:
        return Decimal(0)
    return (new.billed_delta if new else Decimal(0)) - (old.billed_delta if old else Decimal(0))
