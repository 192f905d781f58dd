"""What happened in spans of five minutes, summed from the ledger and the requests for the watches of alerts.

Invariant: a span is computed again until nothing new comes for it; it can be dropped and computed anew while the rows
that it sums are kept.
"""

from django.db import models

from billing.models.fields import AmountField
from tenants.models import Tenant


class UsageSpan(models.Model):
    """Five minutes of a tenant's ledger. A span in which nothing happened has no row."""

    pk = models.CompositePrimaryKey("tenant_id", "at")
    tenant = models.ForeignKey(
        Tenant, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+"
    )
    at = models.DateTimeField(help_text="its first moment")
    billed_usd = AmountField(db_default=0)
    dearest_usd = AmountField(db_default=0, help_text="of one ledger row")
    requests = models.IntegerField(db_default=0)
    hits = models.IntegerField(db_default=0)
    unread = models.IntegerField(db_default=0, help_text="rows whose usage could not be read")
    unpriced = models.IntegerField(db_default=0)

    class Meta:
        indexes = (models.Index(fields=("at",), name="usage_span_at"),)

    def __str__(self) -> str:
        return f"{self.tenant_id} {self.at}: {self.billed_usd} USD"


class WatchClock(models.Model):
    """How far a watch has summed: it goes on from there after a pause."""

    name = models.CharField(max_length=40, primary_key=True)
    at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.name}: {self.at}"
