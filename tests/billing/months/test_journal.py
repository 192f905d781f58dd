"""The journal of a month: balanced entries for a general ledger, and accruals that reverse themselves."""

import csv
import io
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.utils.timezone import now
from hypothesis import given
from hypothesis import strategies as st

from billing.contracts.commitments import set_commitment
from billing.contracts.currencies import set_rate
from billing.contracts.entries import propose_entry
from billing.journal.entries import (
    JournalLine,
    NoAccount,
    entries,
    journal_csv,
    journal_of,
    parts_of,
    reversed_on,
)
from billing.models import BillingDetails, GlAccount
from billing.months.amounts import divide_owed, minor_unit, round_to_currency
from tests.billing.shop import Shop

ACCOUNTS = {
    "receivable": "1400",
    "revenue": "8400",
    "credits": "8730",
    "commitments": "8410",
    "tax": "1776",
    "accrual": "1410",
}


@pytest.fixture
def accounts(shop: Shop) -> Iterator[None]:
    """The accounts of this shop."""
    for kind, code in ACCOUNTS.items():
        GlAccount.objects.create(kind=kind, code=code, tenant=shop.tenant)
    yield
    GlAccount.objects.filter(tenant=shop.tenant).delete()


def label(at: datetime) -> str:
    return f"{at:%Y-%m}"


def sums(lines: list[JournalLine]) -> dict[str, Decimal]:
    """What each account has, debits above zero."""
    found: dict[str, Decimal] = {}
    for line in lines:
        found[line.account] = found.get(line.account, Decimal(0)) + line.debit - line.credit
    return found


@pytest.mark.usefixtures("accounts")
def test_it_works(shop: Shop, last_month: datetime) -> None:
    BillingDetails.objects.create(tenant=shop.tenant, tax="vat", vat_percent=Decimal(19))
    GlAccount.objects.create(tenant=shop.tenant, kind="revenue", cost_center="4711", code="8471")
    set_commitment(shop.tenant, span="month", amount_usd=Decimal(20), first_month=label(last_month))
    shop.call(last_month, {"input": 4_000_000}, cost_center="4711")
    shop.call(last_month, {"input": 1_000_000}, cost_center="=4712")
    propose_entry(
        shop.tenant, kind="credit", amount_usd=Decimal(3), reason="an outage", month=label(last_month),
        subject="cost_center", subject_value="4711",
    )  # fmt: skip
    statement = shop.close(last_month)
    lines = journal_of(shop.tenant, month=label(last_month))
    assert sums(lines) == {
        "1400": statement.total + statement.tax,
        "8471": Decimal(-10),
        "8400": Decimal("-2.5"),
        "8730": Decimal(3),
        "8410": Decimal("-7.5"),
        "1776": Decimal("-3.23"),
    }
    assert (statement.total, statement.tax) == (Decimal(17), Decimal("3.23"))
    assert {line.reference for line in lines} == {statement.code}
    rows = list(csv.DictReader(io.StringIO(journal_csv(lines).decode())))
    assert list(rows[0]) == [
        "date",
        "account",
        "cost_center",
        "debit",
        "credit",
        "currency",
        "memo",
        "reference",
    ]
    assert {row["cost_center"] for row in rows} == {"", "4711", "'=4712"}
    assert all(bool(row["debit"]) != bool(row["credit"]) for row in rows)
    last_day = (last_month.replace(day=1) + timedelta(days=32)).replace(day=1) - timedelta(days=1)
    assert {row["date"] for row in rows} == {f"{last_day:%Y-%m-%d}"}


@pytest.mark.usefixtures("accounts")
def test_an_open_month_is_accrued_and_reversed_on_the_first_of_the_next(shop: Shop) -> None:
    shop.call(now(), {"input": 4_000_000})
    lines = journal_of(shop.tenant, month=label(now()))
    accrued = [line for line in lines if not line.reference.endswith("-R")]
    undone = [line for line in lines if line.reference.endswith("-R")]
    assert sums(accrued) == {"1410": Decimal(10), "8400": Decimal(-10)}
    assert sums(lines) == {"1410": 0, "8400": 0}
    assert {line.date for line in accrued} == {now().date()}
    first = (now().replace(day=1) + timedelta(days=32)).replace(day=1).date()
    assert {line.date for line in undone} == {first}


@pytest.mark.usefixtures("accounts")
def test_it_is_in_the_currency_of_the_statement(shop: Shop, last_month: datetime) -> None:
    BillingDetails.objects.create(tenant=shop.tenant, currency="JPY")
    day = (last_month.replace(day=1) + timedelta(days=32)).replace(day=1) - timedelta(days=1)
    set_rate(day=day.date(), base="USD", quote="JPY", rate=Decimal("152.37"), source="test")
    for center in ("a", "b", "c"):
        shop.call(last_month, {"input": 444_444}, cost_center=center)
    statement = shop.close(last_month)
    lines = journal_of(shop.tenant, month=label(last_month))
    assert {line.currency for line in lines} == {"JPY"}
    assert sums(lines) == {"1400": statement.total, "8400": -statement.total}
    assert {amount % 1 for line in lines for amount in (line.debit, line.credit)} == {0}


def test_a_missing_account_is_named(shop: Shop, last_month: datetime) -> None:
    shop.call(last_month, {"input": 4_000_000}, cost_center="4711")
    shop.close(last_month)
    with pytest.raises(NoAccount, match="no account is set for receivables of cost centre 4711"):
        journal_of(shop.tenant, month=label(last_month))


@pytest.mark.usefixtures("accounts")
def test_the_command_writes_what_the_page_sends(shop: Shop, last_month: datetime, tmp_path: Path) -> None:
    shop.call(last_month, {"input": 4_000_000})
    shop.close(last_month)
    call_command(
        "journal", "--tenant", shop.tenant.slug, "--month", label(last_month), "--output", str(tmp_path)
    )
    written = (tmp_path / f"{shop.tenant.slug}-{label(last_month)}-journal.csv").read_bytes()
    assert written == journal_csv(journal_of(shop.tenant, month=label(last_month)))
    with pytest.raises(CommandError, match="has a month"):
        call_command("journal", "--tenant", shop.tenant.slug, "--month", "1999-01")


AMOUNTS = st.decimals(min_value=-(10**6), max_value=10**6, places=12)
CENTERS = st.lists(
    st.tuples(
        st.sampled_from(["", "4711", "4712", "4713"]),
        st.sampled_from(["usage", "correction", "adjustment", "credit", "commitment"]),
        AMOUNTS,
    ),
    max_size=20,
)


@given(
    exact=CENTERS,
    currency=st.sampled_from(["USD", "JPY", "KWD", "EUR"]),
    rate=st.decimals(min_value="0.000001", max_value=1000, places=6),
    tax=st.decimals(min_value=-100, max_value=100, places=3),
)
def test_debits_are_credits_to_the_last_minor_unit(
    exact: list[tuple[str, str, Decimal]], currency: str, rate: Decimal, tax: Decimal
) -> None:
    centers: dict[str, Decimal] = {}
    for center, _, amount in exact:
        centers[center] = centers.get(center, Decimal(0)) + amount
    owed = divide_owed(centers, currency=currency, fx_rate=rate)
    tax = round_to_currency(tax, currency)
    lines = entries(
        parts_of(exact, fx_rate=rate), owed, tax=tax, currency=currency,
        account=lambda kind, center: ACCOUNTS[kind], side="receivable", on=date(2026, 10, 31),
        memo="m", reference="r",
    )  # fmt: skip
    unit = minor_unit(currency)
    assert sum(line.debit for line in lines) == sum(line.credit for line in lines)
    assert sums(lines).get("1400", 0) == sum(owed.values()) + tax
    for line in lines:
        assert line.debit >= 0
        assert line.credit >= 0
        assert (line.debit + line.credit) % unit == 0
        assert (line.debit == 0) != (line.credit == 0)
    for center in owed:
        ofit = [line for line in lines if line.cost_center == center]
        assert sum(line.debit - line.credit for line in ofit) == 0
    assert set(sums([*lines, *reversed_on(date(2026, 11, 1), lines)]).values()) <= {Decimal(0)}


def test_accounts_stand_in_the_configuration_file(shop: Shop) -> None:
    from llm.configuration import ConfigurationError, apply_configuration

    text = f"""
tenants:
  - slug: {shop.tenant.slug}
gl_accounts:
  - {{kind: revenue, code: 8400, name: Revenue, tenant: {shop.tenant.slug}, cost_center: 4711}}
"""
    for expected in ("created", "unchanged"):
        changes = apply_configuration(text, source="file.yaml", environ={})
        assert {change.action for change in changes.changes if change.kind == "GL account"} == {expected}
    assert GlAccount.objects.get(tenant=shop.tenant).code == "8400"
    with pytest.raises(ConfigurationError, match=r"file\.yaml:5.*no tenant"):
        apply_configuration(
            text.replace(f"tenant: {shop.tenant.slug}", "tenant: nobody"), source="file.yaml", environ={}
        )
