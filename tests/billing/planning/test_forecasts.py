"""Finance asks how much a month will be when it is over, and is told how sure that is."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from billing.models import BudgetWindow
from billing.planning.forecasts import forecast_tenants, forecast_total, forecast_windows, open_windows
from billing.planning.pace import pace_of, runway_of
from tenants.models import Tenant
from tests.billing.planning.days import AT, TODAY, spend, window
from tests.world import new_tenant

pytestmark = pytest.mark.django_db
MONTH = datetime(2026, 9, 1, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC)
# ten dollars, a little more on every other day
EVEN = [9.5, 10.5] * 60


def weeks(workday: float, weekend: float, *, days: int = 120) -> list[float]:
    first = TODAY - timedelta(days=days)
    return [workday if (first + timedelta(days=n)).weekday() < 5 else weekend for n in range(days)]


def test_it_works(tenant: Tenant) -> None:
    spend(tenant, EVEN)
    forecast = forecast_tenants([tenant.pk], at=AT)[tenant.pk]
    assert forecast.spent == Decimal("140")  # exact: fourteen days
    assert forecast.is_known
    assert forecast.low < forecast.middle < forecast.high
    assert forecast.low < 295 < forecast.high  # and fifteen and a half more
    assert abs(forecast.middle - 295) < 5
    assert forecast.high - forecast.low < 40
    assert forecast.time_percent == Decimal("48.3")


def test_weekdays_count_as_they_do(tenant: Tenant) -> None:
    spend(tenant, weeks(20, 1))
    forecast = forecast_tenants([tenant.pk], at=AT)[tenant.pk]
    # of the rest of September twelve are workdays, today's half is one, and there are four days of weekends
    rest = Decimal(11 * 20 + 10 + 4)
    assert forecast.spent + rest * Decimal("0.9") < forecast.middle < forecast.spent + rest * Decimal("1.1")
    assert forecast.low <= forecast.spent + rest <= forecast.high


def test_the_last_day_of_months_is_seen_ahead(tenant: Tenant) -> None:
    days = [
        500.0 if (TODAY - timedelta(days=180 - n - 1)).day == 1 else 10 + (n % 3) for n in range(180)
    ]  # a batch at the end of each month
    spend(tenant, days)
    forecast = forecast_tenants([tenant.pk], at=AT)[tenant.pk]
    assert forecast.low < forecast.spent + 500 + 15 * 11 < forecast.high
    assert forecast.middle > forecast.spent + 400


def test_growth_goes_on_but_not_for_ever(tenant: Tenant) -> None:
    spend(tenant, [10 * 1.01**n for n in range(120)])
    forecast = forecast_tenants([tenant.pk], at=AT)[tenant.pk]
    level = Decimal(10 * 1.01**120)
    assert forecast.middle - forecast.spent > level * Decimal("15.5")
    assert forecast.middle - forecast.spent < level * Decimal("15.5") * Decimal("1.2")


def test_who_is_new_gets_no_forecast_and_is_told_why(tenant: Tenant) -> None:
    spend(tenant, [5] * 9)
    forecast = forecast_tenants([tenant.pk], at=AT)[tenant.pk]
    assert not forecast.is_known
    assert forecast.low == forecast.middle == forecast.high == forecast.spent == 45
    assert forecast.note == "too little history for a forecast: 9 of 14 days"


def test_who_has_been_known_for_longer_gets_a_narrower_interval() -> None:
    known = []
    for days in (20, 60, 150):
        tenant = new_tenant()
        spend(
            tenant, [8, 12, 9, 11, 10, 14, 6] * 30 if days == 150 else ([8, 12, 9, 11, 10, 14, 6] * 30)[:days]
        )
        forecast = forecast_tenants([tenant.pk], at=AT)[tenant.pk]
        known.append(forecast.high - forecast.low)
    assert known[0] > known[1] > known[2]


def test_who_has_stopped_may_stay_so(tenant: Tenant) -> None:
    spend(tenant, [*EVEN, *[0.0] * 10, 0.0])
    forecast = forecast_tenants([tenant.pk], at=AT)[tenant.pk]
    assert forecast.low == forecast.middle == forecast.spent == Decimal("30.5")
    assert forecast.high > forecast.spent  # or come back


def test_a_tenant_of_nothing_is_expected_to_spend_nothing(tenant: Tenant) -> None:
    forecast = forecast_tenants([tenant.pk], at=AT)[tenant.pk]
    assert (forecast.spent, forecast.high, forecast.is_known) == (0, 0, False)


def test_many_tenants_take_one_statement_and_see_only_themselves() -> None:
    tenants = [new_tenant() for _ in range(5)]
    for number, tenant in enumerate(tenants):
        spend(tenant, [n * (number + 1) for n in EVEN])
    ids = [one.pk for one in tenants]
    with CaptureQueriesContext(
        connection,
    ) as queries:
        found = forecast_tenants(ids, at=AT)
    assert len(queries) == 1
    alone = forecast_tenants([ids[3]], at=AT)[ids[3]]
    assert found[ids[3]] == alone
    assert found[ids[3]].spent == found[ids[0]].spent * 4


def test_the_sum_of_all_is_forecast_as_one() -> None:
    tenants = [new_tenant() for _ in range(3)]
    for tenant in tenants:
        spend(tenant, EVEN)
    total = forecast_total([one.pk for one in tenants], at=AT)
    assert total.spent == 3 * 140
    assert total.low < 3 * 295 < total.high


def test_a_credit_does_not_make_days_to_come_cheaper(tenant: Tenant) -> None:
    spend(tenant, EVEN)
    spend(tenant, [-1000], until=TODAY - timedelta(days=3), usage_source="manual")
    forecast = forecast_tenants([tenant.pk], at=AT)[tenant.pk]
    assert forecast.spent == 140 - 1000
    assert forecast.low > forecast.spent


class TestWindows:
    def test_it_works(self, tenant: Tenant) -> None:
        spend(tenant, [n / 2 for n in EVEN], user_id="alice")
        spend(tenant, EVEN, user_id="bob")
        window(
            tenant,
            limit=80,
            spent="70.25",
            starts_at=MONTH[0],
            ends_at=MONTH[1],
            scope="user",
            subject="alice",
        )
        (alice,) = open_windows([tenant.pk], at=AT)
        forecast = forecast_windows([alice], at=AT)[alice.key]
        assert forecast.spent == Decimal("70.25")  # the window's own figure, not the days'
        assert forecast.low < Decimal("147.75") < forecast.high

    def test_its_own_unit_counts(self, tenant: Tenant) -> None:
        spend(tenant, EVEN)
        window(tenant, limit=1_000_000, spent=140_000, starts_at=MONTH[0], ends_at=MONTH[1], unit="tokens")
        windows = open_windows([tenant.pk], at=AT)
        forecast = forecast_windows(windows, at=AT)[windows[0].key]
        assert forecast.low < 295_000 < forecast.high
        assert forecast.high == forecast.high.to_integral_value()

    def test_all_shards_are_one_window(self, tenant: Tenant) -> None:
        spend(tenant, EVEN)
        row = window(tenant, limit=500, spent=100, starts_at=MONTH[0], ends_at=MONTH[1])
        BudgetWindow.objects.filter(pk=row.pk).update(allowance=250)
        row.pk, row.shard, row.allowance, row.spent = None, 1, Decimal(250), Decimal(40)
        row.save(force_insert=True)
        (both,) = open_windows([tenant.pk], at=AT)
        assert both.spent == 140

    def test_every_scope_finds_its_days(self, tenant: Tenant) -> None:
        from tenants.keys.editing import issue_key

        key, _ = issue_key(tenant, name="ci")
        whose = {
            "user_id": "u",
            "key_id": key.pk,
            "feature": "f",
            "project": "p",
            "cost_center": "c",
            "model": "m",
            "provider": "o",
        }
        spend(tenant, EVEN, **whose)
        subjects = {
            "tenant": "",
            "user": "u",
            "key": "ci",
            "feature": "f",
            "project": "p",
            "cost_center": "c",
            "model": "m",
            "provider": "o",
        }
        for scope, subject in subjects.items():
            window(
                tenant,
                limit=500,
                spent=140,
                starts_at=MONTH[0],
                ends_at=MONTH[1],
                scope=scope,
                subject=subject,
            )
        windows = open_windows([tenant.pk], at=AT)
        found = forecast_windows(windows, at=AT)
        assert {(one.scope, found[one.key].middle) for one in windows} == {
            (scope, found[windows[0].key].middle) for scope in subjects
        }

    def test_windows_of_several_spans_do_not_mix(self, tenant: Tenant) -> None:
        spend(tenant, EVEN)
        day = AT.replace(hour=0)
        window(tenant, limit=20, spent=5, starts_at=day, ends_at=day + timedelta(days=1), period="day")
        window(
            tenant,
            limit=100,
            spent=15,
            starts_at=day - timedelta(days=1),
            ends_at=day + timedelta(days=6),
            period="week",
        )
        window(tenant, limit=300, spent=140, starts_at=MONTH[0], ends_at=MONTH[1])
        windows = open_windows([tenant.pk], at=AT)
        found = forecast_windows(windows, at=AT)
        middles = {one.period: found[one.key].middle for one in windows}
        assert abs(middles["day"] - 10) < 1
        assert abs(middles["week"] - 70) < 3
        assert abs(middles["month"] - 295) < 5

    def test_a_stranger_is_not_read(self, tenant: Tenant) -> None:
        stranger = new_tenant("stranger")
        spend(stranger, [1000] * 120, user_id="alice")
        spend(tenant, EVEN, user_id="alice")
        window(
            tenant, limit=500, spent=140, starts_at=MONTH[0], ends_at=MONTH[1], scope="user", subject="alice"
        )
        windows = open_windows([tenant.pk], at=AT)
        assert forecast_windows(windows, at=AT)[windows[0].key].high < 400


class TestPaceAndRunway:
    def test_it_works(self, tenant: Tenant) -> None:
        spend(tenant, EVEN)
        window(tenant, limit="225.8", spent=140, starts_at=MONTH[0], ends_at=MONTH[1])
        (one,) = open_windows([tenant.pk], at=AT)
        forecast = forecast_windows([one], at=AT)[one.key]
        pace, runway = pace_of(one, forecast), runway_of(one.limit, forecast)
        assert str(pace) == "62 % spent, 48 % of the time gone"
        assert (pace.word, runway.is_empty) == ("fast", False)
        # 85.8 are left, some 10 a day: half of today, eight days, and a little more
        assert runway.earliest
        assert runway.likely
        assert runway.latest
        assert runway.earliest.day <= runway.likely.day == 24 <= runway.latest.day
        assert str(runway).startswith("empty between 2")

    def test_weekends_are_no_reason_to_be_slow(self, tenant: Tenant) -> None:
        spend(tenant, weeks(20, 1))
        monday = datetime(2026, 9, 14, tzinfo=UTC)
        window(
            tenant, limit=104, spent=30, starts_at=monday, ends_at=monday + timedelta(days=7), period="week"
        )
        (one,) = open_windows([tenant.pk], at=AT)
        pace = pace_of(one, forecast_windows([one], at=AT)[one.key])
        assert pace.time_percent < 22
        assert 28 < pace.usual_percent < 30
        assert pace.word == "on pace"
        assert "(usually 30 % spent by now)" in str(pace)

    def test_what_lasts_and_what_is_empty_say_so(self, tenant: Tenant) -> None:
        spend(tenant, EVEN)
        window(tenant, limit=10_000, spent=140, starts_at=MONTH[0], ends_at=MONTH[1])
        (one,) = open_windows([tenant.pk], at=AT)
        forecast = forecast_windows([one], at=AT)[one.key]
        assert str(runway_of(Decimal(10_000), forecast)) == "lasts"
        assert str(runway_of(Decimal(100), forecast)) == "empty now"

    def test_a_budget_without_end_is_looked_at_for_three_months(self, tenant: Tenant) -> None:
        spend(tenant, EVEN)
        start = datetime(1970, 1, 1, tzinfo=UTC)
        window(tenant, limit=1600, spent=1200, starts_at=start, ends_at=None, period="total")
        (one,) = open_windows([tenant.pk], at=AT)
        runway = runway_of(one.limit, forecast_windows([one], at=AT)[one.key])
        assert runway.likely
        assert 38 <= (runway.likely - TODAY).days <= 42
