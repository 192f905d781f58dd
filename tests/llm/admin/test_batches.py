"""The operators' pages of batches: what they show, what they ask the database, and their buttons."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.timezone import now

from llm.batches.operations import counting
from llm.batches.operations.alerting import watch
from llm.models import Batch, BatchItem, BatchJob, BatchProgress
from tests.admin.office import Office
from tests.admin.pressing import SUBMITTED, press
from tests.llm.batches.operations.making import counted, make_batch

LISTS = {"batch": 3, "batchitem": 3, "batchjob": 3}
BATCHES, LINES_OF_EACH = 1_000, 50
LONG_AGO = now() - timedelta(days=4)


def list_of(table: str, query: str = "") -> str:
    return reverse(f"admin:llm_{table}_changelist") + query


def page_of(batch: Batch) -> str:
    return reverse("admin:llm_batch_change", args=[batch.pk])


def asked(client: Client, url: str) -> tuple[str, list[str]]:
    with CaptureQueriesContext(connection) as queries:
        response = client.get(url)
    assert response.status_code == 200
    return response.content.decode(), [query["sql"] for query in queries]


def test_it_works(office: Office, olga: Client) -> None:
    lines = {"completed": 6, "failed": 2, "submitted": 2}
    batch = make_batch(
        office.acme, lines=lines, jobs=[{"upstream_id": "batch_there", "upstream_status": "in_progress"}]
    )
    counted(batch)
    row = olga.get(list_of("batch", f"?q={batch.public_id}")).content.decode()
    assert "6 of 10, 2 failed" in row
    assert "width: 60.00%" in row
    page = olga.get(page_of(batch)).content.decode()
    for words in ("8 of 10 lines are over", "80.0 %", "batch_there", "server_error", "$1.50", "Cancel"):
        assert words in page, words


def test_a_batch_that_was_not_counted_yet_has_a_page(office: Office, olga: Client) -> None:
    batch = make_batch(office.acme, status="validating")
    assert batch.public_id in olga.get(list_of("batch")).content.decode()
    assert "no lines yet" in olga.get(page_of(batch)).content.decode()


def test_a_refused_batch_says_what_was_wrong(office: Office, olga: Client) -> None:
    batch = make_batch(office.acme, status="failed", errors=[{"message": "Line 3 is no JSON.", "line": 3}])
    assert "Line 3 is no JSON." in olga.get(page_of(batch)).content.decode()


def test_the_lists_count_no_lines(office: Office, olga: Client) -> None:
    """With 1,000 batches and 50,000 lines they ask as many questions as with one, and none of them counts."""
    first = make_batch(office.acme, lines={"completed": 1}, jobs=[{}])
    counted(first)
    before = {table: len(asked(olga, list_of(table))[1]) for table in LISTS}
    batches = fill_up(office)
    after = {}
    for table in LISTS:
        _, statements = asked(olga, list_of(table))
        after[table] = len(statements)
        assert not [one for one in statements if "count(" in one.lower() and "llm_batch" in one], table
    assert before == after == LISTS
    _, statements = asked(olga, list_of("batch"))
    assert not [one for one in statements if "llm_batchitem" in one]
    query = f"?batch__id__exact={batches[500]}&status__exact=failed"
    assert len(asked(olga, list_of("batchitem", query))[1]) <= LISTS["batchitem"] + 2


def fill_up(office: Office) -> list[int]:
    """A thousand batches with fifty lines each, every tenth line failed."""
    batches = [make_batch(office.acme) for _ in range(BATCHES)]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO llm_batchjob (public_id, batch_id, tenant_id, provider, model, lane, state, line_count, input_tokens,
                                      upstream_file_id, upstream_id, upstream_status, failures, last_error)
            SELECT 'many_' || id, id, tenant_id, 'openai', 'gpt-4o', 'batch', 'submitted', 50, 0, '', '', '', 0, ''
            FROM llm_batch WHERE id = ANY(%s)
            """,
            [[batch.pk for batch in batches]],
        )
    items = [
        BatchItem(
            batch=batch, tenant=batch.tenant, line=line, custom_id=f"line-{line}", attempt_id=uuid(batch.pk, line, 1),
            request_id=uuid(batch.pk, line, 2), model="gpt-4o", provider="openai", body={},
            status="failed" if line % 10 == 0 else "completed", settled_at=now(),
        )
        for batch in batches
        for line in range(1, LINES_OF_EACH + 1)
    ]  # fmt: skip
    BatchItem.objects.bulk_create(items, batch_size=5_000)
    counting.count([batch.pk for batch in batches])
    return [batch.pk for batch in batches]


def uuid(batch_id: int, line: int, kind: int) -> str:
    return f"{kind:08x}-0000-4000-8000-{batch_id * 100 + line:012x}"


def test_a_stuck_batch_is_found_and_says_why(office: Office, olga: Client) -> None:
    stuck = make_batch(
        office.acme, lines={"submitted": 1}, jobs=[{"failures": 9, "last_error": "503 closed"}]
    )
    well = make_batch(office.acme, lines={"submitted": 1}, jobs=[{}])
    watch()
    page = olga.get(list_of("batch", "?needs=stuck")).content.decode()
    assert stuck.public_id in page
    assert well.public_id not in page
    assert "9 calls in a row to openai have failed: 503 closed" in olga.get(page_of(stuck)).content.decode()


def test_a_batch_with_failed_lines_is_found(office: Office, olga: Client) -> None:
    failed, well = (
        make_batch(office.acme, status="completed", lines={status: 1}) for status in ("expired", "completed")
    )
    watch()
    page = olga.get(list_of("batch", "?needs=failed")).content.decode()
    assert failed.public_id in page
    assert well.public_id not in page


def history_of(batch: Batch) -> list[tuple[str, str]]:
    entries = LogEntry.objects.filter(object_id=str(batch.pk), content_type__model="batch").order_by("pk")
    return [(entry.user.username, entry.get_change_message()) for entry in entries]


def test_a_batch_is_cancelled_once_and_its_history_says_by_whom(office: Office, olga: Client) -> None:
    batch = make_batch(office.acme, lines={"submitted": 1}, jobs=[{}])
    press(olga, "llm_batch_cancel_one", batch.pk)
    batch.refresh_from_db()
    assert (batch.status, batch.cancelling_at is not None) == ("cancelling", True)
    again = olga.post(reverse("admin:llm_batch_cancel_one", args=[batch.pk]), SUBMITTED, follow=True)
    assert "Nothing to do: it is cancelling." in again.content.decode()
    assert history_of(batch) == [("olga", "Asked for it to be cancelled.")]
    history = olga.get(reverse("admin:llm_batch_history", args=[batch.pk])).content.decode()
    assert "Asked for it to be cancelled." in history


def test_a_batch_is_looked_at_again(office: Office, olga: Client) -> None:
    late = now() + timedelta(minutes=10)
    jobs = [{"failures": 9, "next_look_at": late}, {"state": "finished", "failures": 3}]
    batch = make_batch(office.acme, lines={"submitted": 1}, jobs=jobs)
    watch()
    press(olga, "llm_batch_requeue_one", batch.pk)
    waiting, finished = BatchJob.objects.filter(batch=batch).order_by("pk")
    assert (waiting.failures, waiting.next_look_at, finished.failures) == (0, None, 3)
    progress = BatchProgress.objects.get(pk=batch.pk)
    assert (progress.stuck, [name for name in progress.notified if "stuck" in name]) == ("", [])
    again = olga.post(reverse("admin:llm_batch_requeue_one", args=[batch.pk]), SUBMITTED, follow=True)
    assert "Nothing to do: no job of it waits." in again.content.decode()
    assert history_of(batch) == [("olga", "Had 1 of its jobs looked at again.")]


@pytest.mark.parametrize(
    ("batch", "buttons"),
    [
        ({"status": "validating"}, {"cancel_one"}),
        ({"jobs": [{}]}, {"cancel_one"}),
        ({"jobs": [{"failures": 1}]}, {"cancel_one", "requeue_one"}),
        ({"status": "cancelling", "jobs": [{"failures": 1}]}, {"requeue_one"}),
        ({"jobs": [{}], "is_gathered": True}, set()),
        ({"status": "completed", "jobs": [{"state": "finished"}]}, set()),
        ({"status": "completed", "lines": {"completed": 1, "failed": 1}}, {"retry_one"}),
        ({"status": "expired", "lines": {"expired": 1}}, {"retry_one"}),
        ({"status": "cancelled", "lines": {"cancelled": 1, "failed": 1}}, set()),
        ({"status": "completed", "lines": {"failed": 1}, "is_gathered": True}, set()),
        ({"status": "completed", "lines": {"failed": 1}, "created_at": LONG_AGO}, set()),
    ],
)
def test_a_button_is_there_where_it_applies(
    office: Office, olga: Client, batch: dict[str, Any], buttons: set[str]
) -> None:
    made = make_batch(office.acme, **batch)
    page = olga.get(page_of(made)).content.decode()
    urls = {
        name: reverse(f"admin:llm_batch_{name}", args=[made.pk])
        for name in ("cancel_one", "requeue_one", "retry_one")
    }
    assert {name for name, url in urls.items() if url in page} == buttons


def test_batches_are_cancelled_together(office: Office, olga: Client) -> None:
    batches = [
        make_batch(office.acme, status=status) for status in ("in_progress", "validating", "completed")
    ]
    olga.post(
        list_of("batch"),
        {"action": "cancel_selected", "_selected_action": [batch.pk for batch in batches], "post": "yes"},
    )
    found = Batch.objects.filter(pk__in=[batch.pk for batch in batches]).order_by("pk")
    assert [batch.status for batch in found] == ["cancelling", "cancelling", "completed"]


def test_owners_cancel_their_batches_and_nobody_elses(office: Office) -> None:
    own, other = make_batch(office.acme), make_batch(office.umbrella)
    url = "admin:llm_batch_cancel_one"
    assert office.client(office.alice).post(reverse(url, args=[own.pk]), SUBMITTED).status_code == 302
    assert office.client(office.alice).post(reverse(url, args=[other.pk]), SUBMITTED).status_code == 404
    assert office.client(office.fay).post(reverse(url, args=[own.pk]), SUBMITTED).status_code == 403
    own.refresh_from_db()
    other.refresh_from_db()
    assert (own.status, other.status) == ("cancelling", "in_progress")
