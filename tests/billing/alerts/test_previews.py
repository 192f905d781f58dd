"""What a rule would have found is what its watch finds, and what is not kept is not guessed."""

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.utils.timezone import now

from billing.alerts import jump, previews, spans
from billing.alerts.previews import PASTS, preview
from billing.models import AgentHour, AlertRule, Budget, BudgetWindow, UsageSpan
from llm.models import RequestLog
from tenants.models import Tenant
from tests.billing.alerts.test_loops import book as book_session
from tests.billing.alerts.test_watching import minutes, usual_days

pytestmark = pytest.mark.django_db


def spans_at(tenant: Tenant, *ago: timedelta, **fields: Any) -> None:
    values = {"billed_usd": "3", "dearest_usd": "0.01", "requests": 40, **fields}
    for one in ago:
        UsageSpan.objects.update_or_create(tenant=tenant, at=spans.floor(now() - one), defaults=values)


def days(number: float) -> timedelta:
    return timedelta(days=number)


def test_it_works(tenant: Tenant) -> None:
    spans_at(tenant, days(2), days(2) - minutes(30), days(5), days(40), dearest_usd="0.75")
    seen = preview(tenant, "request_cost", Decimal("0.5"), at=now())
    assert seen.times == 2  # within an hour it is one alert, and forty days ago is too long ago
    today = now().date()
    assert [day for day, _ in seen.days] == [today - days(2), today - days(5)]
    assert preview(tenant, "request_cost", Decimal("0.8"), at=now()).times == 0


def test_every_rule_has_one() -> None:
    assert set(PASTS) == set(AlertRule.Metric.values)


@pytest.mark.parametrize("metric", AlertRule.Metric.values)
def test_a_tenant_without_traffic_is_no_fault(tenant: Tenant, metric: str) -> None:
    seen = preview(tenant, metric, Decimal(1), at=now())
    assert seen.times == 0
    assert seen.is_known or "is not kept" in seen.note


def test_a_day_counts_once_it_has_cost_its_sum(tenant: Tenant) -> None:
    midday = now().replace(hour=12)
    spans_at(tenant, *(now() - midday + days(3) + minutes(10 * number) for number in range(5)))
    assert preview(tenant, "day_spend", Decimal(15), at=now()).times == 1
    assert preview(tenant, "day_spend", Decimal("15.01"), at=now()).times == 0


def test_a_jump_is_judged_as_the_watch_judges_it(tenant: Tenant) -> None:
    at = usual_days(tenant, days=20)
    begins = spans.floor(at) - days(2)
    UsageSpan.objects.filter(tenant=tenant, at__gte=begins, at__lt=begins + minutes(30)).update(
        billed_usd="0.80", requests=80
    )
    assert preview(tenant, "spend_jump", Decimal(4), at=at).times == 1
    assert len(jump.find(at=begins + minutes(9))) == 1
    assert preview(tenant, "spend_jump", Decimal(100), at=at).times == 0


def test_a_fall_of_the_hit_rate_is_seen(tenant: Tenant) -> None:
    at = usual_days(tenant, days=20, requests=10, hits=5)
    begins = spans.floor(at) - days(1)
    UsageSpan.objects.filter(tenant=tenant, at__gte=begins, at__lt=begins + minutes(120)).update(hits=0)
    assert preview(tenant, "hit_rate_drop", Decimal(30), at=at).times == 1
    assert preview(tenant, "hit_rate_drop", Decimal(60), at=at).times == 0


def test_usage_without_price_and_unread_usage_are_seen(tenant: Tenant) -> None:
    spans_at(tenant, days(3), unpriced=1)
    spans_at(tenant, days(6), unread=2)
    for metric in ("unpriced_usage", "unread_usage"):
        assert preview(tenant, metric, Decimal(0), at=now()).times == 1


def test_windows_of_budgets_count_by_their_share(tenant: Tenant) -> None:
    budget = Budget.objects.create(
        tenant=tenant, scope="tenant", unit="usd", period="day", limit_amount=10, mode="hard"
    )
    for ago, spent in ((2, 9), (3, 4), (50, 10)):
        starts_at = now() - days(ago)
        BudgetWindow.objects.create(
            budget=budget,
            tenant=tenant,
            starts_at=starts_at,
            ends_at=starts_at + days(1),
            unit="usd",
            spent=spent,
        )
    assert preview(tenant, "budget_percent", Decimal(80), at=now()).times == 1
    assert preview(tenant, "forecast_percent", Decimal(30), at=now()).times == 2
    assert preview(tenant, "envelope_percent", Decimal(30), at=now()).times == 0


def test_a_loop_is_seen_in_the_ledger(tenant: Tenant) -> None:
    at = now()
    book_session(tenant, times=60, output_grows=1)
    AgentHour.objects.create(
        tenant=tenant, hour=at.replace(minute=0, second=0, microsecond=0), session="s-1", requests=60
    )
    later = at + minutes(20)
    assert 1 <= preview(tenant, "session_repeats", Decimal(25), at=later).times <= 2
    assert preview(tenant, "session_repeats", Decimal(61), at=later).times == 0


@pytest.fixture
def logged(tenant: Tenant) -> Callable[..., None]:
    def log(at: datetime, *statuses: int) -> None:
        RequestLog.objects.bulk_create(
            [RequestLog(request_id=uuid4(), tenant=tenant, at=at, status=status) for status in statuses]
        )

    return log


def test_a_rate_of_errors_is_seen(tenant: Tenant, logged: Callable[..., None]) -> None:
    at = now() - days(4)
    logged(at, *[200] * 15, *[502] * 6)
    logged(at - days(1), *[502] * 6)  # of too few
    assert preview(tenant, "error_percent", Decimal(25), at=now()).times == 1
    assert preview(tenant, "error_percent", Decimal(50), at=now()).times == 0


def test_it_reads_a_bounded_number_of_ten_minutes(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    at = usual_days(tenant, days=20)
    UsageSpan.objects.filter(tenant=tenant).update(billed_usd="2", requests=40)
    judged: list[Any] = []
    monkeypatch.setattr(previews, "MOST_JUDGED", 7)
    monkeypatch.setattr(previews, "rise_of", lambda spent, threshold: judged.append(spent))
    preview(tenant, "spend_jump", Decimal(4), at=at)
    assert len(judged) == 7
