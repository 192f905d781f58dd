"""Every watch sees what it is for in real rows of the ledger, says it once, and stops when it is over."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.utils.timezone import now

from billing.alerts import jump, spans, watches
from billing.alerts.rises import calendar_of
from billing.alerts.watching import look, watch
from billing.models import AlertEvent, AlertRule, UsageSpan, WatchClock
from tenants.models import Tenant

pytestmark = pytest.mark.django_db

BOOK = """
INSERT INTO billing_usagerecord (id, occurred_at, tenant_id, period_id, usage_source, list_cost, provider_cost,
    contracted_cost, billed_cost, request_id)
SELECT gen_random_uuid(), %(at)s, %(tenant)s, billing_period_at(%(tenant)s, %(at)s), %(source)s, %(usd)s, 0, %(usd)s, %(usd)s,
    gen_random_uuid()
FROM generate_series(1, %(times)s)
"""
HOLD = """
INSERT INTO billing_attempt (id, tenant_id, request_id, attempt_no, user_id, feature, provider, model, processing, occurred_at,
    hold_usd, hold_tokens, window_ids, hold_amounts, state, expires_at, void_reason, dims)
VALUES (%(id)s, %(tenant)s, %(id)s, 1, '', '', 'p', 'm', %(processing)s, %(at)s, 0.5, 1, '{}', '{}', 'sent', %(expires)s,
    '', '{}')
"""


def book(
    tenant: Tenant, usd: str, *, ago: timedelta = timedelta(0), times: int = 1, source: str = "manual"
) -> None:
    with connection.cursor() as cursor:
        at = now() - ago
        cursor.execute(BOOK, {"at": at, "tenant": tenant.pk, "usd": usd, "times": times, "source": source})


def minutes(number: float) -> timedelta:
    return timedelta(minutes=number)


def rule(tenant: Tenant, metric: str, threshold: str) -> AlertRule:
    return AlertRule.objects.create(tenant=tenant, metric=metric, threshold=Decimal(threshold))


def usual_days(tenant: Tenant, *, days: int = 14, requests: int = 4, hits: int = 0) -> datetime:
    """Spans of two weeks, alike every five minutes; returns the moment at which they end."""
    at = spans.floor(now()) + minutes(4)
    rows = [
        UsageSpan(
            tenant=tenant, at=spans.floor(at) - minutes(5 * number), billed_usd="0.04", dearest_usd="0.01", requests=requests,
            hits=hits,
        )
        for number in range(2, days * 288)
    ]  # fmt: skip
    UsageSpan.objects.bulk_create(rows)
    return at


def spent(tenant: Tenant, at: datetime, usd: str, **fields: Any) -> None:
    """What the two last spans say."""
    for begins in (spans.floor(at) - minutes(5), spans.floor(at)):
        values = {"dearest_usd": "0.01", "requests": 40, **fields}
        UsageSpan.objects.create(tenant=tenant, at=begins, billed_usd=usd, **values)


def test_it_works(tenant: Tenant) -> None:
    rule(tenant, "day_spend", "5")
    book(tenant, "5.25")
    assert watch() >= 1
    event = AlertEvent.objects.get(tenant=tenant)
    assert (event.metric, event.value, event.threshold) == ("day_spend", Decimal("5.25"), Decimal("5"))
    assert event.ends_at > now()


def test_it_tells_a_day_once(tenant: Tenant) -> None:
    rule(tenant, "day_spend", "5")
    book(tenant, "6")
    watch()
    book(tenant, "6")
    watch(at=now() + minutes(1))
    event = AlertEvent.objects.get(tenant=tenant)
    assert (event.value, event.count) == (12, 1)


def test_it_leaves_a_day_below_its_sum_alone(tenant: Tenant) -> None:
    rule(tenant, "day_spend", "5")
    book(tenant, "4.99")
    watch()
    assert not AlertEvent.objects.filter(tenant=tenant).exists()


def test_spans_are_the_ledgers_sums(tenant: Tenant) -> None:
    for ago in (0, 1, 7, 16, 200):
        book(tenant, "0.25", ago=minutes(ago), times=3)
    book(tenant, "0", times=2, source="gateway_cache")
    for _ in range(3):  # what is summed again is the same
        watch()
    rows = UsageSpan.objects.filter(tenant=tenant)
    assert sum(row.billed_usd for row in rows) == Decimal("3.75")
    assert (sum(row.requests for row in rows), sum(row.hits for row in rows)) == (17, 2)
    assert {row.dearest_usd for row in rows} <= {Decimal("0.25"), Decimal(0)}


def test_spans_go_on_after_a_pause_in_steps(tenant: Tenant) -> None:
    book(tenant, "0.25", ago=timedelta(days=3))
    WatchClock.objects.update_or_create(name=spans.CLOCK, defaults={"at": now() - timedelta(days=4)})
    rounds = 0
    while (done := spans.refresh(at=now())) and done < now() - minutes(1):
        rounds += 1
    assert rounds == 4 * 24 / (spans.LONGEST_STEP / timedelta(hours=1)) - 1
    assert UsageSpan.objects.get(tenant=tenant).billed_usd == Decimal("0.25")


def test_a_jump_is_found_without_a_rule(tenant: Tenant) -> None:
    at = usual_days(tenant)
    spent(tenant, at, "0.40")
    look([jump.find], at=at)
    event = AlertEvent.objects.get(tenant=tenant)
    assert (event.metric, event.rule) == ("spend_jump", None)
    assert 10 < event.value < 20
    assert "times the usual" in event.message


def test_a_rule_that_is_off_switches_the_jump_off(tenant: Tenant) -> None:
    AlertRule.objects.create(tenant=tenant, metric="spend_jump", threshold=5, is_active=False)
    at = usual_days(tenant)
    spent(tenant, at, "0.40")
    assert jump.find(at=at) == []


@pytest.mark.parametrize(
    ("usd", "fields"),
    [
        ("0.10", {}),
        ("0.40", {"requests": 3}),
        ("0.40", {"dearest_usd": "0.38"}),
    ],
    ids=["less than the threshold", "a few requests", "one dear request"],
)
def test_what_is_no_jump(tenant: Tenant, usd: str, fields: Any) -> None:
    at = usual_days(tenant)
    spent(tenant, at, usd, **fields)
    assert jump.find(at=at) == []


def test_what_happens_every_day_is_no_jump(tenant: Tenant) -> None:
    at = usual_days(tenant)
    for days in range(1, 15):
        UsageSpan.objects.filter(
            tenant=tenant,
            at__gte=spans.floor(at) - timedelta(days=days, minutes=5),
            at__lte=at - timedelta(days=days),
        ).update(billed_usd="0.40", requests=40)
    spent(tenant, at, "0.42")
    assert jump.find(at=at) == []


def test_a_quiet_hour_is_compared_with_a_share_of_all_hours(tenant: Tenant) -> None:
    at = usual_days(tenant)
    UsageSpan.objects.filter(tenant=tenant).update(billed_usd="2")
    for days in range(15):
        past = at - timedelta(days=days)
        hour = UsageSpan.objects.filter(tenant=tenant, at__gte=past - minutes(70), at__lt=past + minutes(60))
        hour.update(billed_usd="0.02")
    spent(tenant, at, "0.30")  # thirty times the hour's, and a fraction of what most hours cost
    assert jump.find(at=at) == []
    UsageSpan.objects.filter(tenant=tenant, at__gte=spans.floor(at) - minutes(5)).update(billed_usd="0.60")
    assert len(jump.find(at=at)) == 1


def test_much_dearer_requests_are_a_jump_though_they_are_no_more(tenant: Tenant) -> None:
    at = usual_days(tenant, requests=15)
    spent(tenant, at, "0.40", requests=15)
    assert len(jump.find(at=at)) == 1


def test_a_busy_hour_may_go_on(tenant: Tenant) -> None:
    at = usual_days(tenant)
    spent(tenant, at, "0.20")
    assert len(jump.find(at=at)) == 1
    UsageSpan.objects.filter(
        tenant=tenant, at__gte=at - minutes(70), at__lt=spans.floor(at) - minutes(5)
    ).update(billed_usd="0.14", requests=20)
    assert jump.find(at=at) == []


def test_an_incident_of_yesterday_hides_none_of_today(tenant: Tenant) -> None:
    at = usual_days(tenant)
    hour = {"at__gte": at - timedelta(days=7, minutes=40), "at__lt": at - timedelta(days=7, minutes=-40)}
    UsageSpan.objects.filter(tenant=tenant, **hour).update(billed_usd="4", requests=400)
    spent(tenant, at, "0.40")
    assert len(jump.find(at=at)) == 1


def test_the_same_hour_is_the_same_on_the_clock_and_on_days_alike() -> None:
    zone = ZoneInfo("Europe/Berlin")
    monday = datetime(2026, 3, 30, 10, tzinfo=zone).astimezone(UTC)  # clocks went forward the day before
    calendar = calendar_of(monday, zone)
    days = [(monday - minutes(5 * lag)).astimezone(zone) for lag in calendar.alike]
    assert {(day.hour, day.minute) for day in days} == {(10, 0)}
    assert [day.weekday() for day in days] == [4, 3, 2, 1, 0, 4, 3, 2, 1, 0]
    begins = [(monday - minutes(5 * ago)).astimezone(zone) for ago, _ in calendar.whole_days]
    assert {(day.hour, day.minute) for day in begins} == {(0, 0)}
    assert [is_weekend for _, is_weekend in calendar.whole_days] == [True, True, *[False] * 5] * 2


def test_it_needs_a_history_to_jump_from(tenant: Tenant) -> None:
    at = spans.floor(now()) + minutes(4)
    UsageSpan.objects.create(
        tenant=tenant, at=spans.floor(at) - minutes(60), billed_usd="0.1", dearest_usd=0, requests=5
    )
    spent(tenant, at, "100")
    assert jump.find(at=at) == []


def test_a_days_history_is_enough(tenant: Tenant) -> None:
    at = usual_days(tenant, days=2)
    spent(tenant, at, "0.40")
    assert [found.tenant_id for found in jump.find(at=at)] == [tenant.pk]


def test_a_hit_rate_that_falls_is_found(tenant: Tenant) -> None:
    rule(tenant, "hit_rate_drop", "20")
    at = usual_days(tenant, requests=10, hits=5)
    UsageSpan.objects.filter(tenant=tenant, at__gte=at - minutes(65)).update(hits=1)
    (found,) = watches.hit_rate(at=at)
    assert 38 < found.value <= 40
    UsageSpan.objects.filter(tenant=tenant, at__gte=at - minutes(65)).update(hits=5)
    assert watches.hit_rate(at=at) == []


def test_old_holds_are_found_and_batches_are_not(tenant: Tenant) -> None:
    rule(tenant, "hold_minutes", "30")
    with connection.cursor() as cursor:
        for processing in ("online", "batch"):
            asked = {
                "id": uuid4(),
                "tenant": tenant.pk,
                "processing": processing,
                "at": now() - minutes(45),
                "expires": now() + minutes(5),
            }
            cursor.execute(HOLD, asked)
    (found,) = [one for one in watches.old_holds(at=now()) if one.tenant_id == tenant.pk]
    assert 44 < found.value < 46
    assert "1 holds" in found.message


def test_operators_hear_of_holds_that_nothing_ends(tenant: Tenant) -> None:
    with connection.cursor() as cursor:
        asked = {"id": uuid4(), "tenant": tenant.pk, "processing": "online", "at": now() - minutes(90)}
        cursor.execute(HOLD, {**asked, "expires": now() - minutes(60)})
    (found,) = [one for one in watches.old_holds(at=now()) if one.tenant_id is None]
    assert found.value >= 59
    assert "Look at the workers" in found.message


def test_a_watch_that_fails_stops_no_other(tenant: Tenant) -> None:
    def broken(*, at: datetime) -> list[Any]:
        raise RuntimeError("out of order")

    at = usual_days(tenant)
    spent(tenant, at, "0.40")
    with pytest.raises(ExceptionGroup):
        look([broken, jump.find], at=at)
    assert AlertEvent.objects.filter(tenant=tenant, metric="spend_jump").exists()
