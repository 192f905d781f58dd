"""Planning: how good a tenant's forecasts have been, and what its product did for its customers.

Invariant: nothing here is money. An event counts once, by its id; its day's sum and it are written in one transaction.
"""

from django.db import models
from django.db.models import Q

from tenants.models import Tenant


class ForecastTrial(models.Model):
    """What a tenant's forecasts would have said from earlier days, against what came: `billing.planning.trials`."""

    tenant = models.OneToOneField(Tenant, on_delete=models.CASCADE, related_name="+", primary_key=True)
    measured_at = models.DateTimeField()
    looks = models.PositiveSmallIntegerField(help_text="forecasts that were made again")
    covered = models.PositiveSmallIntegerField(help_text="whose 90 % interval had the result")
    below = models.PositiveSmallIntegerField(help_text="results below the interval")
    above = models.PositiveSmallIntegerField(help_text="results above it")
    error_percent = models.DecimalField(
        max_digits=6, decimal_places=1, null=True, help_text="the median error of the middle"
    )

    class Meta:
        ordering = ("tenant",)
        constraints = (
            models.CheckConstraint(
                condition=Q(looks=models.F("covered") + models.F("below") + models.F("above")),
                name="forecast_trial_adds_up",
            ),
        )

    def __str__(self) -> str:
        return f"{self.tenant_id}: {self.covered} of {self.looks}"


class FeatureEvent(models.Model):
    """The id of an event that a tenant posted, so that it counts once. Kept for as long as it may be sent again."""

    pk = models.CompositePrimaryKey("tenant_id", "event_id")
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="+", db_index=False)
    event_id = models.CharField(max_length=100)
    day = models.DateField(help_text="in UTC")

    class Meta:
        indexes = (models.Index(fields=("day",), name="feature_event_day"),)

    def __str__(self) -> str:
        return f"{self.event_id} on {self.day}"


class FeatureDay(models.Model):
    """A day's events of one name and feature, summed up."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="+", db_index=False)
    day = models.DateField(help_text="in UTC")
    name = models.CharField(max_length=100)
    feature = models.CharField(max_length=200, blank=True, default="", db_default="")
    events = models.BigIntegerField()
    quantity = models.BigIntegerField()

    class Meta:
        ordering = ("-day", "name", "feature")
        constraints = (
            models.UniqueConstraint(fields=("tenant", "day", "name", "feature"), name="feature_day_unique"),
            models.CheckConstraint(condition=Q(events__gt=0, quantity__gte=0), name="feature_day_counts"),
        )

    def __str__(self) -> str:
        return f"{self.events} {self.name} on {self.day}"
