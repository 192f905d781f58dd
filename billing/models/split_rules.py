"""Split rules: how a tenant divides shared cost among its cost centres.

Invariant: a rule never changes but for its last month, so that a month's chargebacks can be made again. It changes no row of the
ledger and no statement.
"""

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q
from django.utils.timezone import now
from simple_history.models import HistoricalRecords

from billing.models.statements import Statement
from tenants.models import Tenant

MONTH = RegexValidator(r"^[1-9][0-9]{3}-(0[1-9]|1[0-2])$", "a month such as 2026-11")


class SplitRule(models.Model):
    """Which cost is shared, and among whom."""

    class Source(models.TextChoices):
        COST_CENTER = "cost_center", "all of a cost centre"
        PROJECT = "project", "all of a project"
        TAG = "tag", "all with a tag"
        UNALLOCATED = "unallocated", "calls without a cost centre"
        CREDITS = "credits", "credits without a cost centre"
        FEES = "fees", "adjustments without a cost centre"

    class Method(models.TextChoices):
        EVEN = "even", "in equal parts"
        PROPORTIONAL = "proportional", "in proportion to their own cost"
        FIXED = "fixed", "in fixed percentages"

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="split_rules")
    name = models.CharField(max_length=100, help_text="as chargebacks name what it moves")
    place = models.PositiveSmallIntegerField(
        default=100, help_text="a cost that several rules name is of the one with the lowest"
    )
    source = models.CharField(max_length=11, choices=Source)
    tag = models.CharField(max_length=100, blank=True, default="", help_text="the tag's name")
    value = models.CharField(
        max_length=200, blank=True, default="", help_text="of the cost centre, project or tag"
    )
    method = models.CharField(max_length=12, choices=Method)
    shares = models.JSONField(
        default=list,
        blank=True,
        help_text="cost centres, with percentages where they are fixed; none: all that have cost of their own",
    )
    first_month = models.CharField(max_length=7, validators=[MONTH])
    last_month = models.CharField(max_length=7, blank=True, default="", validators=[MONTH])
    created_at = models.DateTimeField(default=now, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )

    history = HistoricalRecords()

    class Meta:
        ordering = ("tenant", "place", "pk")
        constraints = (
            models.CheckConstraint(
                condition=Q(source__in=("cost_center", "project", "tag", "unallocated", "credits", "fees")),
                name="split_rule_source_known",
            ),
            models.CheckConstraint(
                condition=Q(method__in=("even", "proportional", "fixed")), name="split_rule_method_known"
            ),
            # A rule whose last month lies before its first would count in no month and look as if it did.
            models.CheckConstraint(
                condition=Q(last_month="") | Q(last_month__gte=models.F("first_month")),
                name="split_rule_months_in_order",
            ),
        )

    def __str__(self) -> str:
        return f"{self.name} ({self.get_method_display()})"

    def clean(self) -> None:
        is_named = self.source in (self.Source.COST_CENTER, self.Source.PROJECT, self.Source.TAG)
        if is_named != bool(self.value):
            raise ValidationError({"value": "Which one." if is_named else "Leave it empty."})
        if (self.source == self.Source.TAG) != bool(self.tag):
            raise ValidationError({"tag": "Its name, of a tag and of nothing else."})
        if self.last_month and self.first_month and self.last_month < self.first_month:
            raise ValidationError({"last_month": "Not before the first month."})


class ChargebackSheet(models.Model):
    """The chargebacks of a closed month, as `exports.chargeback_files` writes them when it is closed."""

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+")
    statement = models.OneToOneField(Statement, on_delete=models.PROTECT, related_name="chargeback_sheet")
    content = models.BinaryField(help_text="JSON")
    sha256 = models.CharField(max_length=64)
    made_at = models.DateTimeField(default=now)

    def __str__(self) -> str:
        return f"chargebacks of {self.statement_id}"
