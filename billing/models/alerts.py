"""Alerts: which channels are notified of what, what is going on, and what was delivered.

Invariant: of one rule and subject at most one grouped alert is open (unique index); what comes again is counted in it. A
delivery is the outbox row of one notice of one alert for one channel.
"""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.timezone import now
from simple_history.models import HistoricalRecords

from billing.models.budgets import Budget
from billing.models.fields import AmountField
from tenants.models import Tenant
from tenants.secrets import EncryptedTextField


class AlertChannel(models.Model):
    """Where alerts of a tenant, or of the operators, go."""

    is_audited: ClassVar[bool] = True

    class Kind(models.TextChoices):
        WEBHOOK = "webhook", "signed webhook"
        SLACK = "slack", "Slack-compatible webhook"
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
    failures = models.PositiveSmallIntegerField(
        default=0, editable=False, help_text="deliveries that failed since the last one that arrived"
    )
    paused_until = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="nothing is sent before, because too much failed"
    )

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
        SPEND_JUMP = "spend_jump", "jump of the spend, times the usual"
        BUDGET_PERCENT = "budget_percent", "used share of a budget, percent"
        FORECAST_PERCENT = "forecast_percent", "forecast share of a budget at its end, percent"
        UNPRICED_USAGE = "unpriced_usage", "usage without a price"
        UNREAD_USAGE = "unread_usage", "usage that could not be read"
        ERROR_PERCENT = "error_percent", "failed requests, percent"
        HIT_RATE_DROP = "hit_rate_drop", "fall of the cache hit rate, percent points"
        HOLD_MINUTES = "hold_minutes", "age of the oldest hold, minutes"
        BATCH_FAILED = "batch_failed_percent", "failed lines of a batch, percent"
        BATCH_STUCK = "batch_stuck_minutes", "a batch without progress, minutes"
        SESSION_REPEATS = "session_repeats", "repeated requests of an agent's session"
        ENVELOPE_PERCENT = "envelope_percent", "used share of a run's envelope, percent"

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
    """An alert: what people should know of one rule and subject. Without a tenant it is the operators'.

    A grouped one counts what comes again while it is open; the others happen once per subject, window and threshold.
    """

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
    value = AmountField(help_text="the worst so far")
    threshold = AmountField()
    message = models.TextField(help_text="of the worst so far")
    link = models.CharField(
        max_length=300, blank=True, default="", db_default="", help_text="path of the page that shows it"
    )
    facts = models.JSONField(
        default=dict, db_default={}, blank=True, help_text="request, user, key, model and so on of the worst"
    )
    is_grouped = models.BooleanField(default=False, db_default=False)
    count = models.PositiveBigIntegerField(default=1, db_default=1, help_text="how often it was seen")
    first_value = AmountField(null=True, blank=True, help_text="what it began with")
    first_count = models.PositiveBigIntegerField(default=1, db_default=1)
    level = models.PositiveSmallIntegerField(
        default=0, db_default=0, help_text="how often it became ten times worse"
    )
    fired_at = models.DateTimeField("first seen", default=now)
    last_at = models.DateTimeField("last seen", default=now, db_default=Now())
    ends_at = models.DateTimeField(
        "ends by itself",
        null=True,
        blank=True,
        help_text="when it is resolved by itself, unless it is seen again",
    )
    acknowledged_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    resolved_at = models.DateTimeField("over since", null=True, blank=True)
    resolved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    muted_until = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-fired_at",)
        verbose_name = "alert"
        indexes = (
            models.Index(fields=("-fired_at",), name="alert_event_fired"),
            models.Index(fields=("-last_at",), name="alert_event_seen"),
            models.Index(fields=("ends_at",), condition=Q(resolved_at=None), name="alert_event_open"),
            models.Index(fields=("resolved_at",), name="alert_event_resolved"),
        )
        constraints = (
            # People are notified once: the second transaction that sees the same crossing inserts nothing.
            models.UniqueConstraint(
                fields=("tenant", "metric", "subject_key", "window_key", "threshold"),
                name="alert_event_once",
                nulls_distinct=False,
            ),
            # A flood is one alert with a count.
            models.UniqueConstraint(
                fields=("tenant", "metric", "subject_key", "threshold"),
                condition=Q(resolved_at=None, is_grouped=True),
                name="alert_event_open_once",
                nulls_distinct=False,
            ),
        )

    def __str__(self) -> str:
        return self.message

    @property
    def state(self) -> str:
        """`open`, `muted`, `acknowledged` or `resolved`."""
        if self.resolved_at:
            return "resolved"
        if self.muted_until and self.muted_until > now():
            return "muted"
        return "acknowledged" if self.acknowledged_at else "open"


class AlertFinding(models.Model):
    """Something that a settlement saw, on its way into a grouped alert.

    Rows are only inserted and deleted, never locked or updated: settling must not wait for an alert.
    """

    tenant = models.ForeignKey(
        Tenant, null=True, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+"
    )
    rule_id = models.BigIntegerField(null=True)
    metric = models.CharField(max_length=20)
    subject_key = models.CharField(max_length=300)
    value = AmountField()
    threshold = AmountField()
    count = models.IntegerField(db_default=1)
    message = models.TextField()
    facts = models.JSONField(db_default={})
    at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"{self.metric} {self.subject_key}: {self.value}"


class AlertStep(models.Model):
    """What somebody, or the gateway by itself, did with an alert."""

    class Verb(models.TextChoices):
        ACKNOWLEDGED = "acknowledged", "acknowledged"
        RESOLVED = "resolved", "resolved"
        MUTED = "muted", "muted"
        UNMUTED = "unmuted", "unmuted"

    event = models.ForeignKey(AlertEvent, on_delete=models.CASCADE, related_name="steps")
    tenant = models.ForeignKey(
        Tenant, null=True, on_delete=models.PROTECT, db_index=False, related_name="+", help_text="the alert's"
    )
    at = models.DateTimeField(default=now)
    verb = models.CharField(max_length=12, choices=Verb)
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    text = models.CharField(max_length=300, blank=True, default="")

    class Meta:
        ordering = ("-at", "-pk")

    def __str__(self) -> str:
        return f"{self.verb} by {self.by or 'itself'}"


class AlertDelivery(models.Model):
    """A notice of an alert on its way to a channel."""

    class Notice(models.TextChoices):
        OPENED = "opened", "it began"
        WORSE = "worse", "it is ten times worse"
        RESOLVED = "resolved", "it is over"

    class Status(models.TextChoices):
        PENDING = "pending", "pending"
        DELIVERED = "delivered", "delivered"
        DEAD = "dead", "given up"

    event = models.ForeignKey(AlertEvent, on_delete=models.PROTECT, related_name="deliveries")
    channel = models.ForeignKey(AlertChannel, on_delete=models.PROTECT, related_name="deliveries")
    notice = models.CharField(max_length=8, choices=Notice, default=Notice.OPENED, db_default=Notice.OPENED)
    level = models.PositiveSmallIntegerField(
        default=0, db_default=0, help_text="how often it had become ten times worse"
    )
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
        constraints = (
            models.UniqueConstraint(fields=("event", "channel", "notice", "level"), name="alert_notice_once"),
        )

    def __str__(self) -> str:
        return f"{self.event_id} to {self.channel} ({self.status})"
