"""Who may have a month closed: anybody with the right, or where the tenant's policy says `closing.four_eyes`, two of them.

Invariant: of four eyes one person asks, or the schedule, and another person confirms: never the same one, never the schedule or a
command. Both have the right at the moment of confirming. What begins then is what was asked for, with its reason.
"""

from datetime import datetime, timedelta

import structlog
from django.contrib.auth.models import User
from django.db import transaction
from django.utils.timezone import now

from billing.four_eyes import four_eyes_of, name_of
from billing.models import BillingPeriod, MonthJob
from billing.months.closing import FOUR_EYES, CannotClose, begin, locked_period, require_due
from billing.months.jobs.asking import ask_close
from billing.notices import notify_operators
from tenants.people.rights import Right, rights_of
from tenants.policy import parse_policy

Status = BillingPeriod.Status
_reasons: dict[int, str] = {}  # why periods that are due were not closed, as this process said it last
log = structlog.get_logger(__name__)


@transaction.atomic
def close_or_ask(period: BillingPeriod, *, acting_user: User, reason: str = "") -> MonthJob | None:
    """Have a month closed, or where it needs four eyes, ask for it: None. Raises CannotClose, TooManyJobs."""
    locked = locked_period(period)
    if locked.status == Status.OPEN and four_eyes_of(locked.tenant):
        ask(locked, acting_user=acting_user, reason=reason)
        return None
    begin(locked, forced_reason=reason)
    return ask_close(locked, acting_user=acting_user, reason=reason)


@transaction.atomic
def ask(period: BillingPeriod, *, acting_user: User | None, reason: str = "") -> BillingPeriod:
    """Ask another person to have a month closed; without a person it is the schedule. Raises CannotClose.

    Asked for is what could be done now: a month that is over and the next one, with a reason if before its time.
    """
    locked = locked_period(period)
    _require_open(locked)
    require_due(locked, forced_reason=reason)
    if acting_user is not None:
        _require_right(acting_user, locked)
    if locked.close_asked_at is not None and _still_counts(locked):
        if acting_user is not None and locked.close_asked_by_id == acting_user.pk:
            raise CannotClose(f"you asked {_when(locked)}: another person confirms it")
        raise CannotClose(f"{asker_of(locked)} asked {_when(locked)}: confirm that instead")
    locked.close_asked_at, locked.close_asked_by, locked.close_reason = now(), acting_user, reason[:300]
    locked.save(update_fields=FOUR_EYES)
    notify_operators(
        "close_asked",
        f"{asker_of(locked)} asks to close {locked.label} of {locked.tenant}: somebody else confirms it",
        subject=f"{locked.tenant.slug} {locked.label}",
        window=f"{locked.close_asked_at:%Y-%m-%dT%H:%M:%S}",
    )
    log.info("close_asked", tenant=locked.tenant_id, month=locked.label)
    return locked


@transaction.atomic
def confirm(period: BillingPeriod, *, acting_user: User) -> MonthJob:
    """Have a month closed that somebody else asked for. Raises CannotClose, TooManyJobs."""
    locked = locked_period(period)
    _require_open(locked)
    if locked.close_asked_at is None:
        raise CannotClose(f"nobody asked to close {locked.label}: ask first, and somebody else confirms it")
    if locked.close_asked_by_id == acting_user.pk:
        raise CannotClose(f"you asked {_when(locked)}: another person confirms it")
    _require_right(acting_user, locked)
    if not _still_counts(locked):
        raise CannotClose(
            f"{asker_of(locked)}, who asked {_when(locked)}, may not close months any more: ask anew"
        )
    locked.close_confirmed_at, locked.close_confirmed_by = now(), acting_user
    locked.save(update_fields=FOUR_EYES)
    begin(locked, forced_reason=locked.close_reason)
    log.info("close_confirmed", tenant=locked.tenant_id, month=locked.label)
    return ask_close(locked, acting_user=acting_user, reason=locked.close_reason)


@transaction.atomic
def take_back(period: BillingPeriod) -> BillingPeriod:
    """Let nobody wait for a close any more that was asked for. Raises CannotClose."""
    locked = locked_period(period)
    _require_open(locked)
    if locked.close_asked_at is None:
        raise CannotClose(f"nobody asked to close {locked.label}")
    locked.close_asked_at = locked.close_asked_by = None
    locked.close_reason = ""
    locked.save(update_fields=FOUR_EYES)
    return locked


def waits(period: BillingPeriod) -> bool:
    """Whether somebody asked to close a month, and nobody confirmed it yet."""
    return period.status == Status.OPEN and period.close_asked_at is not None


def asker_of(period: BillingPeriod) -> str:
    """Who asked to close a month."""
    return name_of(period.close_asked_by)


def begin_due(at: datetime | None = None) -> list[BillingPeriod]:
    """Begin to close the due months of the tenants whose policy says `closing.auto`, oldest month first; which.

    A month that needs four eyes is asked for, once, and waits for a person.
    """
    moment = at or now()
    begun = []
    due = BillingPeriod.objects.exclude(status=Status.CLOSED).filter(ends_at__lte=moment)
    for period in due.select_related("tenant").order_by("tenant", "starts_at"):
        policy = parse_policy(period.tenant.policy).closing
        if not policy.auto or moment < period.ends_at + timedelta(hours=policy.grace_hours):
            continue
        try:
            if policy.four_eyes and period.status == Status.OPEN:
                if period.close_asked_at is None:
                    ask(period, acting_user=None)
                continue
            begin(period)
        except CannotClose as error:
            if _reasons.get(period.pk) != str(error):
                log.error("month_not_closed", tenant=period.tenant_id, month=period.label, reason=str(error))
            _reasons[period.pk] = str(error)
        else:
            begun.append(period)
    return begun


def _require_open(locked: BillingPeriod) -> None:
    if locked.status == Status.CLOSING:
        raise CannotClose(f"{locked.label} is being closed already")
    if locked.status == Status.CLOSED:
        raise CannotClose(f"{locked.label} is closed for good")


def _require_right(person: User, locked: BillingPeriod) -> None:
    if not _may_close(person, locked):
        raise CannotClose(f"you may not close months of {locked.tenant}")


def _still_counts(locked: BillingPeriod) -> bool:
    """Whether who asked could still ask now."""
    return locked.close_asked_by is None or _may_close(locked.close_asked_by, locked)


def _may_close(person: User, locked: BillingPeriod) -> bool:
    """As of now: rights are read anew, whatever the person's page knew."""
    return rights_of(User.objects.get(pk=person.pk)).has(Right.CLOSE, locked.tenant_id)


def _when(locked: BillingPeriod) -> str:
    return f"on {locked.close_asked_at:%Y-%m-%d at %H:%M} UTC"
