"""Alerts: which channels are notified of what, and what was delivered.

Invariant: an event happens once (unique constraint) and is written in the transaction of its cause; a
delivery is the outbox row of one event for one channel.
"""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.timezone import now
from simple_history.models import HistoricalRecords

from billing.models.budgets import Budget
from billing.models.fields import AmountField
from tenants.models import Tenant
from tenants.secrets import EncryptedTextField


class AlertChannel(models.Model):
    """A signed webhook or an e-mail address of a tenant, or of the operators."""

    class Kind(models.TextChoices):
        WEBHOOK = "webhook", "webhook"
        EMAIL = "email", "e-mail"

    tenant = models.ForeignKey(
        Tenant,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="alert_channels",
        help_text="empty: the operators",
    )
    name = models.CharField(max_length=100)
    kind = models.CharField(max_length=10, choices=Kind)
    target = models.CharField(max_length=300, help_text="address of the webhook, or of the person")
    secret = EncryptedTextField(blank=True, default="", help_text="signs the webhook")
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=now, editable=False)

    class Meta:
        ordering = ("tenant", "name")
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "name"), name="channel_name_unique", nulls_distinct=False
            ),
        )

    def __str__(self) -> str:
        return f"{self.name} ({self.kind})"


class AlertRule(models.Model):
    """A threshold of a tenant. Budgets carry theirs themselves (`Budget.alert_at`)."""

    class Metric(models.TextChoices):
        REQUEST_COST = "request_cost", "cost of one request, USD"
        DAY_SPEND = "day_spend", "spend of a day, USD"
        SPEND_JUMP = "spend_jump", "spend of an hour, times the usual"
        BUDGET_PERCENT = "budget_percent", "used share of a budget, percent"
        UNPRICED_USAGE = "unpriced_usage", "usage without a price"
        BATCH_FAILED = "batch_failed_percent", "failed lines of a batch, percent"
        BATCH_STUCK = "batch_stuck_minutes", "a batch without progress, minutes"

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="alert_rules")
    metric = models.CharField(max_length=20, choices=Metric)
    threshold = AmountField()
    channels = models.ManyToManyField(AlertChannel, blank=True, related_name="rules")
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=now, editable=False)

    history = HistoricalRecords()

    class Meta:
        ordering = ("tenant", "metric", "threshold")
        constraints = (
            models.UniqueConstraint(fields=("tenant", "metric", "threshold"), name="alert_rule_unique"),
            models.CheckConstraint(condition=Q(threshold__gte=0), name="alert_threshold_not_negative"),
        )

    def __str__(self) -> str:
        return f"{self.get_metric_display()} above {self.threshold.normalize():f}"


class AlertEvent(models.Model):
    """Something people should know. Happens once per subject, window and threshold. Without a tenant it is the operators'."""

    tenant = models.ForeignKey(
        Tenant, null=True, blank=True, on_delete=models.PROTECT, related_name="alert_events"
    )
    rule = models.ForeignKey(
        AlertRule, null=True, blank=True, on_delete=models.SET_NULL, related_name="events"
    )
    budget = models.ForeignKey(
        Budget, null=True, blank=True, on_delete=models.PROTECT, related_name="alert_events"
    )
    metric = models.CharField(max_length=20)
    subject_key = models.CharField(max_length=300, blank=True, default="")
    window_key = models.CharField(max_length=100, blank=True, default="")
    value = AmountField()
    threshold = AmountField()
    message = models.TextField()
    link = models.CharField(
        max_length=300, blank=True, default="", db_default="", help_text="path of the page that shows it"
    )
    fired_at = models.DateTimeField(default=now)
    acknowledged_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    acknowledged_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-fired_at",)
        indexes = (models.Index(fields=("-fired_at",), name="alert_event_fired"),)
        constraints = (
            # People are notified once: the second transaction that sees the same crossing inserts nothing.
            models.UniqueConstraint(
                fields=("tenant", "metric", "subject_key", "window_key", "threshold"),
                name="alert_event_once",
                nulls_distinct=False,
            ),
        )

    def __str__(self) -> str:
        return self.message


class AlertDelivery(models.Model):
    """An event on its way to a channel."""

    class Status(models.TextChoices):
        PENDING = "pending", "pending"
        DELIVERED = "delivered", "delivered"
        DEAD = "dead", "given up"

    event = models.ForeignKey(AlertEvent, on_delete=models.PROTECT, related_name="deliveries")
    channel = models.ForeignKey(AlertChannel, on_delete=models.PROTECT, related_name="deliveries")
    status = models.CharField(max_length=10, choices=Status, default=Status.PENDING)
    attempts = models.IntegerField(default=0)
    next_try_at = models.DateTimeField(default=now)
    delivered_at = models.DateTimeField(null=True, blank=True)
    last_error = models.CharField(max_length=500, blank=True, default="")
    created_at = models.DateTimeField(default=now, editable=False)

    class Meta:
        verbose_name_plural = "alert deliveries"
        ordering = ("-created_at",)
        indexes = (
            models.Index(fields=("next_try_at",), condition=Q(status="pending"), name="alert_delivery_due"),
        )
        constraints = (models.UniqueConstraint(fields=("event", "channel"), name="alert_delivery_once"),)

    def __str__(self) -> str:
        return f"{self.event_id} to {self.channel} ({self.status})"
