"""Growing lists show the same rows as ever, though they look no further back than their page reaches."""

from datetime import timedelta
from uuid import UUID, uuid4

from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from billing.models import UsageDaily, UsageRecord, UsageSum
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
    newest = list(UsageRecord.objects.order_by("-occurred_at", "-pk").values_list("pk", flat=True)[:150])
    assert set(shown(office)) == set(newest[:50])
    assert set(shown(office, "?p=2")) == set(newest[50:100])
    assert set(shown(office, "?p=3")) == set(newest[100:150])


def test_a_page_looks_no_further_back_than_it_reaches(office: Office) -> None:
    many(office, days=6, a_day=30)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        shown(office)
    [listed] = [one["sql"] for one in queries.captured_queries if 'FROM "billing_usagerecord"' in one["sql"]]
    assert f'"occurred_at" >= \'{(now() - timedelta(days=1, minutes=1)).date()}' in listed


def test_a_list_that_is_narrowed_or_sorted_is_whole(office: Office) -> None:
    many(office, days=6, a_day=30)
    every = UsageRecord.objects.order_by("occurred_at").values_list("pk", flat=True)
    assert every[0] in shown(office, "?o=0")
    old = UsageRecord.objects.order_by("occurred_at").first()
    assert old is not None
    assert shown(office, f"?q={old.request_id}") == [old.pk]


def test_without_sums_a_list_is_whole(office: Office) -> None:
    fill(office, office.acme)
    UsageSum.objects.all().delete()
    newest = UsageRecord.objects.order_by("-occurred_at", "-pk").values_list("pk", flat=True)
    assert shown(office) == list(newest[:50])
    assert UsageDaily.objects.exists()
