"""The accounts of a general ledger that a journal books to.

Invariant: of a kind, a tenant and a cost centre there is one; the closest one counts.
"""

from django.db import models
from simple_history.models import HistoricalRecords

from tenants.models import Tenant


class GlAccount(models.Model):
    """An account by what is booked to it. Without a tenant it is everybody's, without a cost centre that of all of them."""

    class Kind(models.TextChoices):
        RECEIVABLE = "receivable", "receivables"
        REVENUE = "revenue", "revenue from usage"
        CREDITS = "credits", "credits given"
        COMMITMENTS = "commitments", "minimum commitments"
        TAX = "tax", "value-added tax"
        ACCRUAL = "accrual", "accrued income"
        PREPAID = "prepaid", "prepaid balances"

    kind = models.CharField(max_length=11, choices=Kind)
    tenant = models.ForeignKey(
        Tenant,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="+",
        help_text="empty: every one",
    )
    cost_center = models.CharField(max_length=200, blank=True, default="", help_text="empty: every one")
    code = models.CharField(max_length=40, help_text="as the ledger that imports the journal knows it")
    name = models.CharField(max_length=100, blank=True, default="")

    history = HistoricalRecords()

    class Meta:
        verbose_name = "GL account"
        ordering = ("kind", "tenant", "cost_center")
        constraints = (
            models.UniqueConstraint(
                fields=("kind", "tenant", "cost_center"), name="gl_account_once", nulls_distinct=False
            ),
        )

    def __str__(self) -> str:
        return f"{self.code} {self.name}".strip()
