"""Growing lists show the same rows as ever, though they look no further back than their page reaches."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from billing.admin import newest
from billing.models import UsageDaily, UsageRecord, UsageSum
from llm.models import RequestDay, RequestLog
from tests.admin.filling import fill
from tests.admin.office import Office

LEDGER = "/admin/billing/usagerecord/"


def shown(office: Office, query: str = "") -> list[UUID]:
    response = office.client(office.olga).get(LEDGER + query)
    return [row.pk for row in response.context["cl"].result_list]


def many(office: Office, *, days: int, a_day: int) -> None:
    """Rows of the ledger on days before now, and the sums that say so."""
    like = UsageRecord.objects.filter(tenant=office.acme, kind="usage").first()
    assert like is not None
    UsageSum.objects.all().delete()
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")  # the rows need no period of their own
        for back in range(days):
            at = now() - timedelta(days=back, minutes=1)
            for number in range(a_day):
                like.pk, like.attempt_id, like.request_id = uuid4(), None, uuid4()
                like.occurred_at = at - timedelta(seconds=number)
                like.save(force_insert=True)
            UsageSum.objects.create(
                tenant=office.acme, day=at.date(), dimension="total", requests=a_day, hits=0, list_cost=0,
                adjusted_cost=0, billed_cost=0,
            )  # fmt: skip
        cursor.execute("SET LOCAL session_replication_role = origin")


def test_it_works(office: Office) -> None:
    many(office, days=6, a_day=30)
    rows = list(UsageRecord.objects.order_by("-occurred_at", "-pk").values_list("pk", flat=True)[:150])
    assert set(shown(office)) == set(rows[:50])
    assert set(shown(office, "?p=2")) == set(rows[50:100])
    assert set(shown(office, "?p=3")) == set(rows[100:150])


def test_a_page_looks_no_further_back_than_it_reaches(office: Office) -> None:
    many(office, days=6, a_day=30)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        shown(office)
    [listed] = [one["sql"] for one in queries.captured_queries if 'FROM "billing_usagerecord"' in one["sql"]]
    assert f'"occurred_at" >= \'{(now() - timedelta(days=1, minutes=1)).date()}' in listed


def test_of_a_day_with_many_rows_a_short_time_is_read(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    many(office, days=2, a_day=400)
    rows = list(UsageRecord.objects.order_by("-occurred_at", "-pk").values_list("pk", flat=True)[:100])
    monkeypatch.setattr(newest, "MANY", 400)
    monkeypatch.setattr(newest, "SPARE", 1)
    with CaptureQueriesContext(connection) as queries:
        assert set(shown(office)) == set(rows[:50])
        assert set(shown(office, "?p=2")) == set(rows[50:100])
    read = [one["sql"] for one in queries.captured_queries if 'FROM "billing_usagerecord"' in one["sql"]]
    assert any("00:00:00+00:00" not in one for one in read)


def test_a_narrowed_page_looks_no_further_back_than_it_must(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(newest, "TRIED", (60, 120))
    many(office, days=6, a_day=30)
    model = UsageRecord.objects.order_by("-occurred_at").values_list("model", flat=True)[0]
    rows = UsageRecord.objects.filter(model=model).order_by("-occurred_at", "-pk")
    with CaptureQueriesContext(connection) as queries:
        assert set(shown(office, f"?model={model}")) == set(rows.values_list("pk", flat=True)[:50])
    [listed] = [
        one["sql"]
        for one in queries.captured_queries
        if "ORDER BY" in one["sql"] and 'occurred_at" >=' in one["sql"]
    ]
    assert f"{(now() - timedelta(days=1, minutes=1)).date()}" in listed


def test_what_is_too_far_back_is_not_looked_for_and_the_page_says_so(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(newest, "TRIED", (30, 60))
    monkeypatch.setattr(newest, "MOST_READ", 90)
    many(office, days=6, a_day=30)
    newer = now() - timedelta(days=2, hours=30)
    first = (now() - timedelta(days=2, minutes=1)).date()
    client = office.client(office.olga)
    for query in ("?user_id=nobody", "?o=3"):
        response = client.get(LEDGER + query)
        assert f"since {first} UTC" in response.content.decode(), query
        assert all(row.occurred_at > newer for row in response.context["cl"].result_list)
    oldest = UsageRecord.objects.order_by("occurred_at").first()
    assert oldest is not None
    day = f"{oldest.occurred_at:%Y-%m-%d}"
    chosen = f"?occurred_at_from_0={day}&occurred_at_from_1=00:00:00&occurred_at_to_0={day}&occurred_at_to_1=23:59:59&o=0"
    assert oldest.pk in shown(office, chosen)


def test_requests_are_found_in_the_newest_of_the_log(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(newest, "TRIED", (20,))
    monkeypatch.setattr(newest, "MOST_READ", 40)
    RequestLog.objects.all().delete()
    for back in range(6):
        at = now() - timedelta(days=back, minutes=1)
        RequestLog.objects.bulk_create(
            RequestLog(
                request_id=uuid4(), tenant=office.acme, at=at, endpoint="chat", model_asked=f"model-{back}", cache_state="miss",
                status=200,
            )
            for _ in range(20)
        )  # fmt: skip
        for tenant in (None, office.acme):
            RequestDay.objects.create(
                tenant=tenant, day=at.date(), provider="", measure="answered", bucket=1, requests=20
            )
    client = office.client(office.olga)

    def found(**choice: str) -> tuple[int, bool]:
        response = client.get("/admin/llm/requestlog/", choice)
        return len(
            response.context["cl"].result_list
        ), "Looked through the newest" in response.content.decode()

    assert found() == (50, False)
    assert found(model="model-0") == (20, True)  # fewer than a page: there may be more further back
    assert found(model="model-4") == (0, True)
    assert found(model="model-4", tenant="acme") == (0, True)
    day = (now() - timedelta(days=4, minutes=1)).date().isoformat()
    assert found(model="model-4", **{"from": day, "to": day}) == (20, False)
    one = RequestLog.objects.filter(model_asked="model-5").first()
    assert one is not None
    assert found(q=str(one.pk)) == (1, False)


def test_a_short_list_that_is_narrowed_or_sorted_is_whole(office: Office) -> None:
    many(office, days=6, a_day=30)
    every = UsageRecord.objects.order_by("occurred_at").values_list("pk", flat=True)
    assert every[0] in shown(office, "?o=0")
    old = UsageRecord.objects.order_by("occurred_at").first()
    assert old is not None
    assert shown(office, f"?q={old.request_id}") == [old.pk]


def test_without_sums_a_list_is_whole(office: Office) -> None:
    fill(office, office.acme)
    UsageSum.objects.all().delete()
    rows = UsageRecord.objects.order_by("-occurred_at", "-pk").values_list("pk", flat=True)
    assert shown(office) == list(rows[:50])
    assert UsageDaily.objects.exists()
