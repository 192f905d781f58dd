"""What the providers say they billed, and how that compares with the ledger.

Invariant: a report and its lines are written once; a newer report of the same days supersedes the lines before it,
so at any moment one set of lines of an account's day is live (triggers, unique index). A comparison is about one
day, model and meter of an account; it says why the two differ and who decided what about it. Nothing here changes
the ledger: a confirmed difference is booked as an adjustment.
"""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.timezone import now
from simple_history.models import HistoricalRecords

from billing.models.fields import AmountField, ExactField


class ReportedField(ExactField):
    """An amount or a quantity as a provider reports it: a float's text has more places than our own amounts."""

    digits, places = 48, 30


class Cause(models.TextChoices):
    """What explains a difference, as exactly as it is known."""

    ROUNDING = "rounding", "rounded to cents"
    MIDNIGHT = "midnight", "calls over midnight"
    LATE = "late", "billed on the day beside it"
    DAY_MISSING = "day_missing", "whole day missing there"
    LINE_MISSING = "line_missing", "line missing there"
    PROJECT = "project", "in another project there"
    NOT_BOOKED = "not_booked", "our calls without a row"
    PAST_US = "past_us", "used past the gateway"
    UNKNOWN_MODEL = "unknown_model", "a model that we do not call"
    PRICE = "price", "another price"
    KNOWN_PRICE = "known_price", "another price that we know"
    PRICE_IN_THE_DAY = "price_in_the_day", "price changed within the day"
    BATCH_DISCOUNT = "batch_discount", "batch discount not given"
    PROCESSING = "processing", "billed as another processing"
    ONE_FACTOR = "one_factor", "all amounts by one factor"
    CREDIT = "credit", "credit or negative line"
    REPEATED = "repeated", "line repeated"
    OTHER_METER = "other_meter", "on another meter"
    CACHE_AS_INPUT = "cache_as_input", "cache read billed as input"
    OTHER_MODEL = "other_model", "under another model"
    OFF_BY_ONE = "off_by_one", "off by one"
    QUANTITY_ONLY = "quantity_only", "quantity alone differs"
    COUNTED_HERE = "counted_here", "counted by us"
    BOUND = "bound", "booked as a bound"
    COUNTED = "counted", "they counted less"


class CostReport(models.Model):
    """One fetch, or one file, of a provider account's costs."""

    is_audited: ClassVar[bool] = True

    class Source(models.TextChoices):
        PULL = "pull", "pulled"
        UPLOAD = "upload", "uploaded"

    provider = models.CharField(max_length=64, help_text="the account's name, as in the ledger")
    kind = models.CharField(max_length=16)
    source = models.CharField(max_length=6, choices=Source)
    first_day = models.DateField(help_text="in UTC")
    last_day = models.DateField(help_text="in UTC, included")
    line_count = models.IntegerField()
    total_usd = ReportedField()
    digest = models.CharField(max_length=64, help_text="sha256 of what was received")
    file_name = models.CharField(max_length=200, blank=True, default="")
    model_names = models.JSONField(
        default=dict, help_text="our names of the account's models and the provider's, as they were then"
    )
    fetched_at = models.DateTimeField(default=now)
    fetched_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        ordering = ("-fetched_at",)
        verbose_name = "provider's cost report"
        indexes = (models.Index(fields=("provider", "first_day"), name="cost_report_days"),)
        constraints = (
            models.CheckConstraint(condition=Q(last_day__gte=models.F("first_day")), name="cost_report_ends"),
        )

    def __str__(self) -> str:
        return f"{self.provider} {self.first_day} to {self.last_day}"


class CostReportLine(models.Model):
    """One line of a report; live until a newer report of its day supersedes it."""

    class Standing(models.TextChoices):
        COUNTED = "", "counted"
        CREDIT = "credit", "credit"
        ELSEWHERE = "elsewhere", "of another project, not counted"

    report = models.ForeignKey(CostReport, on_delete=models.PROTECT, related_name="lines")
    provider = models.CharField(max_length=64)
    day = models.DateField(help_text="in UTC")
    line_item = models.CharField(max_length=300, blank=True, default="", help_text="as the provider says it")
    project = models.CharField(max_length=100, blank=True, default="", help_text="or workspace")
    model = models.CharField(
        max_length=128, blank=True, default="", help_text="ours, where the line names it"
    )
    meter = models.CharField(max_length=64, blank=True, default="")
    processing = models.CharField(max_length=10, blank=True, default="")
    quantity = ReportedField(null=True)
    amount_usd = ReportedField()
    standing = models.CharField(
        max_length=9, choices=Standing, blank=True, default=Standing.COUNTED, db_default=Standing.COUNTED
    )
    copies = models.PositiveSmallIntegerField(
        default=1,
        db_default=1,
        help_text="how often the report has this line; amount and quantity are of all",
    )
    superseded_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("day", "model", "meter", "line_item")
        verbose_name = "line of a cost report"
        constraints = (
            models.UniqueConstraint(
                fields=(
                    "provider",
                    "day",
                    "line_item",
                    "project",
                    "model",
                    "meter",
                    "processing",
                    "standing",
                ),
                condition=Q(superseded_at=None),
                name="cost_line_live_once",
            ),
        )

    def __str__(self) -> str:
        return f"{self.day} {self.line_item}: {self.amount_usd.normalize():f} USD"


class CostComparison(models.Model):
    """A provider account's day, model and meter: the provider's figures and ours."""

    class Kind(models.TextChoices):
        MATCH = "match", "match"
        ROUNDING = "rounding", "rounding"
        BOUNDARY = "boundary", "day boundary"
        QUANTITY = "quantity", "quantity"
        PRICE = "price", "price"
        MISSING_HERE = "missing_here", "missing here"
        MISSING_THERE = "missing_there", "missing there"
        BYPASS = "bypass", "bypass"
        CREDIT = "credit", "credit"

    class Status(models.TextChoices):
        OPEN = "open", "open"
        EXPLAINED = "explained", "explained"
        RESOLVED = "resolved", "resolved"

    provider = models.CharField(max_length=64)
    day = models.DateField(help_text="in UTC")
    model = models.CharField(max_length=128, blank=True, default="")
    meter = models.CharField(max_length=64, blank=True, default="")
    kind = models.CharField(max_length=13, choices=Kind)
    cause = models.CharField(max_length=16, choices=Cause, blank=True, default="", db_default="")
    detail = models.TextField(blank=True, default="", help_text="what speaks for this kind")
    is_within_tolerance = models.BooleanField(help_text="of its day and model: 0.01 USD or 0.1 %")
    our_quantity = ReportedField(null=True)
    their_quantity = ReportedField(null=True)
    our_usd = AmountField(default=0)
    their_usd = ReportedField(default=0)
    difference_usd = ReportedField(help_text="theirs less ours")
    status = models.CharField(max_length=9, choices=Status, default=Status.OPEN)
    reason = models.TextField(blank=True, default="")
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    decided_at = models.DateTimeField(null=True, blank=True)
    adjustment_id = models.UUIDField(
        null=True, blank=True, help_text="the ledger row that books the difference"
    )
    adjusted_usd = AmountField(null=True, blank=True)
    compared_at = models.DateTimeField(default=now)

    history = HistoricalRecords()

    class Meta:
        ordering = ("-day", "provider", "model", "meter")
        verbose_name = "comparison with a provider"
        verbose_name_plural = "comparisons with providers"
        constraints = (
            models.UniqueConstraint(fields=("provider", "day", "model", "meter"), name="comparison_once"),
            models.CheckConstraint(
                condition=Q(adjustment_id=None, adjusted_usd=None)
                | Q(adjustment_id__isnull=False, adjusted_usd__isnull=False),
                name="comparison_adjustment_whole",
            ),
        )

    def __str__(self) -> str:
        return (
            f"{self.provider} {self.day} {self.model or 'no model'} {self.meter or 'no meter'}: {self.kind}"
        )

    @property
    def why(self) -> str:
        """The kind and, where it is known, the cause."""
        return (
            f"{self.get_kind_display()}: {self.get_cause_display()}"
            if self.cause
            else self.get_kind_display()
        )
