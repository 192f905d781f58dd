"""Every call to a provider, and what it cost.

Invariant: the ledger (`UsageRecord`, `UsageLine`) is append-only and partitioned by month; an attempt ends
in at most one usage row, and nothing enters a closed period. The database enforces all of it with triggers,
unique indexes and functions, not this code. Rows are written by the SQL functions
behind `holds.py` and `ledger.py` only.
"""

from typing import ClassVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q, Value
from django.db.models.functions import Now
from django.utils.timezone import now

from billing.models.fields import AmountField, UnitPriceField
from tenants.models import Tenant


class BillingPeriod(models.Model):
    """A month of a tenant. It begins where the former one ended and keeps the time zone the tenant had by then."""

    is_audited: ClassVar[bool] = True

    class Status(models.TextChoices):
        OPEN = "open", "open"
        CLOSING = "closing", "closing"
        CLOSED = "closed", "closed"

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="billing_periods")
    label = models.CharField(max_length=7, help_text="YYYY-MM")
    timezone = models.CharField(max_length=63, default="UTC")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    status = models.CharField(max_length=7, choices=Status, default=Status.OPEN)
    closed_at = models.DateTimeField(null=True, blank=True)
    digest = models.CharField(
        max_length=64, blank=True, default="", help_text="sha256, chained to the month before"
    )
    # four eyes: who asked to close it, and who confirmed that
    close_asked_at = models.DateTimeField(null=True, blank=True, verbose_name="asked to close")
    close_asked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        verbose_name="asked by",
        help_text="empty: the schedule",
    )
    close_reason = models.CharField(
        max_length=300,
        blank=True,
        default="",
        db_default="",
        help_text="why before its time, as it was asked",
    )
    close_confirmed_at = models.DateTimeField(null=True, blank=True, verbose_name="confirmed")
    close_confirmed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        verbose_name="confirmed by",
    )

    class Meta:
        ordering = ("tenant", "-starts_at")
        constraints = (
            models.UniqueConstraint(fields=("tenant", "label"), name="period_label_unique"),
            models.UniqueConstraint(fields=("tenant", "starts_at"), name="period_start_unique"),
            models.CheckConstraint(condition=Q(ends_at__gt=F("starts_at")), name="period_not_empty"),
            # Closed means: there is a statement, and this is its fingerprint.
            models.CheckConstraint(
                condition=Q(status="closed", closed_at__isnull=False, digest__gt="")
                | (~Q(status="closed") & Q(closed_at__isnull=True)),
                name="period_closed_has_digest",
            ),
            # Nobody confirms what they asked for, and nobody unnamed confirms.
            models.CheckConstraint(
                condition=Q(close_confirmed_at=None, close_confirmed_by=None)
                | Q(
                    close_confirmed_at__isnull=False,
                    close_confirmed_by__isnull=False,
                    close_asked_at__isnull=False,
                )
                & (Q(close_asked_by=None) | ~Q(close_asked_by=F("close_confirmed_by"))),
                name="period_close_by_two",
            ),
        )

    def __str__(self) -> str:
        return f"{self.tenant} {self.label} ({self.status})"


class Attempt(models.Model):
    """One call to a provider: its hold, and how it ended. Committed before the first byte goes out."""

    class State(models.TextChoices):
        HELD = "held", "held"
        SENT = "sent", "sent"
        CAPTURED = "captured", "captured"
        VOIDED = "voided", "voided"
        ESTIMATED = "estimated", "estimated"

    id = models.UUIDField(primary_key=True)
    tenant = models.ForeignKey(
        Tenant, on_delete=models.PROTECT, db_constraint=False, db_index=False, related_name="+"
    )
    request_id = models.UUIDField()
    attempt_no = models.SmallIntegerField()
    key_id = models.BigIntegerField(null=True)
    user = models.TextField(db_column="user_id", default="", blank=True)
    feature = models.TextField(default="", blank=True)
    provider = models.TextField()
    model = models.TextField()
    processing = models.TextField(default="online")
    occurred_at = models.DateTimeField()
    hold_usd = AmountField()
    hold_tokens = models.BigIntegerField()
    window_ids = ArrayField(models.BigIntegerField(), default=list)
    hold_amounts = ArrayField(models.DecimalField(max_digits=28, decimal_places=12), default=list)
    state = models.CharField(max_length=9, choices=State, default=State.HELD)
    sent_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField()
    progress = models.JSONField(null=True)
    settled_at = models.DateTimeField(null=True)
    void_reason = models.TextField(default="", blank=True)
    dims = models.JSONField(
        default=dict, help_text="what its ledger row says besides: project, tags, endpoint, ..."
    )

    class Meta:
        ordering = ("-occurred_at",)
        indexes = (
            models.Index(
                fields=("expires_at",), condition=Q(state__in=("held", "sent")), name="attempt_open"
            ),
        )
        constraints = (
            models.UniqueConstraint(fields=("request_id", "attempt_no"), name="attempt_unique"),
            models.CheckConstraint(
                condition=Q(hold_usd__gte=0, hold_tokens__gte=0), name="attempt_hold_not_negative"
            ),
        )

    def __str__(self) -> str:
        return f"{self.id} {self.provider}/{self.model} ({self.state})"


class UsageRecord(models.Model):
    """A row of the ledger.

    The table's key is (id, occurred_at), as partitions demand; ids alone are unique too (UUIDs), and
    Django's admin takes no composite key.
    """

    class Kind(models.TextChoices):
        USAGE = "usage", "usage"
        CORRECTION = "correction", "correction"
        CREDIT = "credit", "credit"
        ADJUSTMENT = "adjustment", "adjustment"
        COMMITMENT = "commitment", "minimum commitment"

    class Source(models.TextChoices):
        PROVIDER = "provider", "provider"
        ESTIMATED = "estimated", "estimated"
        GATEWAY_CACHE = "gateway_cache", "gateway cache"
        MANUAL = "manual", "manual"
        PROVIDER_INVOICE = "provider_invoice", "provider's invoice"

    class Certainty(models.TextChoices):
        EXACT = "exact", "exact"
        ESTIMATED = "estimated", "estimated"
        UNREAD = "unread", "unread"

    id = models.UUIDField(primary_key=True)
    occurred_at = models.DateTimeField()
    recorded_at = models.DateTimeField(default=now)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, db_constraint=False, related_name="+")
    period = models.ForeignKey(BillingPeriod, on_delete=models.PROTECT, db_constraint=False, related_name="+")
    attempt = models.ForeignKey(
        Attempt, null=True, on_delete=models.PROTECT, db_constraint=False, related_name="+"
    )
    seq = models.SmallIntegerField(default=0)
    kind = models.TextField(choices=Kind, default=Kind.USAGE)
    usage_source = models.TextField(choices=Source)
    charge_class = models.TextField(
        default="", blank=True, help_text="'Correction' for rows of an earlier, closed month"
    )
    corrects_id = models.UUIDField(null=True)
    reason = models.TextField(default="", blank=True)
    request_id = models.UUIDField(null=True)
    user_id = models.TextField(default="", blank=True)
    key_id = models.BigIntegerField(null=True)
    feature = models.TextField(default="", blank=True)
    project = models.TextField(default="", blank=True)
    cost_center = models.TextField(default="", blank=True)
    tags = models.JSONField(default=dict, help_text="without the cost centre")
    endpoint = models.TextField(default="", blank=True)
    provider = models.TextField(default="", blank=True)
    model = models.TextField(default="", blank=True)
    model_asked = models.TextField(default="", blank=True)
    tier = models.TextField(default="", blank=True)
    cache_state = models.TextField(default="", blank=True)
    service_tier = models.TextField(default="standard", blank=True)
    processing = models.TextField(default="online", blank=True)
    region = models.TextField(default="global", blank=True)
    upstream_id = models.TextField(default="", blank=True)
    raw_usage = models.JSONField(null=True)
    input_tokens = models.BigIntegerField(default=0, help_text="uncached input")
    cache_read_tokens = models.BigIntegerField(default=0)
    cache_write_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0, help_text="reasoning included")
    reasoning_tokens = models.BigIntegerField(default=0)
    saved_input_tokens = models.BigIntegerField(default=0, help_text="of a cache hit: what was not bought")
    saved_output_tokens = models.BigIntegerField(default=0)
    list_cost = AmountField(default=0, help_text="what the call would have cost without us")
    provider_cost = AmountField(default=0, help_text="what we pay the provider")
    contracted_cost = AmountField(default=0, help_text="what the tenant's contract says")
    billed_cost = AmountField(default=0, help_text="what the tenant pays")
    saving = models.JSONField(default=dict, help_text="USD by kind; list cost = their sum + billed cost")
    price_status = models.TextField(default="priced", help_text="priced or unpriced")
    certainty = models.TextField(
        choices=Certainty,
        default=Certainty.EXACT,
        help_text="how far the amounts are known, when they were booked",
    )
    reading = models.JSONField(null=True, help_text="how the usage was read, where that is not exact")
    session = models.TextField(default="", blank=True, help_text="of the user's tool")
    run = models.TextField(default="", blank=True, help_text="or the ticket that it was made for")
    agent = models.TextField(default="", blank=True, help_text="of the session's agents; empty: its own")
    parent_agent = models.TextField(default="", blank=True, help_text="that called the agent, as it says")
    agent_type = models.TextField(default="", blank=True)
    missing_tags = models.TextField(
        default="", blank=True, help_text="that the tenant required, and nobody named: unallocated"
    )

    class Meta:
        managed = False
        db_table = "billing_usagerecord"
        ordering = ("-occurred_at",)
        verbose_name = "ledger row"

    def __str__(self) -> str:
        return f"{self.kind} {self.provider}/{self.model}: {self.billed_cost} USD"


class UsageLine(models.Model):
    """One meter of a ledger row."""

    pk = models.CompositePrimaryKey("record_id", "line_no", "occurred_at")
    record_id = models.UUIDField()
    line_no = models.SmallIntegerField()
    occurred_at = models.DateTimeField()
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, db_constraint=False, related_name="+")
    meter = models.TextField()
    quantity = models.BigIntegerField()
    per = models.IntegerField()
    price_id = models.BigIntegerField(null=True)
    unit_price = UnitPriceField(null=True)
    list_cost = AmountField()
    provider_cost = AmountField()
    contracted_cost = AmountField()
    billed_cost = AmountField()

    class Meta:
        managed = False
        db_table = "billing_usageline"
        ordering = ("record_id", "line_no")

    def __str__(self) -> str:
        return f"{self.quantity} {self.meter}: {self.billed_cost} USD"


class RollupDirty(models.Model):
    """A tenant's day (UTC) whose rollup is out of date.

    Rows are only inserted and deleted, never locked or updated: settling must not wait for a rollup.
    """

    tenant = models.ForeignKey(
        Tenant, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+"
    )
    day = models.DateField(help_text="in UTC")

    class Meta:
        verbose_name_plural = "rollups due"

    def __str__(self) -> str:
        return f"{self.tenant_id} {self.day}"


class UsageDaily(models.Model):
    """A day of the ledger (UTC), summed per dimension. Can be dropped and rebuilt at any time."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="+", db_index=False)
    day = models.DateField(help_text="in UTC, as the providers' own cost reports")
    user_id = models.TextField(db_default="", blank=True)
    key_id = models.BigIntegerField(null=True)
    feature = models.TextField(db_default="", blank=True)
    project = models.TextField(db_default="", blank=True)
    cost_center = models.TextField(db_default="", blank=True)
    missing_tags = models.TextField(db_default="", blank=True)
    endpoint = models.TextField(db_default="", blank=True)
    provider = models.TextField(db_default="", blank=True)
    model = models.TextField(db_default="", blank=True)
    tier = models.TextField(db_default="", blank=True)
    processing = models.TextField(db_default="", blank=True)
    cache_state = models.TextField(db_default="", blank=True)
    usage_source = models.TextField(db_default="", blank=True)
    kind = models.TextField(db_default="usage")
    charge_class = models.TextField(db_default="", blank=True)
    certainty = models.TextField(db_default="exact", help_text="as far as it is known today")
    period_id = models.BigIntegerField(null=True, help_text="the period that its rows were booked in")
    records = models.BigIntegerField(db_default=0, help_text="rows of the ledger")
    requests = models.BigIntegerField(db_default=0)
    calls = models.BigIntegerField(db_default=0, help_text="answers of providers")
    further_calls = models.BigIntegerField(db_default=0, help_text="of them hedges, fallbacks, repairs")
    own_calls = models.BigIntegerField(db_default=0, help_text="of them the gateway's own")
    input_tokens = models.BigIntegerField(db_default=0)
    cache_read_tokens = models.BigIntegerField(db_default=0)
    cache_write_tokens = models.BigIntegerField(db_default=0)
    output_tokens = models.BigIntegerField(db_default=0)
    saved_input_tokens = models.BigIntegerField(db_default=0)
    saved_output_tokens = models.BigIntegerField(db_default=0)
    list_cost = AmountField(db_default=0, help_text="of requests, without us")
    provider_cost = AmountField(db_default=0)
    contracted_cost = AmountField(db_default=0)
    billed_cost = AmountField(db_default=0)
    saved_cost = AmountField(db_default=0, help_text="the list cost less what is billed of usage")
    saving = models.JSONField(db_default=Value({}, models.JSONField()), help_text="USD saved, by step")
    least_cost = AmountField(db_default=0, help_text="the least that is billed, if all is known")
    most_cost = AmountField(db_default=0, help_text="the most")
    refreshed_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ("-day",)
        verbose_name_plural = "usage daily"
        indexes = (
            models.Index(fields=("tenant", "day"), name="usage_daily_tenant_day"),
            models.Index(fields=("tenant", "user_id", "day"), name="usage_daily_tenant_user"),
        )

    def __str__(self) -> str:
        return f"{self.day} {self.model}: {self.billed_cost} USD"
