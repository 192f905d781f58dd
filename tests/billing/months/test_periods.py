"""The months of a tenant tile time: every moment has one, whatever zones the tenant has moved through."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random

import pytest
from django.core.exceptions import ValidationError
from django.db import Error, IntegrityError, connection, transaction

from billing.ledger.periods import period_at
from billing.models import BillingPeriod
from tenants.models import Tenant
from tests.world import new_tenant

pytestmark = pytest.mark.django_db

ZONES = (
    *(
        "Pacific/Kiritimati",
        "Pacific/Niue",
        "Asia/Kathmandu",
        "America/St_Johns",
        "America/Los_Angeles",
        "UTC",
    ),
    *(
        "Pacific/Auckland",
        "Pacific/Chatham",
        "Pacific/Apia",
        "Europe/Berlin",
        "Africa/Casablanca",
        "Asia/Tokyo",
    ),
    *(
        "Australia/Lord_Howe",
        "America/Sao_Paulo",
        "Asia/Tehran",
        "Antarctica/Troll",
        "Etc/GMT+12",
        "Etc/GMT-14",
    ),
)


@pytest.fixture
def tenant() -> Tenant:
    return new_tenant(timezone="UTC")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def move(tenant: Tenant, zone: str) -> None:
    tenant.timezone = zone
    tenant.save()


def by_hand(tenant: Tenant, label: str, starts_at: str, ends_at: str, **values: object) -> BillingPeriod:
    return BillingPeriod.objects.create(
        tenant=tenant, label=label, starts_at=utc(starts_at), ends_at=utc(ends_at), **values
    )


def spans(tenant: Tenant) -> list[tuple[str, datetime, datetime]]:
    periods = BillingPeriod.objects.filter(tenant=tenant).order_by("starts_at")
    return list(periods.values_list("label", "starts_at", "ends_at"))


def assert_tiled(tenant: Tenant) -> None:
    found = spans(tenant)
    for (label, _, ends_at), (next_label, starts_at, _) in pairwise(found):
        assert ends_at == starts_at, (label, next_label)
        assert label < next_label
    assert len({label for label, *_ in found}) == len(found)


def test_it_works(tenant: Tenant) -> None:
    move(tenant, "Europe/Berlin")
    period = period_at(tenant, at=utc("2026-11-15"))
    assert (period.label, period.timezone) == ("2026-11", "Europe/Berlin")
    assert (period.starts_at, period.ends_at) == (utc("2026-10-31T23:00"), utc("2026-11-30T23:00"))


@pytest.mark.parametrize("first", ["2026-11-30T12:00", "2026-12-05T00:00", "2026-12-31T23:30"])
def test_a_month_after_a_move_westward_begins_where_the_former_ended(tenant: Tenant, first: str) -> None:
    move(tenant, "Pacific/Auckland")
    november = period_at(tenant, at=utc("2026-11-15"))
    assert november.ends_at == utc("2026-11-30T11:00")
    move(tenant, "America/Los_Angeles")
    december = period_at(tenant, at=utc(first))
    assert (december.label, december.starts_at) == ("2026-12", november.ends_at)
    assert december.ends_at == utc("2027-01-01T08:00")
    assert period_at(tenant, at=utc("2026-11-30T11:30")) == december


def test_a_month_after_a_move_eastward_is_shorter(tenant: Tenant) -> None:
    move(tenant, "America/Los_Angeles")
    november = period_at(tenant, at=utc("2026-11-15"))
    move(tenant, "Pacific/Auckland")
    december = period_at(tenant, at=utc("2026-12-20"))
    assert (december.starts_at, december.ends_at) == (november.ends_at, utc("2026-12-31T11:00"))


def test_a_period_keeps_its_zone(tenant: Tenant) -> None:
    move(tenant, "Pacific/Auckland")
    november = period_at(tenant, at=utc("2026-11-15"))
    move(tenant, "America/Los_Angeles")
    december = period_at(tenant, at=utc("2026-12-15"))
    assert period_at(tenant, at=utc("2026-11-16")).timezone == "Pacific/Auckland"
    assert december.timezone == "America/Los_Angeles"
    with pytest.raises(IntegrityError, match="are fixed"), transaction.atomic():
        BillingPeriod.objects.filter(pk=november.pk).update(timezone="UTC")


def test_months_without_a_call_are_made_too(tenant: Tenant) -> None:
    move(tenant, "Asia/Tokyo")
    period_at(tenant, at=utc("2025-11-15"))
    move(tenant, "Europe/Berlin")
    period_at(tenant, at=utc("2026-03-15"))
    assert [label for label, *_ in spans(tenant)] == ["2025-11", "2025-12", "2026-01", "2026-02", "2026-03"]
    assert_tiled(tenant)


def test_a_moment_before_all_periods_has_one(tenant: Tenant) -> None:
    move(tenant, "Asia/Tokyo")
    period_at(tenant, at=utc("2026-11-15"))
    move(tenant, "Pacific/Niue")
    july = period_at(tenant, at=utc("2026-07-15"))
    assert (july.label, july.timezone) == ("2026-07", "Asia/Tokyo")
    assert [label for label, *_ in spans(tenant)] == ["2026-07", "2026-08", "2026-09", "2026-10", "2026-11"]
    assert_tiled(tenant)


def test_a_gap_before_an_open_month_becomes_part_of_it(tenant: Tenant) -> None:
    move(tenant, "America/Los_Angeles")
    by_hand(tenant, "2026-11", "2026-10-31T11:00", "2026-11-30T11:00", timezone="Pacific/Auckland")
    december = by_hand(tenant, "2026-12", "2026-11-30T12:00", "2027-01-01T08:00")
    assert period_at(tenant, at=utc("2026-11-30T11:30")) == december
    assert_tiled(tenant)


def test_a_gap_of_months_is_filled_to_its_edges(tenant: Tenant) -> None:
    move(tenant, "Asia/Kathmandu")
    by_hand(tenant, "2026-08", "2026-07-31T11:00", "2026-08-31T12:00")
    by_hand(tenant, "2026-12", "2026-12-09T09:00", "2027-01-01T08:00")
    period_at(tenant, at=utc("2026-12-05"))
    assert [label for label, *_ in spans(tenant)] == ["2026-08", "2026-09", "2026-10", "2026-11", "2026-12"]
    assert_tiled(tenant)


def test_what_happened_in_a_gap_before_a_sealed_month_goes_on_after_it(tenant: Tenant) -> None:
    by_hand(tenant, "2026-08", "2026-08-01", "2026-08-31T20:00", status="closing")
    by_hand(tenant, "2026-09", "2026-09-01", "2026-10-01", status="closing")
    with connection.cursor() as cursor:
        cursor.execute("SELECT billing_entry_period(%s, %s)", (tenant.pk, utc("2026-08-31T21:00")))
        entered = BillingPeriod.objects.get(pk=cursor.fetchone()[0])
    assert (entered.label, entered.status) == ("2026-10", "open")


def test_periods_made_by_hand_under_odd_names_end_the_search_too(tenant: Tenant) -> None:
    by_hand(tenant, "2026-12", "2026-08-03", "2026-08-17")
    by_hand(tenant, "2026-08", "2026-11-20", "2026-12-20")
    for day in (
        "2026-05-05",
        "2026-08-02",
        "2026-08-20",
        "2026-10-01",
        "2026-11-19",
        "2026-12-21",
        "2027-02-01",
    ):
        period = period_at(tenant, at=utc(day))
        assert period.starts_at <= utc(day) < period.ends_at


def test_a_moment_out_of_all_reason_is_an_error_and_no_wait(tenant: Tenant) -> None:
    period_at(tenant, at=utc("2026-11-15"))
    with pytest.raises(IntegrityError, match="no period within"), transaction.atomic():
        period_at(tenant, at=utc("2926-11-15"))


def test_an_open_month_may_grow_backwards_and_nothing_else(tenant: Tenant) -> None:
    november = period_at(tenant, at=utc("2026-11-15"))
    month = BillingPeriod.objects.filter(pk=november.pk)
    for change in (
        {"starts_at": november.starts_at + timedelta(hours=1)},
        {"ends_at": november.ends_at + timedelta(hours=1)},
        {"label": "2026-10"},
    ):
        with pytest.raises(IntegrityError, match="are fixed"), transaction.atomic():
            month.update(**change)
    month.update(starts_at=november.starts_at - timedelta(hours=1))
    month.update(status="closing")
    with pytest.raises(IntegrityError, match="are fixed"), transaction.atomic():
        month.update(starts_at=november.starts_at - timedelta(hours=2))


@pytest.mark.parametrize("seed", range(12))
def test_a_tenant_that_moves_all_the_time_has_one_period_for_every_moment(tenant: Tenant, seed: int) -> None:
    random = Random(seed)
    known: dict[datetime, BillingPeriod] = {}
    for _ in range(60):
        if random.random() < 0.5:
            move(tenant, random.choice(ZONES))
        edge = utc(f"2026-{random.randint(1, 12):02d}-01")
        at = edge + timedelta(hours=random.uniform(-30, 30), days=random.choice((0, 0, 0, 14)))
        known[at] = period_at(tenant, at=at)
    assert_tiled(tenant)
    for at, period in known.items():
        assert period_at(tenant, at=at) == period


def test_a_zone_that_the_database_does_not_know_is_refused(tenant: Tenant) -> None:
    with pytest.raises(Error, match="not recognized"), transaction.atomic():
        move(tenant, "localtime")
    with pytest.raises(ValidationError, match="IANA"):
        tenant.full_clean()
