"""A change of rate limits is shown on the requests of the last days before it is saved, and says how it was found out."""

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.utils.timezone import now

from llm.models import RequestDay, RequestLog
from llm.past import samples
from llm.past.limit_replays import Limits, replay
from llm.past.questions import met
from llm.past.samples import Sample, last_days
from tenants.models import ApiKey, Tenant
from tenants.policy import RateLimits
from tests.admin.office import Office
from tests.admin.test_pages import url_of
from tests.admin.test_policy_page import filled
from tests.admin.test_policy_page import url as policy_url

HOUR = timedelta(hours=1)


def log(
    tenant: Tenant, at: datetime, *, times: int, apart: float = 1.0, user: str = "alice", **fields: Any
) -> None:
    """Requests of a user, so many seconds apart."""
    usual = {
        "endpoint": "chat", "model_asked": "gpt-4o", "cache_state": "miss", "status": 200, "input_tokens": 90,
        "output_tokens": 10, "latency_ms": 400,
    }  # fmt: skip
    RequestLog.objects.bulk_create(
        RequestLog(
            request_id=uuid4(),
            tenant=tenant,
            at=at + timedelta(seconds=apart * number),
            user=user,
            **{**usual, **fields},
        )
        for number in range(times)
    )


@pytest.fixture
def busy(office: Office) -> datetime:
    """An hour in which alice asked twenty times within twenty seconds; bob asked once a minute."""
    RequestLog.objects.filter(tenant=office.acme).delete()
    at = (now() - timedelta(days=3)).replace(minute=10, second=0, microsecond=0)
    key = office.row(ApiKey)
    log(office.acme, at, times=20, key_id=key.pk)
    log(office.acme, at, times=30, apart=60, user="bob")
    return at


def limits(tenant: RateLimits | None = None, users: RateLimits | None = None) -> Limits:
    return Limits(tenant or RateLimits(), {}, users or RateLimits())


def settings(**changes: Any) -> dict[str, Any]:
    return {
        "name": "Acme", "timezone": "Europe/Berlin", "rpm": "", "tpm": "", "concurrency": "", "_preview": "1", **changes
    }  # fmt: skip


def test_it_works(office: Office, olga: Client, busy: datetime) -> None:
    answer = olga.post(url_of(Tenant, "change", office.acme.pk), settings(rpm="10"))
    shown = answer.context["shown"]
    # in the busy minute alice's first nine and bob's first fit; bob's next comes while alice's nine still count
    [changed, unchanged] = shown["tables"][0]["rows"]
    assert changed[1:] == [12, 2, 1]
    assert unchanged[1:] == [0, 0, 0]
    page = answer.content.decode()
    assert "It would have refused 12 of 50 requests, of 2 users." in page
    assert "Every request in the log." in page
    assert f"{busy:%Y-%m-%d %H}:00:00" in page
    office.acme.refresh_from_db()
    assert office.acme.rate_limits == {}
    sent = dict(answer.context["answers"])
    assert olga.post(url_of(Tenant, "change", office.acme.pk), sent).status_code == 302
    office.acme.refresh_from_db()
    assert office.acme.rate_limits == {"rpm": 10}


def test_only_a_change_of_limits_is_previewed(office: Office, olga: Client) -> None:
    assert olga.post(url_of(Tenant, "change", office.acme.pk), settings(name="Acme AG")).status_code == 302
    office.acme.refresh_from_db()
    assert office.acme.name == "Acme AG"


def test_a_keys_limits_count_its_own_calls(office: Office, olga: Client, busy: datetime) -> None:
    key = office.row(ApiKey)
    sent = {
        "name": key.name, "models": '["*"]', "ip_allow_list": "[]", "rpm": "5", "_preview": "1"
    }  # fmt: skip
    answer = olga.post(url_of(ApiKey, "change", key.pk), sent)
    assert answer.context["shown"]["tables"][0]["rows"][0][1:] == [15, 1, 1]
    key.refresh_from_db()
    assert key.rate_limits == {}


def test_limits_of_each_user_are_previewed_with_the_policy(
    office: Office, olga: Client, busy: datetime
) -> None:
    sent = filled(office.acme, user_rate_limits__rpm="4")
    table = olga.post(policy_url(office.acme), {**sent, "step": "preview"}).context["preview"].table
    changed, unchanged = table["rows"]
    assert (changed[1], unchanged[1]) == (16, 0)
    assert "of 1 user; most from" in changed[3]
    assert "every request in the log" in changed[4]


def test_tokens_and_calls_at_one_time_count_too(office: Office, busy: datetime) -> None:
    sample = last_days(office.acme.pk)
    assert replay(limits(RateLimits(tpm=1_000)), sample).limits == {"the tenant, tokens": 12}
    assert replay(limits(RateLimits(tpm=50)), sample).refused == 50
    RequestLog.objects.filter(user="alice").update(latency_ms=3_500)
    assert replay(limits(users=RateLimits(concurrency=2)), sample).limits == {"a user, concurrency": 10}


def test_what_never_reached_the_limiter_does_not_count(office: Office, busy: datetime) -> None:
    log(office.acme, busy, times=9, status=400, error_code="model_not_found")
    log(office.acme, busy, times=9, cache_state="embed")
    log(office.umbrella, busy, times=9)
    sample = last_days(office.acme.pk)
    assert replay(limits(RateLimits(rpm=10)), sample).calls == 50
    log(office.acme, busy, times=9, status=429, error_code="rate_limit_exceeded")
    assert replay(limits(RateLimits(rpm=10)), sample).calls == 59


def test_too_much_traffic_is_read_in_part_and_it_says_so(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    RequestLog.objects.filter(tenant=office.acme).delete()
    until = now().replace(minute=30)
    for hour in range(1, 31):
        log(office.acme, (until - hour * HOUR).replace(minute=1), times=12)
    RequestDay.objects.create(
        tenant=office.acme, day=(until - HOUR).date(), provider="", measure="answered", bucket=3, requests=360
    )
    whole = replay(limits(RateLimits(rpm=10)), last_days(office.acme.pk, until=until))
    assert (whole.refused, len(whole.hours)) == (60, 30)
    part = last_days(office.acme.pk, most=100, until=until)
    tried = replay(limits(RateLimits(rpm=10)), part)
    assert part.every == 5
    assert (tried.refused, tried.in_all) == (12, 60)
    assert "every 5th hour" in part.basis
    assert met(part, "bought").basis == part.basis
    assert all(step == 1 or (24 % step and 168 % step) for step in samples.STEPS)


def test_the_log_answers_what_a_policy_would_have_met(office: Office, olga: Client, busy: datetime) -> None:
    log(office.acme, busy, times=3, cache_state="semantic", similarity=0.9, list_cost_usd="0.5")
    log(office.acme, busy, times=2, cache_state="semantic", similarity=0.99)
    log(office.acme, busy, times=4, model_asked="auto", tier="simple", output_tokens=900)
    log(office.acme, busy, times=6, is_stream=True, ttft_ms=2_000)
    Tenant.objects.filter(pk=office.acme.pk).update(
        policy={"cache": {"semantic": "static", "threshold": 0.8}}
    )
    office.acme.refresh_from_db()
    for changes, requests in (
        ({"cache__threshold": "0.95"}, 3),
        ({"default_max_tokens__simple": "500"}, 4),
        ({"hedging__after_ms": "1500"}, 6),
    ):
        sent = filled(office.acme, **changes)
        table = olga.post(policy_url(office.acme), {**sent, "step": "preview"}).context["preview"].table
        assert [row[1] for row in table["rows"]] == [requests], changes
        assert "every request in the log" in table["rows"][0][4]


def test_a_sample_meets_every_hour_of_the_week() -> None:
    until = now().replace(minute=0, second=0, microsecond=0)
    hours = {
        first.hour for first, _ in Sample(1, until - timedelta(days=30), until, every=23, requests=0).spans
    }
    assert hours == set(range(24))
