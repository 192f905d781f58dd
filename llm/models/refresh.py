"""Answers bought ahead of time: the questions that are asked most, and what a tenant's months came to.

Invariant: a question is one entry of the exact cache that was met again; it is kept encrypted, and until its answer expires.
"""

from django.db import models

from tenants.models import Tenant
from tenants.secrets import EncryptedTextField


class AskedQuestion(models.Model):
    """A question whose answer was taken from the exact cache: asked again if that is worth it, before it expires."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="+")
    exact_key = models.CharField(max_length=200, help_text="Its answer's name in the exact cache.")
    question = EncryptedTextField()
    hits = models.PositiveIntegerField(default=0, help_text="Of the answer that is there now.")
    expires_at = models.DateTimeField(help_text="When that answer expires.")
    noted_at = models.DateTimeField()
    refreshed_at = models.DateTimeField(null=True, blank=True, help_text="When it was asked ahead of time.")

    class Meta:
        ordering = ["-hits"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "exact_key"], name="askedquestion_once"),
        ]
        indexes = [models.Index(fields=["tenant", "expires_at"], name="askedquestion_expiry")]

    def __str__(self) -> str:
        return self.exact_key.rpartition(":")[2][:16]


class RefreshedMonth(models.Model):
    """What buying answers ahead of time came to in a month (UTC) of a tenant: a view of the ledger."""

    id = models.CharField(max_length=64, primary_key=True)
    tenant = models.ForeignKey(Tenant, on_delete=models.DO_NOTHING, related_name="+")
    month = models.DateField()
    refreshed = models.IntegerField(help_text="Answers bought ahead of time.")
    cost_usd = models.DecimalField(max_digits=28, decimal_places=12)
    hits = models.IntegerField(help_text="Calls that were answered after the answer before had expired.")
    saved_usd = models.DecimalField(max_digits=28, decimal_places=12)
    net_usd = models.DecimalField(max_digits=28, decimal_places=12)

    class Meta:
        managed = False
        db_table = "llm_refreshedmonth"
        ordering = ["-month", "tenant"]

    def __str__(self) -> str:
        return f"{self.tenant} {self.month:%Y-%m}"
