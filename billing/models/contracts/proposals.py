"""Top-ups, commitments, rate rules and currency rates that wait for another person, and what became of them.

Invariant: what is proposed is decided once, and a proposal never changes but in that.
"""

import uuid
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.timezone import now

from tenants.models import Tenant


class AgreementProposal(models.Model):
    """What somebody wants to write into a tenant's agreements, as the call of the function that writes it."""

    is_audited: ClassVar[bool] = True

    class Kind(models.TextChoices):
        PREPAID_OPEN = "prepaid_open", "new prepaid balance"
        PREPAID_ADD = "prepaid_add", "top-up"
        PREPAID_PAY_BACK = "prepaid_pay_back", "paying back"
        COMMITMENT = "commitment", "minimum commitment"
        COMMITMENT_END = "commitment_end", "end of a commitment"
        RATE_RULE = "rate_rule", "rate rule"
        RATE_RULE_END = "rate_rule_end", "end of a rate rule"
        CURRENCY_RATE = "currency_rate", "currency rate"
        CURRENCY_RATES = "currency_rates", "currency rates"

    class Status(models.TextChoices):
        PROPOSED = "proposed", "proposed"
        DONE = "done", "approved and written"
        REJECTED = "rejected", "rejected"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(
        Tenant,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="empty: rates between currencies",
    )
    kind = models.CharField(max_length=16, choices=Kind)
    summary = models.CharField(max_length=300)
    arguments = models.JSONField(default=dict)
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
        verbose_name = "proposed agreement"
        ordering = ("-proposed_at",)
        constraints = (
            # a decision has its moment, and what waits has none
            models.CheckConstraint(
                condition=Q(status="proposed", decided_at=None)
                | (~Q(status="proposed") & Q(decided_at__isnull=False)),
                name="agreement_proposal_decided",
            ),
        )

    def __str__(self) -> str:
        return self.summary
