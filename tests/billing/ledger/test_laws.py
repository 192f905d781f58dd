"""The laws of money that the database keeps by itself, whoever asks."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import Error, IntegrityError, connection, transaction
from django.utils.timezone import now

from billing.models import BillingPeriod, BudgetWindow, PriceRow, UsageRecord
from tenants.models import Tenant

pytestmark = pytest.mark.django_db

Insert = Callable[..., uuid.UUID]


def period_at(tenant: Tenant, at: datetime) -> BillingPeriod:
    with connection.cursor() as cursor:
        cursor.execute("SELECT billing_period_at(%s, %s)", [tenant.pk, at])
        return BillingPeriod.objects.get(pk=cursor.fetchone()[0])


@pytest.fixture
def insert(tenant: Tenant) -> Insert:
    """Put a row into the ledger by hand, as its owner may."""

    def run(*, table: str = "billing_usagerecord", at: datetime | None = None, **values: Any) -> uuid.UUID:
        at = at or now()
        row = {
            "id": uuid.uuid4(),
            "occurred_at": at,
            "tenant_id": tenant.pk,
            "period_id": values.pop("period_id", None) or period_at(tenant, at).pk,
            "usage_source": "manual",
            "billed_cost": Decimal(1),
        } | values
        columns = ", ".join(row)
        with transaction.atomic(), connection.cursor() as cursor:
            marks = ", ".join(["%s"] * len(row))
            cursor.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", list(row.values()))
        return row["id"]

    return run


def refused(sql: str, parameters: Any = ()) -> str:
    with pytest.raises(Error) as error, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql, parameters)
    return str(error.value)


def partition_of(at: datetime, parent: str = "billing_usagerecord") -> str:
    return f"{parent}_{at.astimezone(UTC):%Y_%m}"


def test_it_works(insert: Insert) -> None:
    assert UsageRecord.objects.get(pk=insert()).billed_cost == 1


@pytest.mark.parametrize("name", ["billing_usagerecord", "billing_usageline", "partition"])
def test_the_ledger_is_append_only_also_in_its_partitions(insert: Insert, name: str) -> None:
    record_id = insert()
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO billing_usageline SELECT id, 1, occurred_at, tenant_id, 'input', 1, 1, NULL, 1, 1, 1, 1, 1"
            " FROM billing_usagerecord WHERE id = %s",
            [record_id],
        )
    table = partition_of(now()) if name == "partition" else name
    column = "meter" if name == "billing_usageline" else "reason"
    assert "append-only" in refused(f"UPDATE {table} SET {column} = 'x'")
    assert "append-only" in refused(f"DELETE FROM {table}")
    assert "append-only" in refused(f"TRUNCATE {table}")


def test_nothing_enters_a_month_that_is_being_closed(tenant: Tenant, insert: Insert) -> None:
    last_month = now() - timedelta(days=35)
    period = period_at(tenant, last_month)
    insert(at=last_month)
    BillingPeriod.objects.filter(pk=period.pk).update(status="closing")
    for table in ("billing_usagerecord", partition_of(last_month)):
        with pytest.raises(IntegrityError, match="nothing enters it any more"):
            insert(table=table, at=last_month, period_id=period.pk)


def test_a_late_row_goes_into_the_open_month_as_a_correction_and_only_there(
    tenant: Tenant, insert: Insert
) -> None:
    last_month = now() - timedelta(days=35)
    here = period_at(tenant, now())
    with pytest.raises(IntegrityError, match="charge class Correction"):
        insert(at=last_month, period_id=here.pk)
    insert(at=last_month, period_id=here.pk, charge_class="Correction")
    with pytest.raises(IntegrityError, match="charge class Correction"):
        insert(period_id=here.pk, charge_class="Correction")


def test_a_row_stays_in_a_period_of_its_own_tenant(insert: Insert) -> None:
    other = Tenant.objects.create(slug=f"other-{uuid.uuid4().hex[:8]}", name="Other")
    with pytest.raises(IntegrityError, match="is not one of tenant"):
        insert(period_id=period_at(other, now()).pk)
    with pytest.raises(IntegrityError, match="is not one of tenant"):
        insert(period_id=10**12)


def test_a_correction_says_what_it_corrects_and_a_hit_buys_nothing(insert: Insert) -> None:
    with pytest.raises(IntegrityError):
        insert(kind="correction")
    with pytest.raises(IntegrityError):
        insert(usage_source="gateway_cache", input_tokens=5)
    with pytest.raises(IntegrityError):
        insert(attempt_id=uuid.uuid4())


def test_one_attempt_has_one_usage_row(insert: Insert) -> None:
    at, attempt_id = now(), uuid.uuid4()
    insert(at=at, id=attempt_id, attempt_id=attempt_id)
    with pytest.raises(IntegrityError):
        insert(at=at, id=attempt_id, attempt_id=attempt_id)


def test_months_follow_each_other_without_gap_or_overlap(tenant: Tenant) -> None:
    october = period_at(tenant, datetime(2026, 10, 15, tzinfo=UTC))
    november = period_at(tenant, datetime(2026, 11, 15, tzinfo=UTC))
    assert october.ends_at == november.starts_at == datetime(2026, 10, 31, 23, tzinfo=UTC)
    assert period_at(tenant, october.ends_at - timedelta(microseconds=1)) == october
    with pytest.raises(IntegrityError), transaction.atomic():
        BillingPeriod.objects.create(
            tenant=tenant, label="2026-99", starts_at=october.starts_at, ends_at=november.ends_at
        )


@pytest.mark.parametrize("zone", ["America/Los_Angeles", "Asia/Tokyo"])
def test_a_change_of_time_zone_leaves_no_moment_without_a_period(tenant: Tenant, zone: str) -> None:
    before = period_at(tenant, datetime(2026, 10, 15, tzinfo=UTC))
    tenant.timezone = zone
    tenant.save()
    after = [period_at(tenant, before.ends_at + timedelta(hours=hours)) for hours in (0, 1, 9, 24, 24 * 20)]
    assert after[0].starts_at == before.ends_at
    assert {period.label for period in after} == {"2026-11"}
    assert period_at(tenant, after[0].ends_at).starts_at == after[0].ends_at


def test_a_closed_period_has_a_digest(tenant: Tenant) -> None:
    period = period_at(tenant, now())
    with pytest.raises(IntegrityError), transaction.atomic():
        BillingPeriod.objects.filter(pk=period.pk).update(status="closed", closed_at=now(), digest="")


def price(**values: Any) -> PriceRow:
    row = {"provider": "p", "model": "m", "meter": "input", "unit_price": Decimal(1), "source": "test"}
    return PriceRow(**row | {"valid_from": datetime(2026, 1, 1, tzinfo=UTC)} | values)


def test_a_price_is_never_edited_only_superseded_once() -> None:
    row = price()
    row.save()
    assert "immutable" in refused("UPDATE billing_pricerow SET unit_price = 0 WHERE id = %s", [row.pk])
    assert "immutable" in refused("DELETE FROM billing_pricerow WHERE id = %s", [row.pk])
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    assert "append-only" in refused("TRUNCATE billing_pricerow CASCADE")
    PriceRow.objects.filter(pk=row.pk).update(superseded_at=now())
    assert "immutable" in refused("UPDATE billing_pricerow SET superseded_at = NULL WHERE id = %s", [row.pk])


def test_at_any_moment_a_meter_has_one_price_in_its_context(tenant: Tenant) -> None:
    row = price(valid_to=datetime(2026, 6, 1, tzinfo=UTC))
    row.save()
    with pytest.raises(IntegrityError, match="price_one_at_a_time"), transaction.atomic():
        price(valid_from=datetime(2026, 5, 31, tzinfo=UTC)).save()
    price(valid_from=datetime(2026, 6, 1, tzinfo=UTC)).save()
    for other in (
        {"processing": "batch"},
        {"region": "us"},
        {"meter": "output"},
        {"above_input_tokens": 200_000},
        {"book": "cost"},
        {"book": "contract", "tenant": tenant},
    ):
        price(**other).save()
    PriceRow.objects.filter(pk=row.pk).update(superseded_at=now())
    price(unit_price=Decimal(2), valid_to=datetime(2026, 6, 1, tzinfo=UTC)).save()


def test_a_contract_belongs_to_a_tenant(tenant: Tenant) -> None:
    for wrong in ({"book": "contract"}, {"tenant": tenant}):
        with pytest.raises((IntegrityError, ValidationError)), transaction.atomic():
            price(**wrong).save()


def test_a_window_never_gives_back_more_than_it_holds(make_account: Callable[..., Any]) -> None:
    account = make_account({"limit": 1})
    with pytest.raises(IntegrityError), transaction.atomic():
        BudgetWindow.objects.create(
            budget_id=account.budgets[0].id,
            tenant_id=account.tenant_id,
            starts_at=now(),
            unit="usd",
            held=Decimal(-1),
        )
