"""Currencies of tenants: the stored rates of days, and the one by which a month is converted when it is closed.

Invariant: the ledger is in USD, and nothing is converted but what a statement asks for, once. The rate is that of the month's
last day, or the newest of the week before it; where none is stored there is no statement.
"""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Any, Final

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.timezone import now

from billing.four_eyes import Approval, require_agreed
from billing.models import BillingDetails, CurrencyRate
from billing.money import EXACT, TWELVE_PLACES
from tenants.models import Tenant

USD: Final = "USD"
MOST_DAYS_OLD: Final = 7  # no rates are published at weekends and on holidays
MOST_ROWS: Final = 100_000
COLUMNS: Final = ("date", "base", "quote", "rate", "source")


class NoRate(Exception):
    """No rate is stored for a month that is to be closed."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """How USD become a tenant's currency: `rate` is its units for one USD, of a day, as somebody says."""

    currency: str = USD
    rate: Decimal = Decimal(1)
    day: date | None = None
    source: str = ""


def conversion_of(tenant: Tenant, *, last_day: date) -> Conversion:
    """By what a month that ends on a day is converted. Raises NoRate."""
    details = BillingDetails.objects.filter(tenant=tenant).only("currency").first()
    if details is None or details.currency == USD:
        return Conversion()
    return rate_on(last_day, currency=details.currency)


def rate_on(day: date, *, currency: str) -> Conversion:
    """The newest rate from USD to a currency of a day or the week before: stored as such, the other way round, or through a
    third currency that both have a rate of on one day. Raises NoRate."""
    first = day - timedelta(days=MOST_DAYS_OLD - 1)
    stored = CurrencyRate.objects.filter(day__gte=first, day__lte=day, superseded_at=None)
    by_day: dict[date, dict[tuple[str, str], CurrencyRate]] = {}
    for row in stored.order_by("base", "quote"):
        by_day.setdefault(row.day, {})[row.base, row.quote] = row
    for of_day in sorted(by_day, reverse=True):
        if (found := _between(by_day[of_day], currency)) is not None:
            return Conversion(currency, found[0], of_day, found[1])
    raise NoRate(
        f"no rate from USD to {currency} is stored for {day} or the {MOST_DAYS_OLD - 1} days before: enter one, then close"
    )


@transaction.atomic
def set_rate(
    *,
    day: date,
    base: str,
    quote: str,
    rate: Decimal,
    source: str,
    acting_user: User | None = None,
    approval: Approval | None = None,
) -> CurrencyRate:
    """Store a rate; it supersedes another one of that day and pair, the same again changes nothing. Raises ValidationError, and
    NeedsAnother where a tenant that is billed in a currency asks for four eyes."""
    row = CurrencyRate(day=day, base=base, quote=quote, rate=rate, source=source, recorded_by=acting_user)
    row.full_clean(validate_unique=False, validate_constraints=False)
    if base == quote or rate <= 0:
        raise ValidationError({"rate": "more than 0, between two currencies"})
    known = (
        CurrencyRate.objects.select_for_update()
        .filter(day=day, base=base, quote=quote, superseded_at=None)
        .first()
    )
    if known is not None and (known.rate, known.source) == (rate, source):
        return known
    require_agreed(
        "currency_rate",
        tenant=None,
        tenants=_careful_payers(),
        approval=approval,
        summary=str(row),
        arguments={"day": day, "base": base, "quote": quote, "rate": rate, "source": source},
    )
    if known is not None:
        CurrencyRate.objects.filter(pk=known.pk).update(superseded_at=now())
    row.save(force_insert=True)
    return row


@transaction.atomic
def import_rates(
    text: str, *, acting_user: User | None = None, approval: Approval | None = None
) -> list[CurrencyRate]:
    """Store the rates of a CSV with the columns date, base, quote, rate and source: all, or none. Raises ValidationError,
    NeedsAnother."""
    reader = csv.DictReader(io.StringIO(text))
    if tuple(name.strip().lower() for name in reader.fieldnames or ()) != COLUMNS:
        raise ValidationError(f"the first line has to be {','.join(COLUMNS)}")
    require_agreed(
        "currency_rates",
        tenant=None,
        tenants=_careful_payers(),
        approval=approval,
        summary=f"{max(text.strip().count(chr(10)), 0)} currency rates",
        arguments={"text": text},
    )
    found = []
    for number, row in enumerate(reader, 2):
        if number > MOST_ROWS + 1:
            raise ValidationError(f"more than {MOST_ROWS} rates")
        try:
            found.append(set_rate(**_values(row), acting_user=acting_user, approval=approval))
        except ValidationError as error:
            raise ValidationError(f"line {number}: {' '.join(error.messages)}") from None
        except (ValueError, InvalidOperation, AttributeError):
            raise ValidationError(f"line {number} is no rate such as 2026-10-30,USD,EUR,0.9213,ECB") from None
    return found


def converted(amount_usd: Decimal, rate: Decimal) -> Decimal:
    """An amount at a rate, at 12 places."""
    return EXACT.multiply(amount_usd, rate).quantize(TWELVE_PLACES, rounding=ROUND_HALF_EVEN, context=EXACT)


def _careful_payers() -> list[Tenant]:
    """A tenant whose statements are converted and whose policy asks for four eyes; one is enough."""
    rows = BillingDetails.objects.exclude(currency=USD).filter(tenant__policy__closing__four_eyes=True)
    return [row.tenant for row in rows.select_related("tenant")[:1]]


def _between(rates: dict[tuple[str, str], CurrencyRate], currency: str) -> tuple[Decimal, str] | None:
    """The rate from USD to a currency, and who says so, by the rates of one day."""
    direct = _leg(rates, USD, currency)
    if direct is not None:
        return _twelve(direct[0]), direct[1]
    for third in _currencies(rates):
        first, second = _leg(rates, USD, third), _leg(rates, third, currency)
        if first is not None and second is not None:
            return _twelve(EXACT.multiply(first[0], second[0])), f"{first[1]}, through {third}"
    return None


def _leg(rates: dict[tuple[str, str], CurrencyRate], base: str, quote: str) -> tuple[Decimal, str] | None:
    if row := rates.get((base, quote)):
        return row.rate, row.source
    if row := rates.get((quote, base)):
        return EXACT.divide(Decimal(1), row.rate), row.source
    return None


def _currencies(rates: Iterable[tuple[str, str]]) -> list[str]:
    return sorted({code for pair in rates for code in pair} - {USD})


def _twelve(rate: Decimal) -> Decimal:
    return rate.quantize(TWELVE_PLACES, rounding=ROUND_HALF_EVEN, context=EXACT)


def _values(row: dict[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {name.strip().lower(): text.strip() for name, text in row.items()}
    rate = Decimal(values["rate"])
    if not rate.is_finite():
        raise InvalidOperation
    return {
        "day": date.fromisoformat(values["date"]), "base": values["base"].upper(), "quote": values["quote"].upper(),
        "rate": rate, "source": values["source"],
    }  # fmt: skip
