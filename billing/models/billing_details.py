"""Whom a tenant's statements are addressed to, and on which terms.

Invariant: one row per tenant, changed by people with a history. Statements that are issued keep what they said.
"""

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from simple_history.models import HistoricalRecords

from billing.models.contracts.currencies import check_currency
from tenants.models import Tenant

LONGEST_PAYMENT_DAYS = 365


class BillingDetails(models.Model):
    """The recipient of a tenant's statements. Where there is none, a statement names the tenant, and asks for no tax."""

    class Tax(models.TextChoices):
        NONE = "none", "no tax on statements"
        VAT = "vat", "VAT"
        REVERSE_CHARGE = "reverse_charge", "reverse charge"
        EXEMPT = "exempt", "exempt from VAT"

    tenant = models.OneToOneField(Tenant, on_delete=models.CASCADE, related_name="billing_details")
    legal_name = models.CharField(max_length=200, blank=True, default="")
    address = models.TextField(
        max_length=500, blank=True, default="", help_text="as on an envelope, without the name"
    )
    vat_id = models.CharField("VAT ID", max_length=30, blank=True, default="")
    email = models.EmailField(blank=True, default="", help_text="gets the statement of each closed month")
    po_number = models.CharField(
        "order number",
        max_length=60,
        blank=True,
        default="",
        help_text="the tenant's own, printed on each statement",
    )
    tax = models.CharField(max_length=14, choices=Tax, default=Tax.NONE)
    vat_percent = models.DecimalField(
        "VAT, percent",
        max_digits=5,
        decimal_places=2,
        default=0,
        validators=[MinValueValidator(0), MaxValueValidator(100)],
    )
    currency = models.CharField(
        max_length=3,
        default="USD",
        validators=[check_currency],
        help_text="of the next statements; prices, budgets and the ledger stay in USD",
    )
    payment_days = models.PositiveSmallIntegerField(
        default=30, validators=[MaxValueValidator(LONGEST_PAYMENT_DAYS)], help_text="from the day of issue"
    )

    history = HistoricalRecords()

    class Meta:
        verbose_name_plural = "billing details"
        constraints = (
            # VAT of nothing would look like a mistake on a statement, and a rate without VAT like one here.
            models.CheckConstraint(
                condition=Q(tax="vat", vat_percent__gt=0) | (~Q(tax="vat") & Q(vat_percent=0)),
                name="billing_details_rate_with_vat",
            ),
        )

    def __str__(self) -> str:
        return f"billing details of {self.tenant}"
