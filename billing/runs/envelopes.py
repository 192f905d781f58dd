"""What people do with envelopes: open, raise, ask for more, stop; and what is left of them.

Invariant: an envelope's limit changes only by raises of its budget and by a stop, which admission counts from the moment they
are committed. Whose run it is may raise it herself only as often and as far as the tenant's policy says, counted under a lock.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.utils.timezone import now

from billing.budgets.raises import end_raise, raise_budget
from billing.models import Budget, BudgetRaise, BudgetWindow, RunEnvelope
from billing.money import plain
from billing.runs.opening import OPEN, PERSON, Owner
from billing.runs.sharing import EVERYBODY, Sharing
from config.values import value_type
from tenants.models import Tenant
from tenants.people import audit
from tenants.policy import EnvelopePolicy

MOST_SHOWN: Final = 200
KEPT_FOR: Final = timedelta(days=90)  # as long as the log of requests
MOST_PRUNED: Final = 10_000  # at one time
_STATES: Final = """SELECT e.budget_id, e.run, e.owner, e."user", e.opened_by, e.opened_at, e.expires_at,
       e.is_open AND e.expires_at > clock_timestamp(), e.own_raises, b.limit_amount + coalesce((
           SELECT sum(r.extra_amount) FROM billing_budgetraise AS r
           WHERE r.budget_id = b.id AND r.starts_at <= clock_timestamp() AND r.ends_at > clock_timestamp()), 0),
       coalesce(w.spent, 0), coalesce(w.held, 0), e.shared_with
FROM billing_runenvelope AS e
JOIN billing_budget AS b ON b.id = e.budget_id
LEFT JOIN billing_budgetwindow AS w ON w.budget_id = e.budget_id"""
STATES: Final = f"""
{_STATES}
WHERE e.tenant_id = %(tenant)s AND b.tenant_id = %(tenant)s AND (%(ids)s::bigint[] IS NULL OR e.budget_id = ANY (%(ids)s))
  AND (%(person)s = '' OR e.owner = 'user/' || %(person)s OR e."user" = %(person)s
       OR e.shared_with && ARRAY['*', 'user/' || %(person)s]::varchar[])
  AND (%(run)s = '' OR e.run = %(run)s)
ORDER BY e.opened_at DESC LIMIT %(limit)s
"""
STATES_OF_ROWS: Final = f"""
{_STATES}
WHERE e.tenant_id = ANY (%(tenants)s) AND b.tenant_id = e.tenant_id AND e.budget_id = ANY (%(ids)s)
"""


@value_type
class EnvelopeState:
    """An envelope as it is now; the limit has the raises that count."""

    id: int
    run: str
    owner: str
    user: str
    opened_by: str
    opened_at: datetime
    expires_at: datetime
    is_open: bool
    own_raises: int
    limit: Decimal
    spent: Decimal
    held: Decimal
    shared_with: Sequence[str] = ()

    @property
    def remaining(self) -> Decimal:
        return self.limit - self.spent - self.held

    @property
    def used_percent(self) -> Decimal:
        """Spent and held, in percent of the limit; an envelope without a limit is full."""
        if self.limit <= 0:
            return Decimal(100)
        return ((self.spent + self.held) * 100 / self.limit).quantize(Decimal("0.1"))

    def is_of(self, person: str) -> bool:
        """Whether it is a person's own run."""
        return bool(person) and (self.owner == f"user/{person}" or self.user == person)

    def is_drawn_from_by(self, person: str) -> bool:
        """Whether it pays for a person's calls: her own, or shared with her."""
        named = {EVERYBODY, f"user/{person}"}
        return self.is_of(person) or (bool(person) and not named.isdisjoint(self.shared_with))


def states_of(
    tenant: Tenant,
    *,
    ids: Sequence[int] | None = None,
    person: str = "",
    run: str = "",
    limit: int = MOST_SHOWN,
) -> list[EnvelopeState]:
    """A tenant's envelopes, newest first: all, or those from which a person draws, or of a run. One query."""
    parameters = {
        "tenant": tenant.pk,
        "ids": None if ids is None else list(ids),
        "person": person,
        "run": run,
        "limit": min(limit, MOST_SHOWN),
    }
    with connection.cursor() as cursor:
        cursor.execute(STATES, parameters)
        return [EnvelopeState(*row) for row in cursor.fetchall()]


def states_of_rows(rows: Sequence[RunEnvelope]) -> dict[int, EnvelopeState]:
    """Envelopes as they are now, by their ids, of whichever tenants. One query."""
    parameters = {"tenants": list({row.tenant_id for row in rows}), "ids": [row.pk for row in rows]}
    with connection.cursor() as cursor:
        cursor.execute(STATES_OF_ROWS, parameters)
        return {state.id: state for state in (EnvelopeState(*row) for row in cursor.fetchall())}


@transaction.atomic
def open_run(
    tenant: Tenant,
    *,
    person: str,
    run: str,
    usd: Decimal,
    policy: EnvelopePolicy,
    sharing: Sharing | None = None,
) -> int:
    """Open an envelope for a run of a person, and of those it is shared with, or find the one that is open; its id.

    Raises ValidationError.
    """
    run = run.strip()
    if not run or len(run) > 200 or not run.isprintable():
        raise ValidationError({"run": "a name of 1 to 200 characters"})
    if policy.opens == "nothing":
        raise ValidationError("the tenant's policy opens no envelopes")
    if not 0 < usd <= Decimal(str(policy.most_usd)):
        raise ValidationError({"usd": f"more than 0 and at most {policy.most_usd:g} USD"})
    owner = Owner(f"user/{person}", "")
    until = now() + timedelta(hours=policy.hours)
    with connection.cursor() as cursor:
        parameters = (tenant.pk, owner.id, owner.user, run, PERSON, usd, until, policy.most_open)
        cursor.execute(OPEN, parameters)
        budget_id, _, _, is_full = cursor.fetchone()
    if is_full:
        raise ValidationError(f"{policy.most_open} runs are open, as many as the policy allows")
    opened = RunEnvelope.objects.get(pk=budget_id, tenant=tenant)
    if sharing is not None:
        share_run(opened, sharing=sharing, person=person)
    changes = {"run": [None, run[: audit.LONGEST_VALUE]], "usd": [None, plain(usd)], "person": [None, person]}
    audit.record("opened a run", about=opened, changes=changes)
    return int(budget_id)


@transaction.atomic
def share_run(envelope: RunEnvelope, *, sharing: Sharing, person: str) -> None:
    """Let others draw from a person's envelope, too; who was let in stays in. Raises ValidationError.

    Who has an open envelope of her own for the run goes on with that.
    """
    envelope = RunEnvelope.objects.select_for_update().get(pk=envelope.pk)
    if not envelope.is_open or envelope.expires_at <= now():
        raise ValidationError("the run is over")
    if envelope.owner != f"user/{person}":
        raise ValidationError({"run": "it has an envelope already that others share with this person"})
    of_run = RunEnvelope.objects.filter(tenant=envelope.tenant_id, run=envelope.run, is_open=True)
    of_run.filter(expires_at__lte=now()).update(is_open=False)
    if of_run.exclude(pk=envelope.pk).exclude(shared_with=[]).exists():
        raise ValidationError({"run": "it has an envelope already that several people share"})
    envelope.shared_with = sharing.added_to(envelope.shared_with)
    envelope.save(update_fields=["shared_with"])


@transaction.atomic
def raise_run(
    envelope: RunEnvelope, *, extra_amount: Decimal, reason: str, acting_user: User | None
) -> BudgetRaise:
    """Add to an envelope until it ends: for those who may decide. Raises ValidationError."""
    if not 0 < extra_amount <= 1_000_000:
        raise ValidationError({"extra_amount": "more than 0 and at most 1,000,000 USD"})
    return raise_budget(
        envelope.budget,
        extra_amount=extra_amount,
        ends_at=envelope.expires_at,
        reason=reason or "the run goes on",
        acting_user=acting_user,
    )


@transaction.atomic
def raise_own(envelope: RunEnvelope, *, policy: EnvelopePolicy, acting_user: User | None) -> BudgetRaise:
    """Add its first amount once more, as the policy lets whose run it is. Raises ValidationError."""
    envelope = (
        RunEnvelope.objects.select_for_update(of=("self",)).select_related("budget").get(pk=envelope.pk)
    )
    if (why_not := why_not_own(state_of(envelope), policy=policy)) or not envelope.is_open:
        raise ValidationError(why_not or "the run is over")
    envelope.own_raises += 1
    envelope.save(update_fields=["own_raises"])
    return raise_run(
        envelope,
        extra_amount=own_amount(state_of(envelope), policy=policy),
        reason=f"raised by whose run it is, {envelope.own_raises} of {policy.own_raises}",
        acting_user=acting_user,
    )


def own_amount(state: EnvelopeState, *, policy: EnvelopePolicy) -> Decimal:
    """By how much whose run it is raises it: the usual amount, or what is left to the most that it may have."""
    return min(policy.usd_of(key="", user=state.user), Decimal(str(policy.most_usd)) - state.limit)


def why_not_own(state: EnvelopeState, *, policy: EnvelopePolicy) -> str:
    """Why whose run it is may not raise it herself; empty where she may."""
    if not state.is_open:
        return "the run is over"
    if not policy.own_raises:
        return "the policy leaves raises to the owners"
    if state.own_raises >= policy.own_raises:
        return f"it was raised {state.own_raises} times, as often as the policy allows"
    if own_amount(state, policy=policy) <= 0:
        return f"it has {plain(state.limit)} USD, as much as the policy allows"
    return ""


@transaction.atomic
def stop_run(envelope: RunEnvelope, *, acting_user: User | None) -> None:
    """Refuse every further call of the run: its limit is what it has spent and holds. A raise lets it go on."""
    budget, state = envelope.budget, state_of(envelope)
    for raised in BudgetRaise.objects.filter(budget=budget, ends_at__gt=now()):
        end_raise(raised, acting_user=acting_user)
    budget.limit_amount = state.spent + state.held
    budget._history_user = acting_user  # type: ignore[attr-defined]  # django-simple-history reads it
    budget.save(update_fields=["limit_amount"])


def state_of(envelope: RunEnvelope) -> EnvelopeState:
    """One envelope as it is now."""
    (state,) = states_of(envelope.tenant, ids=[envelope.pk])
    return state


def close_ended(at: datetime | None = None) -> int:
    """Close the envelopes whose time is over. How many."""
    return RunEnvelope.objects.filter(is_open=True, expires_at__lte=at or now()).update(is_open=False)


@transaction.atomic
def prune_ended(*, before: datetime, most: int = MOST_PRUNED) -> int:
    """Delete envelopes that ended before a moment and that nobody was asked about; the ledger keeps their runs. How many."""
    ended = RunEnvelope.objects.filter(is_open=False, expires_at__lt=before, budget__raise_requests=None)
    ids = list(ended.order_by("expires_at").values_list("pk", flat=True)[:most])
    BudgetRaise.objects.filter(budget__in=ids).delete()
    BudgetWindow.objects.filter(budget__in=ids).delete()
    RunEnvelope.objects.filter(pk__in=ids).delete()
    Budget.everything.filter(pk__in=ids).delete()
    return len(ids)
