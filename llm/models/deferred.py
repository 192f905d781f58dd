"""Deferred calls: accepted now, answered when that is cheapest, by a deadline.

Invariant: a job is one client's request with one request id. What it may cost is held in the ledger before it is queued, and
every way to its answer is an attempt of that request.
"""

from typing import Final

from django.db import models

from llm.models.batches import BatchItem
from tenants.models import Tenant


class DeferredJob(models.Model):
    """One deferred call: what was asked, the lane it takes, and its answer."""

    class Status(models.TextChoices):
        ACCEPTING = "accepting"  # its hold is not confirmed: no client knows of it
        QUEUED = "queued"
        RUNNING = "running"
        COMPLETED = "completed"
        FAILED = "failed"
        CANCELLED = "cancelled"

    class Lane(models.TextChoices):
        CACHE = "cache"
        BATCH = "batch"
        FLEX = "flex"
        ONLINE = "online"

    public_id = models.CharField(max_length=64, unique=True)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+")
    key_id = models.BigIntegerField()
    key_name = models.CharField(max_length=200)
    user = models.CharField(max_length=200, blank=True, default="")
    feature = models.CharField(max_length=200, blank=True, default="")
    tags = models.JSONField(default=dict, blank=True)
    endpoint = models.CharField(max_length=64)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.ACCEPTING)
    lane = models.CharField(max_length=8, choices=Lane.choices, blank=True, default="")
    lanes = models.JSONField(
        default=list,
        blank=True,
        help_text="What each lane was expected to cost, and how likely it was to be late.",
    )
    request_id = models.UUIDField(unique=True)
    attempt_id = models.UUIDField(
        null=True, blank=True, unique=True, help_text="What holds its money while it waits."
    )
    model_asked = models.CharField(max_length=128)
    model = models.CharField(max_length=128, blank=True, default="")
    provider = models.CharField(max_length=64, blank=True, default="")
    fallbacks = models.JSONField(
        default=list, blank=True, help_text="Models to ask in real time if the first fails."
    )
    body = models.JSONField(default=dict, help_text="What was asked; empty once it is answered.")
    body_bytes = models.PositiveIntegerField(default=0)
    context = models.JSONField(default=dict, blank=True, help_text="What its headers asked for.")
    steps = models.JSONField(default=list, blank=True, help_text="The beginning of its receipt.")
    input_tokens = models.PositiveIntegerField(default=0)
    output_tokens = models.PositiveIntegerField(default=0)
    estimate_usd = models.DecimalField(max_digits=28, decimal_places=12, default=0)
    hold_usd = models.DecimalField(max_digits=28, decimal_places=12, default=0)
    cost_usd = models.DecimalField(max_digits=28, decimal_places=12, default=0)
    list_cost_usd = models.DecimalField(max_digits=28, decimal_places=12, default=0)
    item = models.OneToOneField(
        BatchItem, on_delete=models.SET_NULL, null=True, blank=True, related_name="deferred"
    )
    exact_key = models.CharField(
        max_length=200,
        blank=True,
        default="",
        help_text="The exact cache's key of its answer; empty: it shares none.",
    )
    same_as = models.ForeignKey(
        "self",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="equals",
        help_text="The equal job that is sent; this one gets its answer.",
    )
    is_refresh = models.BooleanField(
        default=False, help_text="No client asked: it buys an answer for the cache ahead of time, in a batch."
    )
    response = models.JSONField(null=True, blank=True)
    error = models.JSONField(null=True, blank=True)
    created_at = models.DateTimeField()
    deadline_at = models.DateTimeField()
    move_up_at = models.DateTimeField(help_text="From then on it goes out in real time.")
    next_try_at = models.DateTimeField(null=True, blank=True)
    tries = models.PositiveSmallIntegerField(default=0, help_text="How often it went out in real time.")
    started_at = models.DateTimeField(null=True, blank=True)
    leased_until = models.DateTimeField(
        null=True, blank=True, help_text="A worker answers it in real time, and says so until then."
    )
    cancel_asked_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    is_held = models.BooleanField(default=True, help_text="Whether its hold may still be open.")
    channel = models.CharField(
        max_length=100, blank=True, default="", help_text="The webhook that gets a notice when it is over."
    )
    notices = models.PositiveSmallIntegerField(default=0, help_text="How often a notice was sent.")
    notify_at = models.DateTimeField(
        null=True, blank=True, help_text="Not before then a notice is sent again."
    )
    is_notified = models.BooleanField(default=False, help_text="Whether the webhook has taken it.")

    class Meta:
        ordering = ["-created_at"]
        verbose_name = "deferred call"
        constraints = [
            # an answer, an error or a cancellation has a time, and what waits has none
            models.CheckConstraint(
                condition=models.Q(status__in=["completed", "failed", "cancelled"], finished_at__isnull=False)
                | models.Q(status__in=["accepting", "queued", "running"], finished_at__isnull=True),
                name="deferredjob_finished",
            ),
        ]
        indexes = [
            models.Index(fields=["tenant", "-id"], name="deferredjob_tenant"),
            # the driver looks for what is open, every few seconds, and a quota counts it
            models.Index(
                fields=["tenant", "status", "move_up_at"],
                include=["body_bytes"],
                condition=models.Q(status__in=["accepting", "queued", "running"]),
                name="deferredjob_open",
            ),
            # what runs is looked for by its answer's key
            models.Index(
                fields=["tenant", "exact_key"],
                condition=models.Q(status="running") & ~models.Q(exact_key=""),
                name="deferredjob_equal",
            ),
            # it has ended, but its hold may not have
            models.Index(
                fields=["id"],
                condition=models.Q(is_held=True, status__in=["failed", "cancelled"]),
                name="deferredjob_held",
            ),
            # it is over, and its webhook has not taken it
            models.Index(
                fields=["id"],
                condition=models.Q(is_notified=False, finished_at__isnull=False) & ~models.Q(channel=""),
                name="deferredjob_notice",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.public_id} ({self.status})"


OPEN: Final = (DeferredJob.Status.ACCEPTING, DeferredJob.Status.QUEUED, DeferredJob.Status.RUNNING)


class LaneDelay(models.Model):
    """How long a model's answers took in one lane: a histogram, in which the past fades."""

    provider = models.CharField(max_length=64)
    model = models.CharField(max_length=128)
    lane = models.CharField(
        max_length=8, help_text="batch, flex or online; back: how long a cancelled batch takes."
    )
    answered = models.JSONField(
        default=list, help_text="Answers by delay, in the buckets of llm.deferred.delays."
    )
    given_up = models.JSONField(
        default=list, help_text="By how long was waited before it was taken back, in the same buckets."
    )
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["provider", "model", "lane"], name="lanedelay_one_per_lane")
        ]

    def __str__(self) -> str:
        return f"{self.provider}/{self.model} {self.lane}"
