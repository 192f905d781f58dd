"""The sums of sessions and runs.

Invariant: an hour can be dropped and built again from the ledger at any time.
"""

from django.db import models
from django.db.models import Q

from billing.models.fields import AmountField
from tenants.models import Tenant


class AgentHour(models.Model):
    """An hour of one agent of a session, summed per model, as the ledger has it."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="+", db_index=False)
    hour = models.DateTimeField(help_text="its first moment")
    session = models.TextField(db_default="", blank=True)
    run = models.TextField(db_default="", blank=True)
    agent = models.TextField(db_default="", blank=True)
    parent_agent = models.TextField(db_default="", blank=True)
    agent_type = models.TextField(db_default="", blank=True)
    user_id = models.TextField(db_default="", blank=True)
    key_id = models.BigIntegerField(null=True)
    model = models.TextField(db_default="", blank=True)
    requests = models.BigIntegerField(db_default=0)
    input_tokens = models.BigIntegerField(db_default=0, help_text="cached ones included")
    output_tokens = models.BigIntegerField(db_default=0)
    list_cost = AmountField(db_default=0)
    billed_cost = AmountField(db_default=0)

    class Meta:
        ordering = ("-hour",)
        indexes = (
            models.Index(fields=("tenant", "hour"), name="agenthour_tenant_hour"),
            models.Index(fields=("tenant", "session"), condition=Q(session__gt=""), name="agenthour_session"),
            models.Index(fields=("tenant", "run"), condition=Q(run__gt=""), name="agenthour_run"),
        )

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H:00} {self.session or self.run}: {self.billed_cost} USD"
