"""The sums of sessions and runs, and the envelopes of runs.

Invariant: an hour can be dropped and built again from the ledger at any time. Of a run's owner at most one envelope is open,
and at most one of a run that others share; rows of envelopes are made by `billing_open_envelope` only, which counts them.
"""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils.timezone import now

from billing.models.budgets import Budget
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
        verbose_name = "session"
        indexes = (
            models.Index(fields=("tenant", "hour"), name="agenthour_tenant_hour"),
            models.Index(fields=("hour",), name="agenthour_hour"),  # of all tenants
            models.Index(fields=("tenant", "session"), condition=Q(session__gt=""), name="agenthour_session"),
            models.Index(fields=("tenant", "run"), condition=Q(run__gt=""), name="agenthour_run"),
        )

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H:00} {self.session or self.run}: {self.billed_cost} USD"


class RunEnvelope(models.Model):
    """A hard budget of one run, for a time: of whom, for whom else, and what opened it. Its limit, raises and window are the
    budget's."""

    class OpenedBy(models.TextChoices):
        SESSION = "session", "a session"
        NAMED = "run", "a run's first call"
        ASKED = "asked", "a request"
        PERSON = "person", "a person"

    budget = models.OneToOneField(Budget, primary_key=True, on_delete=models.PROTECT, related_name="envelope")
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+", db_index=False)
    owner = models.CharField(max_length=220, help_text="who is known to call: a key's person, else the key")
    user = models.CharField(max_length=200, blank=True, default="", help_text="whom the key's calls name")
    run = models.CharField(max_length=200, help_text="as the header names it, or the session")
    shared_with = ArrayField(
        models.CharField(max_length=220),
        default=list,
        db_default=[],
        blank=True,
        help_text="the others that draw from it, by what their keys say; * for everybody of the tenant",
    )
    opened_by = models.CharField(max_length=7, choices=OpenedBy)
    opened_at = models.DateTimeField(default=now)
    expires_at = models.DateTimeField()
    is_open = models.BooleanField(default=True)
    own_raises = models.PositiveSmallIntegerField(
        default=0, db_default=0, help_text="by whose run it is, without anybody's leave"
    )

    class Meta:
        ordering = ("-opened_at",)
        verbose_name = "envelope"
        constraints = (
            # Two open ones would be twice the money.
            models.UniqueConstraint(
                fields=("tenant", "owner", "user", "run"),
                condition=Q(is_open=True),
                name="envelope_once_while_open",
            ),
            # Of two, nobody could say from which a call that may draw from both draws.
            models.UniqueConstraint(
                fields=("tenant", "run"),
                condition=Q(is_open=True) & ~Q(shared_with=[]),
                name="envelope_shared_once_while_open",
            ),
        )
        indexes = (
            models.Index(fields=("tenant", "-opened_at"), name="envelope_of_tenant"),
            models.Index(fields=("expires_at",), condition=Q(is_open=True), name="envelope_open"),
        )

    def __str__(self) -> str:
        return f"envelope of run {self.run}"
