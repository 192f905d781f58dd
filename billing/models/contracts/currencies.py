"""Rates between currencies: what one unit of a base was worth on a day, and where that is known from.

Invariant: of a day and a pair one rate counts. A rate is never edited: another one supersedes it (trigger), so that what was
converted by it stays explained.
"""

from typing import ClassVar

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import F, Q
from django.utils.timezone import now
from iso4217 import Currency as IsoCurrency

from billing.models.fields import AmountField

# Those that money is paid in: gold, bonds and test codes have no minor unit.
CURRENCIES = frozenset(one.code for one in IsoCurrency if one.exponent is not None)


def check_currency(code: str) -> None:
    """Raise ValidationError for what is no currency of ISO 4217."""
    if code not in CURRENCIES:
        raise ValidationError(f"{code} is no currency of ISO 4217, such as EUR")


class CurrencyRate(models.Model):
    """Units of `quote` for one unit of `base`."""

    is_audited: ClassVar[bool] = True

    day = models.DateField()
    base = models.CharField(max_length=3, validators=[check_currency])
    quote = models.CharField(max_length=3, validators=[check_currency])
    rate = AmountField(help_text="units of the quote for one of the base")
    source = models.CharField(max_length=100, help_text="who says so, e.g. ECB")
    recorded_at = models.DateTimeField(default=now, editable=False)
    recorded_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    superseded_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ("-day", "base", "quote")
        constraints = (
            models.UniqueConstraint(
                fields=("day", "base", "quote"), condition=Q(superseded_at=None), name="currency_rate_once"
            ),
            models.CheckConstraint(condition=Q(rate__gt=0), name="currency_rate_positive"),
            models.CheckConstraint(condition=~Q(base=F("quote")), name="currency_rate_of_two"),
        )

    def __str__(self) -> str:
        return f"1 {self.base} = {self.rate.normalize():f} {self.quote} on {self.day} ({self.source})"
