"""The ledger summed along one dimension: days for pages of all tenants and many days, periods for a tenant's month.

Invariant: the rows of one dimension of a tenant's day add up to the row of its total; it has at most `MOST_VALUES` rows of a
dimension, and one for the rest. The rows of one dimension of a period are the sums of its `UsageDaily`, for every value: triggers
keep them so (`billing_keep_period_sums`).
"""

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

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
        CACHE = "cache", "state of the cache"
        PROCESSING = "processing", "processing"
        PROJECT = "project", "project"
        TEAM = "team", "cost centre"
        PROVIDER = "provider", "provider"
        PRICED = "priced", "provider, model and processing"

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="+", db_index=False)
    day = models.DateField(help_text="in UTC")
    dimension = models.CharField(max_length=10, choices=Dimension)
    value = models.TextField(blank=True, default="")
    is_rest = models.BooleanField(
        default=False, help_text="the values of the day that have no row of their own"
    )
    requests = models.BigIntegerField()
    hits = models.BigIntegerField(help_text="of the requests: answered by our caches")
    input_tokens = models.BigIntegerField(db_default=0)
    cache_read_tokens = models.BigIntegerField(db_default=0)
    cache_write_tokens = models.BigIntegerField(db_default=0)
    output_tokens = models.BigIntegerField(db_default=0)
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


class PeriodSum(models.Model):
    """A period of a tenant along one dimension. Each measure is one of `billing.months.parts.Measures`.

    `dimension` is a column of `UsageDaily`: each of a month report's sections (the value of a day is its date), `certainty`, or
    `saving` (the value is a step, `saved_usd` its amount).
    """

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="+", db_index=False)
    period_id = models.BigIntegerField()
    dimension = models.TextField()
    provider = models.TextField(blank=True, default="", help_text="of a model")
    value = models.TextField(blank=True, default="")
    last_day = models.DateField(null=True, help_text="in UTC, with a row of the value")
    refreshed_at = models.DateTimeField(db_default=Now())
    records = models.BigIntegerField(help_text="rows of the ledger; none: nothing is left of the value")
    requests = models.BigIntegerField()
    calls = models.BigIntegerField()
    further_calls = models.BigIntegerField()
    own_calls = models.BigIntegerField()
    cache_hits = models.BigIntegerField()
    estimated_requests = models.BigIntegerField()
    unallocated_requests = models.BigIntegerField()
    input_tokens = models.BigIntegerField()
    cache_read_tokens = models.BigIntegerField()
    cache_write_tokens = models.BigIntegerField()
    output_tokens = models.BigIntegerField()
    saved_tokens = models.BigIntegerField()
    list_cost_usd = AmountField()
    saved_usd = AmountField()
    contracted_cost_usd = AmountField()
    corrections_usd = AmountField()
    adjustments_usd = AmountField()
    credits_usd = AmountField()
    commitments_usd = AmountField()
    billed_cost_usd = AmountField()
    exact_usd = AmountField()
    estimated_usd = AmountField()
    unread_usd = AmountField()
    least_usd = AmountField()
    most_usd = AmountField()
    unallocated_usd = AmountField()

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "period_id", "dimension", "value", "provider"), name="period_sum_once"
            ),
        )
        # the dearest values of a period, and how many it has
        indexes = (
            models.Index(
                "tenant", "period_id", "dimension", F("billed_cost_usd").desc(), F("saved_usd").desc(),
                name="period_sum_dearest", condition=~Q(records=0),
            ),
        )  # fmt: skip

    def __str__(self) -> str:
        return f"{self.dimension} {self.value}: {self.billed_cost_usd} USD"
