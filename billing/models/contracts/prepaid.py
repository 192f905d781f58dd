"""What a tenant paid ahead: a balance that is held and spent as a budget is, and the entries that made it.

Invariant: an entry never changes (trigger). The budget's limit is the sum of the balance's entries, changed in one transaction
with them and under the locks of admission (`billing_prepaid_book`); so no entry takes away what is spent or held.
"""

import uuid
from typing import ClassVar

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.utils.timezone import now

from billing.models.budgets import Budget
from billing.models.fields import AmountField
from tenants.models import Tenant

MOST_LEVELS = 10


def check_levels(levels: object) -> None:
    """Raise ValidationError unless it is a short list of amounts."""
    if not isinstance(levels, list) or len(levels) > MOST_LEVELS:
        raise ValidationError(f"a list of at most {MOST_LEVELS} amounts, such as [100, 20]")
    if any(
        isinstance(one, bool) or not isinstance(one, int | float) or not 0 <= one <= 10**12 for one in levels
    ):
        raise ValidationError("amounts of USD, from 0 on")


class PrepaidBalance(models.Model):
    """A tenant's balance. Its budget has the scope `prepaid`: hard, in USD, in total, of all calls of the tenant."""

    is_audited: ClassVar[bool] = True

    budget = models.OneToOneField(Budget, primary_key=True, on_delete=models.PROTECT, related_name="prepaid")
    tenant = models.OneToOneField(Tenant, on_delete=models.PROTECT, related_name="prepaid_balance")
    alert_below_usd = models.JSONField(
        "notify below, USD",
        default=list,
        blank=True,
        validators=[check_levels],
        help_text="what is left, e.g. [100, 20]: once for each, until it is topped up",
    )
    opened_at = models.DateTimeField(default=now, editable=False)
    opened_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        ordering = ("tenant",)

    def __str__(self) -> str:
        return f"prepaid balance of {self.tenant}"


class PrepaidEntry(models.Model):
    """What was added to a balance, or taken from it otherwise than by calls."""

    is_audited: ClassVar[bool] = True

    class Kind(models.TextChoices):
        TOP_UP = "top_up", "paid"
        GRANT = "grant", "granted"
        EXPIRY = "expiry", "expired"
        REFUND = "refund", "paid back"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+")
    balance = models.ForeignKey(PrepaidBalance, on_delete=models.PROTECT, related_name="entries")
    kind = models.CharField(max_length=7, choices=Kind)
    amount_usd = AmountField(help_text="with a minus: taken from the balance")
    expires_at = models.DateTimeField(null=True, blank=True, help_text="what is not used by then is lost")
    of = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="of an expiry: of what",
    )
    reason = models.CharField(max_length=300, help_text="an invoice's number, or why")
    entered_at = models.DateTimeField(default=now, editable=False)
    entered_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        ordering = ("-entered_at",)
        verbose_name_plural = "prepaid entries"
        indexes = (models.Index(fields=("balance", "expires_at"), name="prepaid_entry_expires"),)
        constraints = (
            # What is added is more than nothing, and what is taken less.
            models.CheckConstraint(
                condition=Q(kind__in=("top_up", "grant"), amount_usd__gt=0)
                | Q(kind__in=("expiry", "refund"), amount_usd__lt=0),
                name="prepaid_entry_sign",
            ),
            models.CheckConstraint(
                condition=Q(kind="expiry", of__isnull=False) | (~Q(kind="expiry") & Q(of=None)),
                name="prepaid_expiry_of_something",
            ),
            models.CheckConstraint(
                condition=Q(expires_at=None) | Q(kind__in=("top_up", "grant")),
                name="prepaid_only_added_expires",
            ),
        )

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.amount_usd.normalize():f} USD"
