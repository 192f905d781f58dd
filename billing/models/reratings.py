"""Re-ratings: past usage at a corrected price, as a proposal that waits for a person.

Invariant: a proposal never changes the ledger; approving it writes exactly the differences it lists, or
nothing. The list of rows is written once (trigger).
"""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils.timezone import now

from billing.models.fields import AmountField
from billing.models.prices import PriceRow
from tenants.models import Tenant


class Rerating(models.Model):
    """What the current books make of a span of past usage, against what was booked."""

    is_audited: ClassVar[bool] = True

    class Status(models.TextChoices):
        PROPOSED = "proposed", "proposed"
        APPLIED = "applied", "applied"
        REJECTED = "rejected", "rejected"

    tenant = models.ForeignKey(
        Tenant, null=True, blank=True, on_delete=models.PROTECT, related_name="+", help_text="empty: all"
    )
    provider = models.CharField(max_length=64, blank=True, default="")
    model = models.CharField(max_length=128, blank=True, default="")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    reason = models.TextField()
    status = models.CharField(max_length=8, choices=Status, default=Status.PROPOSED)
    digest = models.CharField(max_length=64, help_text="sha256 over the differences")
    record_count = models.IntegerField()
    skipped_count = models.IntegerField(
        default=0, help_text="rows that the books cannot rate: lumps, no price"
    )
    list_delta = AmountField()
    provider_delta = AmountField()
    contracted_delta = AmountField()
    billed_delta = AmountField()
    proposed_at = models.DateTimeField(default=now, editable=False)
    proposed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    decided_at = models.DateTimeField(null=True, blank=True)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        ordering = ("-proposed_at",)

    def __str__(self) -> str:
        return (
            f"{self.reason}: {self.record_count} rows, {self.billed_delta.normalize():f} USD ({self.status})"
        )


class PriceCheck(models.Model):
    """Records that past usage was checked for a backdated price, and what was proposed."""

    price = models.OneToOneField(PriceRow, on_delete=models.PROTECT, primary_key=True, related_name="+")
    rerating = models.ForeignKey(Rerating, null=True, on_delete=models.SET_NULL, related_name="+")
    checked_at = models.DateTimeField(default=now, editable=False)

    def __str__(self) -> str:
        return f"{self.price} ({'proposed' if self.rerating_id else 'nothing'})"


class ReratingRow(models.Model):
    """One affected ledger row, and the difference a correction would book."""

    rerating = models.ForeignKey(Rerating, on_delete=models.CASCADE, related_name="rows")
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+")
    record_id = models.UUIDField()
    occurred_at = models.DateTimeField()
    provider = models.TextField()
    model = models.TextField()
    list_delta = AmountField()
    provider_delta = AmountField()
    contracted_delta = AmountField()
    billed_delta = AmountField()
    lines = models.JSONField(
        help_text="the lines of the correction: the old taken back, the new put in their place"
    )
    saving = models.JSONField(default=dict)
    correction_id = models.UUIDField(help_text="the ledger row that books the difference, once approved")

    class Meta:
        ordering = ("occurred_at", "record_id")
        constraints = (
            # A row has one net difference to the books.
            models.UniqueConstraint(fields=("rerating", "record_id"), name="rerating_row_once"),
        )

    def __str__(self) -> str:
        return f"{self.provider}/{self.model} {self.occurred_at}: {self.billed_delta}"
