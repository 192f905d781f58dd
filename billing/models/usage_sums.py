"""Days of the ledger, each summed along one dimension: small enough for pages that look at all tenants and many days.

Invariant: the rows of one dimension of a tenant's day add up to the row of its total. A day has at most `MOST_VALUES` rows
of a dimension, and one for the rest.
"""

from django.db import models

from billing.models.fields import AmountField
from tenants.models import Tenant


class UsageSum(models.Model):
    """A tenant's day (UTC) along one dimension. Can be dropped and rebuilt at any time."""

    class Dimension(models.TextChoices):
        TOTAL = "total", "total"
        MODEL = "model", "model"
        USER = "user", "user"
        FEATURE = "feature", "feature"
        KEY = "key", "key"
        TIER = "tier", "tier"
        MISSING = "missing", "missing tags"

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="+", db_index=False)
    day = models.DateField(help_text="in UTC")
    dimension = models.CharField(max_length=7, choices=Dimension)
    value = models.TextField(blank=True, default="")
    is_rest = models.BooleanField(
        default=False, help_text="the values of the day that have no row of their own"
    )
    requests = models.BigIntegerField()
    hits = models.BigIntegerField(help_text="of the requests: answered by our caches")
    list_cost = AmountField(help_text="of requests; nothing else has a list price")
    adjusted_cost = AmountField(help_text="what is billed besides usage: corrections, adjustments, credits")
    billed_cost = AmountField()
    saving = models.JSONField(
        default=dict, help_text="of the total: USD that each step takes off the list price"
    )

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "dimension", "day", "value", "is_rest"), name="usage_sum_once"
            ),
        )
        # one tenant's days are found by the constraint, those of all tenants by this
        indexes = (models.Index(fields=("dimension", "day"), name="usage_sum_of_all"),)

    def __str__(self) -> str:
        return f"{self.day} {self.dimension} {self.value}: {self.billed_cost} USD"
