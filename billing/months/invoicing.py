"""What a statement says beside its lines: who asks whom for the money, with which tax, until when.

Invariant: a statement keeps the terms that it was issued with; later changes of the tenant's details, or of ours, change none.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from django.conf import settings
from django.utils.timezone import now

from billing.contracts.currencies import USD, NoRate, rate_on
from billing.contracts.prepaid import used_in
from billing.models import BillingDetails, BillingPeriod
from billing.money import EXACT
from billing.months.amounts import round_to_currency
from billing.months.parts import RateOfNow, Terms
from tenants.models import Tenant

TAX_NOTES: Final = {
    BillingDetails.Tax.NONE: "",
    BillingDetails.Tax.VAT: "",
    BillingDetails.Tax.REVERSE_CHARGE: "Reverse charge: the recipient owes the value-added tax.",
    BillingDetails.Tax.EXEMPT: "Exempt from value-added tax.",
}


def issuer_now() -> Terms:
    """The issuer as the settings name it, and nothing of a tenant."""
    return Terms(
        issuer_name=settings.ISSUER_NAME,
        issuer_address=settings.ISSUER_ADDRESS,
        issuer_vat_id=settings.ISSUER_VAT_ID,
        payment_text=settings.ISSUER_PAYMENT,
    )


def terms_of(tenant: Tenant, *, issued_at: datetime, timezone: str) -> Terms:
    """The terms of a statement that is issued now."""
    terms = issuer_now()
    details = BillingDetails.objects.filter(tenant=tenant).first()
    if details is None:
        return terms
    issued_on = issued_at.astimezone(ZoneInfo(timezone)).date()
    return replace(
        terms,
        legal_name=details.legal_name,
        address=details.address,
        vat_id=details.vat_id,
        email=details.email,
        po_number=details.po_number,
        vat_percent=details.vat_percent if details.tax == BillingDetails.Tax.VAT else Decimal(0),
        tax_note=TAX_NOTES[BillingDetails.Tax(details.tax)],
        due_on=issued_on + timedelta(days=details.payment_days),
    )


def with_set_off(
    terms: Terms, period: BillingPeriod, *, total: Decimal, currency: str, fx_rate: Decimal
) -> Terms:
    """The terms with what was taken from the tenant's prepaid balance for the month's calls; not more than is owed."""
    used = round_to_currency(EXACT.multiply(used_in(period), fx_rate), currency)
    return replace(terms, set_off=max(min(used, total), Decimal(0)))


def rate_of_now(tenant: Tenant, period: BillingPeriod | None) -> RateOfNow | None:
    """By what a month would be converted if it ended today; None in USD, and where no rate of these days is stored."""
    details = BillingDetails.objects.filter(tenant=tenant).only("currency").first()
    if details is None or details.currency == USD:
        return None
    moment = min(now(), period.ends_at - timedelta(microseconds=1)) if period else now()
    today = moment.astimezone(ZoneInfo(period.timezone if period else tenant.timezone)).date()
    try:
        found = rate_on(today, currency=details.currency)
    except NoRate:
        return None
    return RateOfNow(found.currency, found.rate, found.day, found.source)


def tax_on(net: Decimal, terms: Terms, *, currency: str) -> Decimal:
    """The tax on what a statement asks for, rounded once; the zero of a credit has no sign, as in the database."""
    return round_to_currency(EXACT.multiply(net, terms.vat_percent).scaleb(-2), currency) + 0


def as_stored(terms: Terms) -> dict[str, str]:
    """What is stored with a statement: texts only, and none that is empty."""
    values = {field.name: getattr(terms, field.name) for field in fields(terms)}
    return {name: str(value) for name, value in values.items() if value}


def stored_terms(stored: Mapping[str, str]) -> Terms | None:
    """The terms of an issued statement; None of one that is older than them."""
    if not stored:
        return None
    read: dict[str, Callable[[str], Any]] = {
        "vat_percent": Decimal,
        "set_off": Decimal,
        "due_on": date.fromisoformat,
    }
    return Terms(**{name: read.get(name, str)(text) for name, text in stored.items()})
