"""Requests for a larger budget, and the decisions on them.

Invariant: a request changes nothing by itself; what an approval grants is a raise like any other, which admission counts
from the moment it is committed. The tenant's alert channels are notified of each request, it is decided once, and with
the decision its alert is over.
"""

from datetime import datetime, timedelta
from decimal import Decimal

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q
from django.utils.timezone import now

from billing import incidents
from billing.budgets.raises import raise_budget
from billing.models import AlertEvent, Budget, BudgetRaise, RaiseRequest
from billing.money import plain

METRIC = "raise_requested"
OPEN_FOR = timedelta(days=7)
MOST_PENDING = 20  # of one budget: more would be noise
MOST_EXPIRED = 1_000  # of one run

State = RaiseRequest.State


@transaction.atomic
def request_raise(
    budget: Budget,
    *,
    extra_amount: Decimal,
    ends_at: datetime,
    reason: str,
    key_id: int | None = None,
    end_user: str = "",
    acting_user: User | None = None,
) -> RaiseRequest:
    """Ask for so much more until `ends_at`, and notify the tenant's channels. Raises ValidationError."""
    at = now()
    if ends_at <= at:
        raise ValidationError({"ends_at": "must be in the future"})
    Budget.everything.select_for_update().get(pk=budget.pk)  # so that the count below stays true
    pending = RaiseRequest.objects.filter(budget=budget, state=State.PENDING, expires_at__gt=at)
    if pending.count() >= MOST_PENDING:
        raise ValidationError(f"{MOST_PENDING} requests for this budget wait for a decision already")
    asked = RaiseRequest(
        tenant_id=budget.tenant_id,
        budget=budget,
        extra_amount=extra_amount,
        ends_at=ends_at,
        reason=reason,
        key_id=key_id,
        end_user=end_user,
        requested_by=acting_user,
        expires_at=min(ends_at, at + OPEN_FOR),
    )
    asked.full_clean()
    asked._audit_name = asked.asker  # type: ignore[attr-defined]  # a call's, who has no account here
    asked.save()
    AlertEvent.objects.create(
        tenant_id=budget.tenant_id,
        budget=budget,
        metric=METRIC,
        subject_key=str(asked.pk),
        value=extra_amount,
        threshold=0,
        message=f"A raise of the {budget} by {plain(extra_amount)} {budget.get_unit_display()} until "
        f"{ends_at:%Y-%m-%d %H:%M} UTC was asked for by {asked.asker}: {reason}",
    )
    return asked


@transaction.atomic
def approve_raise(asked: RaiseRequest, *, acting_user: User, reason: str = "") -> BudgetRaise:
    """Grant what was asked for, from now on. Raises ValidationError if it was decided or has expired."""
    asked = _undecided(asked)
    if not asked.budget.is_active:
        raise ValidationError("the budget is not in use any more")
    granted = raise_budget(
        asked.budget,
        extra_amount=asked.extra_amount,
        ends_at=asked.ends_at,
        reason=asked.reason,
        acting_user=acting_user,
    )
    _decide(asked, State.APPROVED, acting_user=acting_user, reason=reason, granted=granted)
    return granted


@transaction.atomic
def refuse_raise(asked: RaiseRequest, *, acting_user: User, reason: str) -> RaiseRequest:
    """Refuse it and say why. Raises ValidationError if it was decided or has expired."""
    if not reason.strip():
        raise ValidationError({"reason": "a refusal says why"})
    asked = _undecided(asked)
    _decide(asked, State.REFUSED, acting_user=acting_user, reason=reason)
    return asked


@transaction.atomic
def expire_requests(at: datetime | None = None) -> int:
    """Expire the requests that were not decided in time, and end their alerts. Returns how many, at most MOST_EXPIRED."""
    late = RaiseRequest.objects.filter(state=State.PENDING, expires_at__lte=at or now())
    pks = list(late.select_for_update().order_by("pk").values_list("pk", flat=True)[:MOST_EXPIRED])
    RaiseRequest.objects.filter(pk__in=pks).update(state=State.EXPIRED)
    over = Q(metric=METRIC, subject_key__in=[str(pk) for pk in pks])
    incidents.resolve_where(over, text="nobody decided on it in time")
    return len(pks)


def _undecided(asked: RaiseRequest) -> RaiseRequest:
    """The request, locked until the decision is committed."""
    asked = RaiseRequest.objects.select_for_update(of=("self",)).select_related("budget").get(pk=asked.pk)
    if asked.state != State.PENDING:
        raise ValidationError(f"the request is {asked.get_state_display()} already")
    if asked.expires_at <= now():
        raise ValidationError("the request has expired")
    return asked


def _decide(
    asked: RaiseRequest,
    state: str,
    *,
    acting_user: User,
    reason: str,
    granted: BudgetRaise | None = None,
) -> None:
    asked.state, asked.decided_at, asked.decision_reason = state, now(), reason
    asked.decided_by, asked.granted = acting_user, granted
    asked.full_clean()
    asked.save()
    for alert in AlertEvent.objects.filter(
        tenant_id=asked.tenant_id, metric=METRIC, subject_key=str(asked.pk)
    ):
        incidents.resolve(alert, acting_user=acting_user, text=f"the request was {asked.get_state_display()}")
