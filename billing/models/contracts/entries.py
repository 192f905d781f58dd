"""Credits and adjustments: who proposed them for whom, who approved them, and the ledger row that came of it.

Invariant: an entry that is booked never changes (trigger). What is proposed is decided once.
"""

import uuid
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.timezone import now

from billing.models.fields import AmountField
from billing.models.ledger import BillingPeriod
from tenants.models import Tenant


class EntryKind(models.TextChoices):
    """What is given back, and what is charged more or less."""

    CREDIT = "credit", "credit"
    ADJUSTMENT = "adjustment", "adjustment"


class Subject(models.TextChoices):
    """Whose an entry is."""

    TENANT = "tenant", "the whole tenant"
    COST_CENTER = "cost_center", "a cost centre"
    USER = "user", "a user"


class ManualEntry(models.Model):
    """Who wrote a credit or an adjustment into the ledger, and why. Its id is the ledger row's."""

    is_audited: ClassVar[bool] = True
    Kind = EntryKind

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="manual_entries")
    period = models.ForeignKey(BillingPeriod, on_delete=models.PROTECT, related_name="+")
    kind = models.CharField(max_length=10, choices=EntryKind)
    subject = models.CharField(max_length=11, choices=Subject, default=Subject.TENANT)
    subject_value = models.CharField(max_length=200, blank=True, default="")
    month = models.CharField(
        max_length=7, blank=True, default="", help_text="that it is for; empty: the running one"
    )
    amount_usd = AmountField(help_text="as the ledger has it: a credit is negative")
    reason = models.TextField()
    entered_at = models.DateTimeField(default=now, editable=False)
    entered_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    approved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        verbose_name_plural = "manual entries"
        ordering = ("-entered_at",)

    def __str__(self) -> str:
        return f"{self.kind} of {self.amount_usd.normalize():f} USD for {self.tenant}"


class EntryProposal(models.Model):
    """A credit or an adjustment that somebody wants: booked at once, or after another person approved it."""

    is_audited: ClassVar[bool] = True

    class Status(models.TextChoices):
        PROPOSED = "proposed", "proposed"
        BOOKED = "booked", "booked"
        REJECTED = "rejected", "rejected"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False, help_text="of the entry, too")
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+")
    kind = models.CharField(max_length=10, choices=EntryKind, default=EntryKind.CREDIT)
    subject = models.CharField("for", max_length=11, choices=Subject, default=Subject.TENANT)
    subject_value = models.CharField(
        "which", max_length=200, blank=True, default="", help_text="cost centre or user, as the ledger has it"
    )
    month = models.CharField(
        max_length=7, blank=True, default="", help_text="YYYY-MM that it is for; empty: the running one"
    )
    amount_usd = AmountField(
        verbose_name="amount, USD",
        help_text="a credit: what is given back, above 0; an adjustment: with a minus if less is charged",
    )
    reason = models.TextField(max_length=500, help_text="the statement shows it")
    status = models.CharField(max_length=8, choices=Status, default=Status.PROPOSED)
    proposed_at = models.DateTimeField(default=now, editable=False)
    proposed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    decided_at = models.DateTimeField(null=True, blank=True)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        verbose_name = "credit or adjustment"
        verbose_name_plural = "credits and adjustments"
        ordering = ("-proposed_at",)
        constraints = (
            # a decision has its moment, and what waits has none
            models.CheckConstraint(
                condition=Q(status="proposed", decided_at=None)
                | (~Q(status="proposed") & Q(decided_at__isnull=False)),
                name="entry_proposal_decided",
            ),
            # of the tenant there is one; of cost centres and users there are many
            models.CheckConstraint(
                condition=Q(subject="tenant", subject_value="")
                | (~Q(subject="tenant") & ~Q(subject_value="")),
                name="entry_proposal_subject_named",
            ),
            models.CheckConstraint(
                condition=Q(kind="credit", amount_usd__gt=0) | (Q(kind="adjustment") & ~Q(amount_usd=0)),
                name="entry_proposal_amount",
            ),
        )

    def __str__(self) -> str:
        whose = f"{self.subject_value} of {self.tenant}" if self.subject_value else f"{self.tenant}"
        of = f" for {self.month}" if self.month else ""
        return f"{self.kind} of {self.amount_usd.normalize():f} USD to {whose}{of}"
