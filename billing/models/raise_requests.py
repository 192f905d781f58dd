"""Requests of tenants for a larger budget.

Invariant: a request is decided once, by a named person, and the raise that was granted is linked to it. An expired one is
not decided any more.
"""

import uuid
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.timezone import now

from billing.models.budgets import Budget, BudgetRaise
from billing.models.fields import AmountField
from tenants.models import Tenant


class RaiseRequest(models.Model):
    """A wish for more of a budget until a day."""

    is_audited: ClassVar[bool] = True

    class State(models.TextChoices):
        PENDING = "pending", "pending"
        APPROVED = "approved", "approved"
        REFUSED = "refused", "refused"
        EXPIRED = "expired", "expired"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="raise_requests")
    budget = models.ForeignKey(Budget, on_delete=models.PROTECT, related_name="raise_requests")
    extra_amount = AmountField(help_text="in the budget's unit, on top of its limit")
    ends_at = models.DateTimeField(help_text="until when it is wanted")
    reason = models.CharField(max_length=300)
    state = models.CharField(max_length=8, choices=State, default=State.PENDING)
    key_id = models.BigIntegerField(null=True, blank=True, help_text="the API key that asked")
    end_user = models.CharField(max_length=200, blank=True, default="", help_text="the end user who asked")
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    created_at = models.DateTimeField(default=now, editable=False)
    expires_at = models.DateTimeField(help_text="undecided until then, it is over")
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    decided_at = models.DateTimeField(null=True, blank=True)
    decision_reason = models.CharField(max_length=300, blank=True, default="")
    granted = models.OneToOneField(
        BudgetRaise, null=True, blank=True, on_delete=models.PROTECT, related_name="request"
    )

    class Meta:
        ordering = ("-created_at",)
        indexes = (
            models.Index(fields=("expires_at",), condition=Q(state="pending"), name="raise_request_pending"),
            models.Index(fields=("tenant", "-created_at"), name="raise_request_of_tenant"),
        )
        constraints = (
            models.CheckConstraint(condition=Q(extra_amount__gt=0), name="raise_request_positive"),
            # approved means: there is a raise, and a named person is responsible for it
            models.CheckConstraint(
                condition=Q(state="approved", granted__isnull=False)
                | (~Q(state="approved") & Q(granted__isnull=True)),
                name="raise_request_granted",
            ),
            models.CheckConstraint(
                condition=Q(
                    state__in=("approved", "refused"), decided_at__isnull=False, decided_by__isnull=False
                )
                | Q(state__in=("pending", "expired"), decided_at__isnull=True, decided_by__isnull=True),
                name="raise_request_decided",
            ),
        )

    def __str__(self) -> str:
        return f"+{self.extra_amount.normalize():f} for the {self.budget} ({self.state})"

    @property
    def asker(self) -> str:
        """Who asked, in words."""
        if self.requested_by is not None:
            return self.requested_by.get_username()
        return f"user {self.end_user}" if self.end_user else f"API key {self.key_id}"
