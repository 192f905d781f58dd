"""Adds and ends the rules of a tenant's rate plan.

Invariant: a rule is added or ended, never edited: what was rated under it stays explained and can be rated
again. A new rule counts from now on unless a person says otherwise; what it changes of the past is a `RuleCheck`, from
which the re-rating is proposed. Before and after its time counts what counted.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F, Q
from django.utils.timezone import now

from billing.four_eyes import Approval, require_agreed
from billing.models import RateRule, RuleCheck
from tenants.models import Tenant

WHAT = ("kind", "value", "provider", "model", "meter", "processing")


@transaction.atomic
def set_rule(
    tenant: Tenant,
    *,
    priority: int,
    kind: str,
    value: Decimal | None = None,
    provider: str = "",
    model: str = "",
    meter: str = "",
    processing: str = "",
    valid_from: datetime | None = None,
    valid_to: datetime | None = None,
    acting_user: User | None = None,
    approval: Approval | None = None,
) -> RateRule:
    """Have a rule count at a priority from `valid_from` (now) until before `valid_to`, in place of the one that is there.

    The one that is there goes on after that. The same rule again changes nothing. Raises ValidationError, also where
    another rule of that priority begins within that time; and NeedsAnother.
    """
    moment = now()
    at = valid_from or moment
    if valid_to is not None and valid_to <= at:
        raise ValidationError({"valid_to": "must lie after the rule's beginning"})
    wanted = dict(zip(WHAT, (kind, value, provider, model, meter, processing), strict=True))
    Tenant.objects.select_for_update(no_key=True).get(pk=tenant.pk)  # two of the same take turns
    _refuse_follower(tenant, priority=priority, after=at, until=valid_to)
    current = rule_at(tenant, priority=priority, at=at)
    if current is not None and is_same(current, wanted) and current.valid_to == valid_to:
        return current
    what = " ".join(str(part) for part in (kind, value, provider, model, meter, processing) if part)
    require_agreed(
        "rate_rule",
        tenant=tenant,
        approval=approval,
        summary=f"rate rule of {tenant}, priority {priority}: {what}"[:300],
        arguments={"priority": priority, **wanted, "valid_from": valid_from, "valid_to": valid_to},
    )
    former_end = None
    if current is not None:
        former_end = current.valid_to
        if (
            is_same(current, wanted)
            and valid_to is not None
            and (former_end is None or valid_to < former_end)
        ):
            end_rule(current, at=valid_to, acting_user=acting_user, approval=approval)
            return current
        _end(current, at=at, acting_user=acting_user)
    rule = _add(tenant, priority, wanted, at, valid_to, acting_user)
    if current is not None and valid_to is not None and (former_end is None or valid_to < former_end):
        _add(
            tenant,
            priority,
            {name: getattr(current, name) for name in WHAT},
            valid_to,
            former_end,
            acting_user,
        )
    _check_past(rule, starts_at=at, ends_at=valid_to or moment, acting_user=acting_user)
    return rule


@transaction.atomic
def end_rule(
    rule: RateRule,
    *,
    at: datetime | None = None,
    acting_user: User | None = None,
    approval: Approval | None = None,
) -> bool:
    """Have a rule count no more from `at` (now) on. False if it has ended by then. Raises ValidationError, NeedsAnother."""
    ends_at = at or now()
    current = RateRule.objects.select_for_update().get(pk=rule.pk)
    if current.valid_to is not None and current.valid_to <= ends_at:
        return False
    if ends_at < current.valid_from:
        raise ValidationError({"valid_to": "must not lie before the rule's beginning"})
    require_agreed(
        "rate_rule_end",
        tenant=current.tenant,
        approval=approval,
        summary=f"the end of {current} of {current.tenant}"[:300],
        arguments={"rule": current.pk, "at": at},
    )
    former_end = current.valid_to
    _end(current, at=ends_at, acting_user=acting_user)
    _check_past(current, starts_at=ends_at, ends_at=former_end or now(), acting_user=acting_user)
    return True


def rule_at(tenant: Tenant, *, priority: int, at: datetime) -> RateRule | None:
    """The rule that counts at a priority at a moment, locked; None if there is none."""
    rules = RateRule.objects.select_for_update().filter(tenant=tenant, priority=priority, valid_from__lte=at)
    return rules.exclude(valid_to__lte=at).first()


def is_same(rule: RateRule, wanted: Mapping[str, object]) -> bool:
    """Whether a rule says this, by the names in WHAT."""
    return all(getattr(rule, name) == value for name, value in wanted.items())


def _refuse_follower(tenant: Tenant, *, priority: int, after: datetime, until: datetime | None) -> None:
    followers = RateRule.objects.filter(tenant=tenant, priority=priority, valid_from__gt=after)
    # one that was replaced at its own beginning has never counted
    followers = followers.filter(Q(valid_to=None) | Q(valid_to__gt=F("valid_from")))
    if until is not None:
        followers = followers.filter(valid_from__lt=until)
    follower = followers.order_by("valid_from").first()
    if follower is not None:
        raise ValidationError(
            {
                "priority": f"another rule of this priority begins at {follower.valid_from:%Y-%m-%d %H:%M} UTC: "
                "end this one by then, or take another priority"
            }
        )


def _add(
    tenant: Tenant,
    priority: int,
    what: Mapping[str, object],
    valid_from: datetime,
    valid_to: datetime | None,
    acting_user: User | None,
) -> RateRule:
    rule = RateRule(
        tenant=tenant,
        priority=priority,
        valid_from=valid_from,
        valid_to=valid_to,
        created_by=acting_user,
        **what,
    )
    rule._history_user = acting_user  # type: ignore[attr-defined]  # django-simple-history reads it
    rule.full_clean()
    rule.save(force_insert=True)
    return rule


def _end(rule: RateRule, *, at: datetime, acting_user: User | None) -> None:
    rule.valid_to = at
    rule._history_user = acting_user  # type: ignore[attr-defined]  # django-simple-history reads it
    rule.save(update_fields=["valid_to"])


def _check_past(rule: RateRule, *, starts_at: datetime, ends_at: datetime, acting_user: User | None) -> None:
    """Have the past between two moments looked at, if there is any."""
    moment = now()
    ends_at = min(ends_at, moment)
    if starts_at < ends_at and (moment - starts_at).total_seconds() > 1:
        RuleCheck.objects.create(
            tenant=rule.tenant, rule=rule, starts_at=starts_at, ends_at=ends_at, recorded_by=acting_user
        )
