"""The journal of a month for a general ledger: what a statement asks for as balanced entries, or what an open month has accrued.

Invariant: debits equal credits to the last minor unit, by cost centre; receivables are what is payable. A month that is not
closed is accrued on its last day so far, and the same entries stand the other way round on the first of the next month. Nothing
is stored: a closed month's journal follows from its statement, whenever it is asked for, and from the accounts.
"""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

from django.db import transaction
from django.db.models import Sum
from django.utils.timezone import now

from billing.contracts.currencies import conversion_of
from billing.models import BillingPeriod, GlAccount, Statement
from billing.money import EXACT
from billing.months import reading as month_reading
from billing.months.amounts import apportion, minor_unit
from billing.months.exports.cells import cell
from billing.months.invoicing import stored_terms, with_set_off
from billing.months.lines import exact_parts, opened_lines
from billing.months.parts import Terms
from tenants.models import Tenant

Kind = GlAccount.Kind
COLUMNS: Final = ("date", "account", "cost_center", "debit", "credit", "currency", "memo", "reference")
# What a line of a statement is booked as; its rounding goes with the revenue.
KINDS: Final = {
    "usage": Kind.REVENUE,
    "correction": Kind.REVENUE,
    "adjustment": Kind.REVENUE,
    "credit": Kind.CREDITS,
    "commitment": Kind.COMMITMENTS,
}
ZERO: Final = Decimal(0)
Account = Callable[[str, str], str]  # by kind and cost centre


class NoAccount(Exception):
    """An account is missing that the journal needs."""


@dataclass(frozen=True, slots=True)
class JournalLine:
    """One side of an entry."""

    date: date
    account: str
    cost_center: str
    debit: Decimal
    credit: Decimal
    currency: str
    memo: str
    reference: str


def journal_of(tenant: Tenant, *, month: str) -> list[JournalLine]:
    """The journal of a tenant's month. Raises BillingPeriod.DoesNotExist, NoAccount, and NoRate for one that is not closed."""
    period = BillingPeriod.objects.select_related("tenant").get(tenant=tenant, label=month)
    accounts = _accounts(tenant)
    last_day = _last_day(period)
    statement = Statement.objects.filter(period=period).first()
    if statement is not None:
        lines = statement.lines.order_by()
        sealed = lines.values_list("cost_center", "category").annotate(exact=Sum("exact_usd"))
        owed = dict(lines.values_list("cost_center").annotate(owed=Sum("amount")))
        terms = stored_terms(statement.terms)
        return entries(
            parts_of(sealed, fx_rate=statement.fx_rate), owed, tax=statement.tax,
            set_off=terms.set_off if terms else ZERO, currency=statement.currency,
            account=accounts, side=Kind.RECEIVABLE, on=last_day, memo=f"{tenant.name} {month}",
            reference=statement.code,
        )  # fmt: skip
    on = min(last_day, now().astimezone(ZoneInfo(period.timezone)).date())
    conversion = conversion_of(tenant, last_day=on)
    currency, fx_rate = conversion.currency, conversion.rate
    with transaction.atomic():
        month_reading.prepare()
        with opened_lines(period, timezone=period.timezone, currency=currency, fx_rate=fx_rate) as made:
            exact, owed = exact_parts(), made.owed
            used = with_set_off(
                Terms(""), period, total=made.total, currency=currency, fx_rate=fx_rate
            ).set_off
    accrued = entries(
        parts_of(exact, fx_rate=fx_rate), owed, tax=ZERO, set_off=used, currency=currency,
        account=accounts, side=Kind.ACCRUAL, on=on, memo=f"Accrued: {tenant.name} {month}",
        reference=f"ACCRUAL-{month}-{tenant.slug}",
    )  # fmt: skip
    return [*accrued, *reversed_on(last_day + timedelta(days=1), accrued)]


def entries(
    parts: Mapping[str, Mapping[str, Decimal]],
    owed: Mapping[str, Decimal],
    *,
    tax: Decimal,
    set_off: Decimal = ZERO,
    currency: str,
    account: Account,
    side: str,
    on: date,
    memo: str,
    reference: str,
) -> list[JournalLine]:
    """What each cost centre owes against the kinds that make it, in whole minor units, the tax, and what was paid ahead. Pure.

    `parts` are exact amounts in the currency by cost centre and kind; `owed` is what each cost centre owes, rounded.
    """
    unit = minor_unit(currency)
    lines: list[JournalLine] = []

    def book(kind: str, center: str, amount: Decimal, what: str) -> None:
        """An amount above zero is a debit."""
        if amount:
            debit, credit = max(amount, ZERO), max(-amount, ZERO)
            code = account(kind, center)
            lines.append(JournalLine(on, code, center, debit, credit, currency, f"{memo}: {what}", reference))

    for center in sorted(owed):
        kinds = parts.get(center) or {Kind.REVENUE: ZERO}
        shares = apportion(list(kinds.values()), total=owed[center], unit=unit)
        book(side, center, owed[center], "payable" if side == Kind.RECEIVABLE else "to be billed")
        for kind, share in zip(kinds, shares, strict=True):
            book(kind, center, -share, Kind(kind).label)
    book(side, "", tax, "tax")
    book(Kind.TAX, "", -tax, Kind.TAX.label)
    book(Kind.PREPAID, "", set_off, "paid ahead")
    book(side, "", -set_off, "paid ahead")
    return lines


def parts_of(exact: Iterable[tuple[str, str, Decimal]], *, fx_rate: Decimal) -> dict[str, dict[str, Decimal]]:
    """Exact amounts by cost centre and kind, from what lines of each category make in USD."""
    parts: dict[str, dict[str, Decimal]] = {}
    for center, category, amount_usd in exact:
        if kind := KINDS.get(category):
            kinds = parts.setdefault(center, {})
            kinds[kind] = kinds.get(kind, ZERO) + EXACT.multiply(amount_usd, fx_rate)
    return parts


def reversed_on(day: date, lines: Sequence[JournalLine]) -> Iterator[JournalLine]:
    """The same entries the other way round."""
    for line in lines:
        memo, reference = f"Reversed: {line.memo}", f"{line.reference}-R"
        yield replace(line, date=day, debit=line.credit, credit=line.debit, memo=memo, reference=reference)


def journal_csv(lines: Iterable[JournalLine]) -> bytes:
    """A journal as RFC 4180 CSV, every value quoted, amounts with the digits of their currency."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n", quoting=csv.QUOTE_ALL)
    writer.writerow(COLUMNS)
    for line in lines:
        unit = minor_unit(line.currency)
        amounts = [f"{amount.quantize(unit):f}" if amount else "" for amount in (line.debit, line.credit)]
        writer.writerow(
            (
                line.date,
                cell(line.account),
                cell(line.cost_center),
                *amounts,
                line.currency,
                cell(line.memo),
                line.reference,
            )
        )
    return out.getvalue().encode()


def file_name(tenant: Tenant, month: str) -> str:
    """The name of a journal's file."""
    return f"{tenant.slug}-{month}-journal.csv"


def _accounts(tenant: Tenant) -> Account:
    """Find accounts: that of the tenant and the cost centre before that of the tenant, and both before everybody's."""
    known = {
        (row.kind, row.tenant_id, row.cost_center): row.code
        for row in GlAccount.objects.filter(tenant=tenant) | GlAccount.objects.filter(tenant=None)
    }

    def account(kind: str, center: str) -> str:
        for whose, of in ((tenant.pk, center), (tenant.pk, ""), (None, center), (None, "")):
            if code := known.get((kind, whose, of)):
                return code
        where = f" of cost centre {center}" if center else ""
        raise NoAccount(
            f"no account is set for {Kind(kind).label}{where} of {tenant}: enter it under GL accounts"
        )

    return account


def _last_day(period: BillingPeriod) -> date:
    return (period.ends_at.astimezone(ZoneInfo(period.timezone)) - timedelta(microseconds=1)).date()
