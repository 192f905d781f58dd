"""What may be spent, and what has been.

Invariant: `BudgetWindow` is the only counter that admits a call. Its figures change only in the functions
of the ledger, under its row lock; a hard limit is never passed by spent + held. A window of a budget with
shards is several rows, whose allowances sum up to the limit: it is their sum that counts, and is shown.
"""

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils.timezone import now
from simple_history.models import HistoricalRecords

from billing.models.fields import AmountField
from billing.scopes import PREPAID, RUN, scope_choices
from tenants.models import Tenant

# More than a machine's workers only splits the room.
MAX_SHARDS = 64


def default_alerts() -> list[int]:
    """Shares of a budget at which people are notified, in percent."""
    return [80, 100]


class StandingBudgets(models.Manager["Budget"]):
    """Budgets that somebody set to stay. Envelopes of runs and prepaid balances have pages and verbs of their own."""

    def get_queryset(self) -> models.QuerySet["Budget"]:
        return super().get_queryset().exclude(scope__in=(RUN, PREPAID))


class Budget(models.Model):
    """A limit. An empty `value` means each user, key, feature, ... by itself, except for the tenant scope."""

    class Unit(models.TextChoices):
        USD = "usd", "USD"
        TOKENS = "tokens", "tokens"
        REQUESTS = "requests", "requests"

    class Period(models.TextChoices):
        DAY = "day", "day"
        WEEK = "week", "week"
        MONTH = "month", "month"
        TOTAL = "total", "total"

    class Mode(models.TextChoices):
        HARD = "hard", "hard"
        SOFT = "soft", "soft"

    class SetBy(models.TextChoices):
        PLATFORM = "platform", "the platform"
        TENANT = "tenant", "the tenant"

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="budgets")
    scope = models.CharField(max_length=12, choices=scope_choices)
    value = models.CharField(max_length=200, blank=True, default="", help_text="empty: each one by itself")
    unit = models.CharField(max_length=8, choices=Unit)
    period = models.CharField(max_length=5, choices=Period)
    limit_amount = AmountField()
    mode = models.CharField(max_length=4, choices=Mode, default=Mode.HARD)
    alert_at = models.JSONField(default=default_alerts, blank=True, help_text="percent, e.g. [50, 80, 100]")
    shards = models.PositiveSmallIntegerField(
        default=1,
        db_default=1,
        help_text="rows per window: more than 1 lets that many workers admit at once; for budgets that all calls hit",
    )
    is_active = models.BooleanField(default=True)
    set_by = models.CharField(
        max_length=8,
        choices=SetBy,
        default=SetBy.TENANT,
        db_default=SetBy.TENANT,
        help_text="the platform's: only operators change or raise it",
    )
    created_at = models.DateTimeField(default=now, editable=False)

    objects = StandingBudgets()
    everything: "models.Manager[Budget]" = models.Manager()  # those of envelopes and balances, too
    history = HistoricalRecords()

    class Meta:
        ordering = ("tenant", "scope", "value", "unit", "period")
        constraints = (
            # Two limits on the same thing would make "the limit" a matter of chance.
            models.UniqueConstraint(
                fields=("tenant", "scope", "value", "unit", "period"),
                condition=Q(is_active=True) & ~Q(scope=RUN),  # two people may have runs of one name
                name="budget_unique_while_active",
            ),
            models.CheckConstraint(condition=Q(limit_amount__gte=0), name="budget_limit_not_negative"),
            models.CheckConstraint(
                condition=~Q(scope="tenant") | Q(value=""), name="budget_tenant_has_no_value"
            ),
            # An unknown author must not pass for the tenant's owners.
            models.CheckConstraint(
                condition=Q(set_by__in=("platform", "tenant")), name="budget_set_by_known"
            ),
            models.CheckConstraint(
                condition=Q(shards__gte=1, shards__lte=MAX_SHARDS), name="budget_shards_in_range"
            ),
        )

    def __str__(self) -> str:
        amount = f"{self.limit_amount.normalize():f}"
        period = "in total" if self.period == self.Period.TOTAL else f"per {self.period}"
        unit = self.get_unit_display()
        return f"{self.subject_label} budget of {amount} {unit} {period}"

    @property
    def subject_label(self) -> str:
        """Whose budget it is, in words."""
        scope = self.get_scope_display()
        if self.scope == "tenant":
            return scope
        return f"{scope} '{self.value}'" if self.value else f"each {scope}'s"


class BudgetRaise(models.Model):
    """More of a budget for a time, with a reason. Counts from `starts_at` until `ends_at`."""

    budget = models.ForeignKey(Budget, on_delete=models.PROTECT, related_name="raises")
    extra_amount = AmountField()
    starts_at = models.DateTimeField(default=now)
    ends_at = models.DateTimeField()
    reason = models.CharField(max_length=300)
    approved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    created_at = models.DateTimeField(default=now, editable=False)

    history = HistoricalRecords()

    class Meta:
        ordering = ("-starts_at",)
        indexes = (models.Index(fields=("budget", "ends_at"), name="raise_of_budget"),)
        constraints = (
            models.CheckConstraint(condition=Q(extra_amount__gt=0), name="raise_positive"),
            models.CheckConstraint(condition=Q(ends_at__gt=F("starts_at")), name="raise_ends"),
        )

    def __str__(self) -> str:
        return f"+{self.extra_amount.normalize():f} until {self.ends_at:%Y-%m-%d %H:%M} UTC"


class BudgetWindow(models.Model):
    """One day, week, month or lifetime of a budget for one subject, and what was held and spent in it.

    Or one of its shards: `allowance` is its part of the limit, `allowance_of` the limit that was parted. A row that is
    the whole window has none.
    """

    budget = models.ForeignKey(Budget, on_delete=models.PROTECT, related_name="windows")
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+")
    subject = models.CharField(max_length=200, blank=True, default="")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField(null=True, blank=True)
    shard = models.PositiveSmallIntegerField(default=0, db_default=0)
    allowance = AmountField(null=True, blank=True)
    allowance_of = AmountField(null=True, blank=True)
    unit = models.CharField(max_length=8, choices=Budget.Unit)
    held = AmountField(default=0)
    spent = AmountField(default=0)
    overrun = AmountField(default=0, help_text="by how much calls cost more than their holds")

    class Meta:
        ordering = ("-starts_at", "budget", "subject")
        indexes = (
            models.Index(fields=("tenant", "-starts_at"), name="window_of_tenant"),
            models.Index(
                fields=("ends_at",), condition=Q(shard=0, allowance__isnull=False), name="window_in_shards"
            ),
        )
        constraints = (
            # One counter for one subject and span: two would admit twice the limit.
            models.UniqueConstraint(
                fields=("budget", "subject", "starts_at", "shard"), name="window_shard_unique"
            ),
            # A shard that knew no allowance would admit up to the whole limit.
            models.CheckConstraint(
                condition=Q(shard=0) | Q(allowance__isnull=False), name="window_shard_has_allowance"
            ),
            # A hold is given back once; twice would make room that is not there.
            models.CheckConstraint(condition=Q(held__gte=0), name="window_held_not_negative"),
        )

    def __str__(self) -> str:
        return f"{self.budget}, {self.subject or 'tenant'}, from {self.starts_at:%Y-%m-%d}"
