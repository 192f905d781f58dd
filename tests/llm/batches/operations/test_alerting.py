"""Who is told of which batches: once, together, with a link."""

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.db.models import QuerySet
from django.utils.timezone import now

from billing.alerts.messages import event_body
from billing.models import AlertEvent, AlertRule
from llm.batches.operations.alerting import watch
from llm.models import Batch, BatchItem, BatchJob, BatchProgress
from tenants.models import Tenant
from tests.llm.batches.operations.making import make_batch

FAILING = {"failures": 9, "last_error": "503 closed"}


def events(tenant: Tenant | None, metric: str) -> QuerySet[AlertEvent]:
    return AlertEvent.objects.filter(tenant=tenant, metric=metric).order_by("pk")


def test_it_works(acme: Tenant, settings: Any) -> None:
    settings.SITE_URL = "https://purser.example"
    batch = make_batch(
        acme, status="completed", lines={"completed": 6, "failed": 4}, jobs=[{"state": "finished"}]
    )
    for _ in range(2):  # told once
        watch()
    [event] = events(acme, "batch_failed_percent")
    assert event.message == (
        f"Batch {batch.public_id} of acme-batches: 4 of 10 lines failed, the first: server_error: The provider's own words."
    )
    assert (event.value, event.threshold, event.rule) == (40, 10, None)
    link = f"https://purser.example/admin/llm/batch/{batch.pk}/change/"
    assert json.loads(json.dumps(event_body(event)))["link"] == link


def test_a_rule_of_the_tenant_replaces_the_default(acme: Tenant) -> None:
    rule = AlertRule.objects.create(tenant=acme, metric="batch_failed_percent", threshold=50)
    make_batch(acme, status="completed", lines={"completed": 6, "failed": 4})
    watch()
    assert not events(acme, "batch_failed_percent")
    make_batch(acme, status="completed", lines={"completed": 1, "failed": 1})
    watch()
    [event] = events(acme, "batch_failed_percent")
    assert (event.rule, event.threshold) == (rule, 50)


def test_batches_that_are_found_together_are_one_alert(acme: Tenant) -> None:
    batches = [make_batch(acme, status="completed", lines={"failed": 2}) for _ in range(7)]
    watch()
    [event] = events(acme, "batch_failed_percent")
    assert event.message.startswith("7 batches have failed lines: ")
    assert event.message.endswith("; and 2 more")
    assert event.link == "/admin/llm/batch/?needs=failed"
    watch()
    make_batch(acme, status="completed", lines={"failed": 2})
    watch()
    assert events(acme, "batch_failed_percent").count() == 2  # of the new one alone
    assert BatchProgress.objects.filter(pk__in=[batch.pk for batch in batches], notified=[]).count() == 0


def test_a_batch_that_was_refused_is_its_tenants_mistake(acme: Tenant) -> None:
    errors = [{"code": "invalid_json", "message": "Line 3 is no JSON.", "line": 3}]
    batch = make_batch(acme, status="failed", errors=errors)
    watch()
    [event] = events(acme, "batch_failed_percent")
    assert (
        event.message == f"Batch {batch.public_id} of acme-batches failed: invalid_json: Line 3 is no JSON."
    )
    assert not events(None, "batch_failed_percent").filter(message__contains=batch.public_id)


def test_operators_hear_of_lines_that_failed_at_a_provider_without_their_words(acme: Tenant) -> None:
    batch = make_batch(acme, status="completed", lines={"failed": 3}, jobs=[{"state": "finished"}])
    watch()
    [event] = events(None, "batch_failed_percent").filter(message__contains=batch.public_id)
    assert (
        event.message
        == f"Batch {batch.public_id} of acme-batches: 3 of 3 lines failed, the first: server_error"
    )


def test_operators_hear_of_a_stuck_batch_once(acme: Tenant) -> None:
    batch = make_batch(acme, lines={"submitted": 2}, jobs=[FAILING])
    at = now()
    for minute in range(3):
        watch(now=at + timedelta(minutes=minute))
    assert (
        BatchProgress.objects.get(pk=batch.pk).stuck == "9 calls in a row to openai have failed: 503 closed"
    )
    [event] = events(None, "batch_stuck_minutes").filter(message__contains=batch.public_id)
    assert event.message.endswith("(in_progress): 9 calls in a row to openai have failed: 503 closed")
    BatchJob.objects.filter(batch=batch).update(failures=0)
    watch(now=at + timedelta(minutes=4))
    assert BatchProgress.objects.get(pk=batch.pk).stuck == ""


def test_the_alert_ends_when_the_batch_goes_on_and_a_second_stop_is_news(acme: Tenant) -> None:
    batch = make_batch(acme, lines={"submitted": 2}, jobs=[FAILING])
    mine = events(None, "batch_stuck_minutes").filter(message__contains=batch.public_id)
    at = now()
    watch(now=at)
    assert mine.get().state == "open"
    BatchJob.objects.filter(batch=batch).update(failures=0)
    watch(now=at + timedelta(minutes=1))
    assert mine.get().state == "resolved"
    assert mine.get().steps.get().text == "the batch goes on"
    BatchJob.objects.filter(batch=batch).update(failures=9)
    watch(now=at + timedelta(minutes=2))
    assert [event.state for event in mine.all()] == ["resolved", "open"]
    Batch.objects.filter(pk=batch.pk).update(status="cancelled")
    watch(now=at + timedelta(minutes=3))
    assert [event.state for event in mine.all()] == ["resolved", "resolved"]
    assert mine.all()[1].steps.get().text == "the batch is over"


def test_an_alert_on_several_batches_ends_with_the_last_of_them(acme: Tenant) -> None:
    batches = [make_batch(acme, lines={"submitted": 2}, jobs=[{}]) for _ in range(2)]
    AlertRule.objects.create(tenant=acme, metric="batch_stuck_minutes", threshold=Decimal(90))
    at = now()
    watch(now=at)
    watch(now=at + timedelta(hours=2))
    [event] = events(acme, "batch_stuck_minutes")
    for minute, (batch, state) in enumerate(zip(batches, ("open", "resolved"), strict=True), start=1):
        BatchItem.objects.filter(batch=batch, line=1).update(status="completed")
        watch(now=at + timedelta(hours=2, minutes=minute))
        event.refresh_from_db()
        assert event.state == state


def test_a_tenant_hears_of_a_stuck_batch_if_it_has_a_rule(acme: Tenant) -> None:
    batch = make_batch(acme, lines={"submitted": 2}, jobs=[{}])
    at = now()
    watch(now=at)
    watch(now=at + timedelta(hours=2))
    assert not events(acme, "batch_stuck_minutes")
    AlertRule.objects.create(tenant=acme, metric="batch_stuck_minutes", threshold=Decimal(90))
    watch(now=at + timedelta(hours=3))
    watch(now=at + timedelta(hours=4))
    [event] = events(acme, "batch_stuck_minutes")
    assert event.message == f"Batch {batch.public_id} of acme-batches (in_progress): No progress for 3 hours."


def test_a_gathered_batch_is_no_tenants_news(acme: Tenant) -> None:
    batch = make_batch(
        acme, status="completed", lines={"failed": 2}, jobs=[{"state": "finished"}], is_gathered=True
    )
    watch()
    assert not events(acme, "batch_failed_percent")
    assert events(None, "batch_failed_percent").filter(message__contains=batch.public_id)


def test_a_batch_that_went_well_is_nobodys_news(acme: Tenant) -> None:
    make_batch(acme, status="completed", lines={"completed": 99, "failed": 1})
    make_batch(acme, status="cancelled", lines={"cancelled": 5})
    make_batch(acme, lines={"submitted": 5}, jobs=[{}])
    watch()
    assert not events(acme, "batch_failed_percent")
    assert Batch.objects.filter(progress__tenant=acme, progress__stuck="").count() == 3
