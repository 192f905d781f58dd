"""Every request is counted once by its outcome and how long it took, in the day that pages read."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import orjson
import pytest
from django.db import connection
from django.db.models import Sum
from openai import OpenAIError

from llm.models import RequestDay, RequestLog, RequestTally
from llm.request_days import add_tallies, prune_days, quantile
from tests.books import eventually
from tests.world import World


def logged(*rows: dict[str, Any]) -> list[int]:
    """Write rows of the log as the gateway does; which of them could not be written."""
    usual = {
        "at": datetime.now(UTC).isoformat(), "endpoint": "chat", "model_asked": "gpt-4o", "cache_state": "miss", "status": 200,
        "user": "", "feature": "", "model": "", "provider": "openai", "tier": "", "route_reason": "", "error_code": "",
        "is_stream": False, "input_tokens": 0, "output_tokens": 0, "cost_usd": 0, "list_cost_usd": 0, "latency_ms": 900,
        "receipt": {},
    }  # fmt: skip
    whole = [{**usual, "request_id": str(uuid4()), **row} for row in rows]
    with connection.cursor() as cursor:
        cursor.execute("SELECT llm_log_requests(%s)", [orjson.dumps(whole).decode()])
        return list(cursor.fetchone()[0])


def counted(tenant_id: int | None, **where: Any) -> dict[str, int]:
    rows = RequestDay.objects.filter(tenant=tenant_id, **where).values("measure").order_by("measure")
    return {row["measure"]: row["total"] for row in rows.annotate(total=Sum("requests"))}


def add_all() -> None:
    while add_tallies():
        pass


def test_it_works(world: World) -> None:
    client = world.openai()
    for question in ("Where is my card?", "Where is my card?"):
        client.chat.completions.create(
            model="gpt-4o-mini", messages=[{"role": "user", "content": question}], max_tokens=20
        )
    for chunk in client.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": "Tell me a story"}], max_tokens=20, stream=True
    ):
        assert chunk
    with suppress(OpenAIError):
        client.chat.completions.create(model="no-such-model", messages=[{"role": "user", "content": "Hi"}])
    tenant = world.acme.id
    eventually(lambda: RequestLog.objects.filter(tenant_id=tenant).count(), until=lambda count: count == 4)
    eventually(lambda: add_all() or counted(tenant), until=lambda found: sum(found.values()) == 5)
    hits = RequestLog.objects.filter(tenant_id=tenant, cache_state="exact").count()
    cached = {"cached": hits} if hits else {}
    assert counted(tenant) == {"answered": 3 - hits, **cached, "first_token": 1, "refused": 1}
    assert not RequestTally.objects.filter(tenant_id=tenant).exists()


@pytest.mark.django_db
def test_the_whole_installation_has_rows_of_its_own() -> None:
    add_all()
    before = counted(None)
    logged(
        {"tenant_id": 7_000_001}, {"tenant_id": 7_000_002, "status": 503}, {"tenant_id": None, "status": 401}
    )
    add_all()
    after = counted(None)
    assert {name: after[name] - before.get(name, 0) for name in after} == {
        name: {"answered": 1, "failed": 1, "refused": 1}.get(name, 0) for name in after
    }
    assert counted(7_000_002) == {"failed": 1}


@pytest.mark.django_db
def test_a_request_that_is_logged_twice_counts_once() -> None:
    row = {"tenant_id": 7_000_003, "request_id": str(uuid4())}
    assert logged(row) == logged(row) == []
    add_all()
    add_all()
    assert counted(7_000_003) == {"answered": 1}


@pytest.mark.django_db
def test_a_row_that_cannot_be_written_is_not_counted() -> None:
    refused = logged(
        {"tenant_id": 7_000_004}, {"tenant_id": 7_000_004, "latency_ms": -5}, {"tenant_id": 7_000_004}
    )
    add_all()
    assert refused == [2]
    assert counted(7_000_004) == {"answered": 2}


@pytest.mark.django_db
def test_quantiles_follow_from_the_buckets() -> None:
    times = [*range(10, 1000, 10), 90_000]
    logged(*({"tenant_id": 7_000_005, "latency_ms": ms, "ttft_ms": 1} for ms in times))
    add_all()
    rows = RequestDay.objects.filter(tenant=7_000_005, measure="answered")
    buckets = dict(rows.values_list("bucket", "requests"))
    assert quantile(buckets, 0.5) == pytest.approx(500, rel=0.15)
    assert quantile(buckets, 0.95) == pytest.approx(950, rel=0.15)
    assert quantile(buckets, 1) == pytest.approx(90_000, rel=0.34)
    assert quantile({0: 100}, 0.5) == 1.0
    assert quantile({}, 0.5) is None


@pytest.mark.django_db
def test_days_are_kept_for_a_while() -> None:
    today = datetime.now(UTC)
    logged(
        {"tenant_id": 7_000_006}, {"tenant_id": 7_000_006, "at": (today - timedelta(days=500)).isoformat()}
    )
    add_all()
    assert prune_days(before=(today - timedelta(days=400)).date()) >= 1
    assert counted(7_000_006) == {"answered": 1}
