"""The log of requests: one row for each call that reached us, answered or refused, with its receipt.

Invariant: no prompt and no answer is stored here. Money is in the ledger; the figures here are copies for reading.
"""

from django.contrib.postgres.indexes import BrinIndex
from django.db import models

from tenants.models import Tenant


class RequestLog(models.Model):
    """One request and what was done to it: the receipt of `GET /v1/requests/{id}`.

    Without a tenant it is one that was refused before its caller was identified.
    """

    request_id = models.UUIDField(primary_key=True)
    # no constraint: it would be checked when a settlement commits that the row goes along with
    tenant = models.ForeignKey(
        Tenant,
        on_delete=models.PROTECT,
        db_constraint=False,
        db_index=False,
        related_name="+",
        null=True,
        blank=True,
    )
    at = models.DateTimeField()
    key_id = models.BigIntegerField(null=True, blank=True)
    user = models.CharField(max_length=200, blank=True, default="")
    session = models.CharField(
        max_length=200,
        blank=True,
        null=True,
        help_text="Of the user's tool; a user is a person.",
    )
    run = models.CharField(
        max_length=200, blank=True, null=True, help_text="What `x-purser-run` names: a run, a ticket."
    )
    agent = models.CharField(max_length=200, blank=True, null=True, help_text="Of the session's agents.")
    feature = models.CharField(max_length=200, blank=True, default="")
    endpoint = models.CharField(max_length=64)
    model_asked = models.CharField(max_length=128)
    model = models.CharField(max_length=128, blank=True, default="")
    provider = models.CharField(max_length=64, blank=True, default="")
    tier = models.CharField(max_length=16, blank=True, default="")
    route_reason = models.CharField(max_length=200, blank=True, default="")
    cache_state = models.CharField(max_length=16)
    similarity = models.FloatField(null=True, blank=True)
    status = models.PositiveSmallIntegerField()
    error_code = models.CharField(max_length=64, blank=True, default="")
    is_stream = models.BooleanField(default=False)
    input_tokens = models.PositiveIntegerField(default=0)
    output_tokens = models.PositiveIntegerField(default=0)
    tokens_before_compression = models.PositiveIntegerField(null=True, blank=True)
    cost_usd = models.DecimalField(max_digits=28, decimal_places=12, default=0)
    list_cost_usd = models.DecimalField(max_digits=28, decimal_places=12, default=0)
    latency_ms = models.PositiveIntegerField(default=0)
    ttft_ms = models.PositiveIntegerField(
        null=True, blank=True, help_text="Time to the first token, milliseconds."
    )
    receipt = models.JSONField(default=dict)

    class Meta:
        ordering = ["-at"]
        verbose_name = "request"
        indexes = [
            # the admin's change list and the tenant's own listing, newest first
            models.Index(fields=["tenant", "-at"], name="requestlog_tenant_at"),
            # the newest requests of all tenants; small, because rows come in the order of their time
            BrinIndex(fields=["at"], name="requestlog_at", autosummarize=True, pages_per_range=32),
            # the requests of one session or run, which most rows have none of
            models.Index(
                fields=["tenant", "session", "-at"],
                condition=models.Q(session__gt=""),
                name="requestlog_session",
            ),
            models.Index(
                fields=["tenant", "run", "-at"], condition=models.Q(run__gt=""), name="requestlog_run"
            ),
            # a person's own listing in the portal
            models.Index(
                fields=["tenant", "user", "-at"], name="requestlog_user_at", condition=~models.Q(user="")
            ),
        ]

    def __str__(self) -> str:
        return f"{self.request_id} ({self.status})"


class Feedback(models.Model):
    """A caller's judgement of one answer; flows back to routing and the semantic cache."""

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+")
    request = models.ForeignKey(RequestLog, on_delete=models.CASCADE, related_name="feedback")
    rating = models.SmallIntegerField()
    reason = models.CharField(max_length=2000, blank=True, default="")
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-at"]
        verbose_name_plural = "feedback"
        constraints = [
            models.CheckConstraint(
                condition=models.Q(rating__in=[1, -1]), name="feedback_rating_is_1_or_minus_1"
            ),
            models.UniqueConstraint(fields=["tenant", "request"], name="feedback_once_per_request"),
        ]

    def __str__(self) -> str:
        return f"{self.rating:+d} on {self.request_id}"
