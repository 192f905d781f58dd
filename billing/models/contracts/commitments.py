"""Minimum commitments: what a tenant pays at least in a month, a quarter or a year.

Invariant: a commitment changes in its end only, and a tenant has one at a time (exclusion constraint): a month belongs to one.
"""

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q
from django.utils.timezone import now
from simple_history.models import HistoricalRecords

from billing.models.fields import AmountField
from tenants.models import Tenant

MONTH = RegexValidator(r"^[0-9]{4}-(0[1-9]|1[0-2])$", "a month is written as 2026-10")


class Commitment(models.Model):
    """A minimum for each span of months, counted from the first month on. What is not met is charged in the span's last month."""

    class Span(models.TextChoices):
        MONTH = "month", "month"
        QUARTER = "quarter", "quarter"
        YEAR = "year", "year"

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="commitments")
    span = models.CharField("each", max_length=7, choices=Span, help_text="counted from the first month on")
    amount_usd = AmountField(verbose_name="at least, USD")
    first_month = models.CharField(max_length=7, validators=[MONTH], help_text="YYYY-MM")
    last_month = models.CharField(
        max_length=7,
        blank=True,
        default="",
        validators=[MONTH],
        help_text="YYYY-MM, the last one of a span; empty: none",
    )
    created_at = models.DateTimeField(default=now, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )

    history = HistoricalRecords()

    class Meta:
        ordering = ("tenant", "-first_month")
        constraints = (
            models.CheckConstraint(condition=Q(amount_usd__gt=0), name="commitment_of_something"),
            models.CheckConstraint(
                condition=Q(last_month="") | Q(last_month__gte=models.F("first_month")),
                name="commitment_ends",
            ),
        )

    def __str__(self) -> str:
        until = f" to {self.last_month}" if self.last_month else ""
        return f"{self.amount_usd.normalize():f} USD each {self.span} from {self.first_month}{until}"

    def clean(self) -> None:
        if self.span not in self.Span.values or not self.first_month:
            return  # said by the fields
        if self.last_month and self.spans_until(self.last_month)[1] != self.last_month:
            raise ValidationError(
                {"last_month": f"a {self.span} from {self.first_month} on ends in another month"}
            )

    @property
    def months(self) -> int:
        """How many months a span has."""
        return {"month": 1, "quarter": 3, "year": 12}[self.span]

    def spans_until(self, month: str) -> tuple[str, str]:
        """The first and the last month of the span that a month is in."""
        first = number_of(self.first_month)
        begins = first + (number_of(month) - first) // self.months * self.months
        return name_of(begins), name_of(begins + self.months - 1)

    def covers(self, month: str) -> bool:
        """Whether a month is in one of its spans."""
        return self.first_month <= month and (not self.last_month or month <= self.last_month)


def number_of(month: str) -> int:
    """A month as a number, so that months can be counted."""
    return int(month[:4]) * 12 + int(month[5:]) - 1


def name_of(number: int) -> str:
    """The month of a number."""
    return f"{number // 12:04d}-{number % 12 + 1:02d}"
