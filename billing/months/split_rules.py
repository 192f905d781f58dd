"""A tenant's split rules: set, ended, and read for a month.

Invariant: a rule is written once, and then only ends; each change is one transaction and one history row with its author.
"""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q

from billing.models import SplitRule
from billing.months.splitting import FIXED, Rule
from tenants.models import Tenant
from tenants.people.authors import record_author

MOST_RULES: Final = 50  # of a tenant in one month
MOST_SHARES: Final = 200
_WHOLE: Final = Decimal(100)


@transaction.atomic
def set_split(tenant: Tenant, *, acting_user: User | None = None, **facts: Any) -> SplitRule:
    """Add a rule to a tenant's; `shares` is [[cost centre, percent or ""], ...]. Raises ValidationError."""
    Tenant.objects.select_for_update(no_key=True).get(
        pk=tenant.pk
    )  # one at a time, so that they can be counted
    rule = SplitRule(tenant=tenant, created_by=acting_user, **facts)
    rule.full_clean()
    rule.shares = checked_shares(rule.shares, method=rule.method)
    if len(rules_in_force(tenant, month=rule.first_month)) >= MOST_RULES:
        raise ValidationError(f"there are {MOST_RULES} rules in that month, as many as there may be")
    record_author(rule, acting_user=acting_user, reason="set")
    rule.save(force_insert=True)
    return rule


@transaction.atomic
def end_split(rule: SplitRule, *, last_month: str, acting_user: User | None = None) -> None:
    """Let a rule count for the last time in a month, not before its first. Raises ValidationError."""
    current = SplitRule.objects.select_for_update().get(pk=rule.pk, tenant_id=rule.tenant_id)
    current.last_month = last_month
    current.full_clean(exclude=["tenant", "created_by"])
    record_author(current, acting_user=acting_user, reason=f"ends with {last_month}")
    current.save(update_fields=["last_month"])
    rule.refresh_from_db()


def rules_in_force(tenant: Tenant, *, month: str) -> list[SplitRule]:
    """The rules of a month, in the order in which they take."""
    lasting = Q(last_month="") | Q(last_month__gte=month)
    return list(
        SplitRule.objects.filter(lasting, tenant=tenant, first_month__lte=month).order_by("place", "pk")[
            :MOST_RULES
        ]
    )


def rule_of(row: SplitRule) -> Rule:
    """A row as the division needs it."""
    return Rule(row.name, row.method, {name: Decimal(percent or 0) for name, percent in row.shares})


def checked_shares(shares: Any, *, method: str) -> list[list[str]]:
    """Shares as they are stored, or ValidationError; fixed percentages make a hundred."""
    if not isinstance(shares, list) or len(shares) > MOST_SHARES:
        raise ValidationError({"shares": f"at most {MOST_SHARES} cost centres"})
    percents: dict[str, Decimal] = {}
    for share in shares:
        name, text = (
            (share[0], share[1] if len(share) > 1 else "") if isinstance(share, list) and share else ("", "")
        )
        if not isinstance(name, str) or not 0 < len(name) <= 100 or name in percents:
            raise ValidationError({"shares": "each cost centre once, by its name"})
        percents[name] = _percent(text, is_fixed=method == FIXED)
    if method == FIXED and sum(percents.values()) != _WHOLE:
        raise ValidationError({"shares": f"the percentages make {sum(percents.values())}, not 100"})
    return [[name, f"{percent:f}" if method == FIXED else ""] for name, percent in percents.items()]


def _percent(text: Any, *, is_fixed: bool) -> Decimal:
    if not is_fixed:
        if text:
            raise ValidationError({"shares": "only fixed shares have percentages"})
        return Decimal(0)
    try:
        percent = Decimal(str(text))
    except InvalidOperation:
        percent = Decimal(0)
    if not percent.is_finite() or not 0 < percent <= _WHOLE or percent != round(percent, 6):
        raise ValidationError({"shares": "a percentage above 0, with at most six places, for each"})
    return percent


def condition_of(row: SplitRule, *, number: int) -> tuple[str, Mapping[str, str]]:
    """Which ledger rows `r` a rule takes, in SQL, and its arguments."""
    value, tag = f"value{number}", f"tag{number}"
    conditions = {
        SplitRule.Source.COST_CENTER: f"r.cost_center = %({value})s",
        SplitRule.Source.PROJECT: f"r.project = %({value})s",
        SplitRule.Source.TAG: f"r.tags ->> %({tag})s = %({value})s",
        SplitRule.Source.UNALLOCATED: "r.cost_center = '' AND r.kind IN ('usage', 'correction')",
        SplitRule.Source.CREDITS: "r.cost_center = '' AND r.kind = 'credit'",
        SplitRule.Source.FEES: "r.cost_center = '' AND r.kind = 'adjustment'",
    }
    return conditions[SplitRule.Source(row.source)], {value: row.value, tag: row.tag}
