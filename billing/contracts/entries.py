"""Credits and adjustments: proposed for a tenant, one of its cost centres or users, and of a month; decided; booked.

Invariant: an entry is booked once, with who entered and who approved it. Where the tenant's policy asks for four eyes it waits
for another person; else who enters it has decided. A closed month is never touched: its entries are corrections in the open one.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import structlog
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.utils.timezone import now

from billing.four_eyes import four_eyes_of, require_another
from billing.ledger.corrections import adjust, credit, month_of
from billing.ledger.periods import period_at
from billing.models import BillingPeriod, EntryProposal, ManualEntry
from billing.notices import notify_operators
from tenants.models import Tenant

Status = EntryProposal.Status
log = structlog.get_logger(__name__)
BILLED = """
SELECT coalesce(sum(billed_cost), 0) FROM billing_usagerecord
WHERE tenant_id = %(tenant)s AND occurred_at >= %(starts_at)s AND occurred_at < %(ends_at)s
  AND (%(subject)s = 'tenant' OR CASE %(subject)s WHEN 'user' THEN user_id ELSE cost_center END = %(value)s)
"""


@dataclass(frozen=True, slots=True)
class EntryEffect:
    """What an entry does: to which month it belongs, in which it is booked, and what is paid for that subject and month."""

    month: str
    booked_in: str
    paid_usd: Decimal
    then_usd: Decimal
    waits: bool


@transaction.atomic
def propose_entry(
    tenant: Tenant, *, entry_id: UUID | None = None, acting_user: User | None = None, **what: Any
) -> EntryProposal:
    """Enter a credit or an adjustment; `what` are the fields of EntryProposal. Booked at once unless four eyes are asked for.

    With an `entry_id` the same entry again changes nothing. Raises ValidationError.
    """
    Tenant.objects.select_for_update(no_key=True).get(pk=tenant.pk)  # the same entry twice takes turns
    proposal = EntryProposal(id=entry_id or uuid4(), tenant=tenant, proposed_by=acting_user, **what)
    known = EntryProposal.objects.filter(pk=proposal.pk).first()
    if known is not None:
        if any(getattr(known, name) != value for name, value in {"tenant": tenant, **what}.items()):
            raise ValidationError("another entry has this id, or it was changed: an entry is never edited")
        return known
    proposal.full_clean()
    month_of(tenant, proposal.month)
    proposal.save(force_insert=True)
    if not four_eyes_of(tenant):
        return approve_entry(proposal, acting_user=acting_user)
    notify_operators(
        "entry_proposed",
        f"{proposal} waits: by the tenant's policy somebody else approves it",
        subject=str(proposal.pk),
        value=proposal.amount_usd,
    )
    log.info("entry_proposed", proposal=str(proposal.pk), tenant=tenant.pk, usd=str(proposal.amount_usd))
    return proposal


@transaction.atomic
def approve_entry(proposal: EntryProposal, *, acting_user: User | None = None) -> EntryProposal:
    """Book an entry; one that is booked stays as it is. Raises ValidationError, also if another person has to approve."""
    locked = (
        EntryProposal.objects.select_for_update(of=("self",)).select_related("tenant").get(pk=proposal.pk)
    )
    if locked.status == Status.BOOKED:
        return locked
    if locked.status == Status.REJECTED:
        raise ValidationError("it was rejected")
    require_another([locked.tenant], authors={locked.proposed_by_id}, approved_by=acting_user)
    book = credit if locked.kind == ManualEntry.Kind.CREDIT else adjust
    book(
        locked.tenant,
        amount_usd=locked.amount_usd,
        reason=locked.reason,
        user_id=locked.subject_value if locked.subject == "user" else "",
        cost_center=locked.subject_value if locked.subject == "cost_center" else "",
        month=locked.month,
        entry_id=locked.pk,
        acting_user=locked.proposed_by,
        approved_by=acting_user,
    )
    return _decide(locked, Status.BOOKED, acting_user)


@transaction.atomic
def reject_entry(proposal: EntryProposal, *, acting_user: User | None = None) -> EntryProposal:
    """Book nothing. Raises ValidationError for an entry that is booked."""
    locked = EntryProposal.objects.select_for_update(of=("self",)).get(pk=proposal.pk)
    if locked.status == Status.BOOKED:
        raise ValidationError("it is booked; an adjustment takes it back")
    return locked if locked.status == Status.REJECTED else _decide(locked, Status.REJECTED, acting_user)


def effect_of_entry(proposal: EntryProposal) -> EntryEffect:
    """What an entry would do if it were booked now. Raises ValidationError for a month that is none of the tenant's."""
    tenant = proposal.tenant
    running = period_at(tenant, at=now())
    period = month_of(tenant, proposal.month) or running
    is_open = period.status == BillingPeriod.Status.OPEN
    arguments: dict[str, Any] = {
        "tenant": tenant.pk, "starts_at": period.starts_at, "ends_at": period.ends_at,
        "subject": proposal.subject, "value": proposal.subject_value,
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(BILLED, arguments)
        paid = Decimal(cursor.fetchone()[0])
    amount = -proposal.amount_usd if proposal.kind == ManualEntry.Kind.CREDIT else proposal.amount_usd
    later = BillingPeriod.objects.filter(tenant=tenant, status="open", starts_at__gt=period.starts_at)
    booked_in = period if is_open else later.order_by("starts_at").first() or running
    return EntryEffect(period.label, booked_in.label, paid, paid + amount, four_eyes_of(tenant))


def _decide(proposal: EntryProposal, status: str, acting_user: User | None) -> EntryProposal:
    proposal.status, proposal.decided_by, proposal.decided_at = status, acting_user, now()
    proposal.save(update_fields=["status", "decided_by", "decided_at"])
    log.info("entry_decided", proposal=str(proposal.pk), status=status, usd=str(proposal.amount_usd))
    return proposal
