"""Message batches with the real Anthropic SDK."""

from decimal import Decimal

import anthropic
import pytest

from billing.models import UsageRecord
from llm.models import StoredFile
from tests.books import eventually
from tests.world import World

PATIENCE_SECONDS = 90


def request(custom_id: str, text: str, **params):
    body = {
        "model": "claude-haiku-4-5",
        "max_tokens": 40,
        "messages": [{"role": "user", "content": text}],
        **params,
    }
    return {"custom_id": custom_id, "params": body}


def wait(client, batch_id: str):
    return eventually(
        lambda: client.messages.batches.retrieve(batch_id),
        until=lambda batch: batch.processing_status == "ended",
        patience_seconds=PATIENCE_SECONDS,
    )


def test_it_works(world: World, celery):
    client = world.anthropic()
    order = client.messages.batches.create(
        requests=[request("a", "What is 1 plus 1?"), request("b", "What is 2 plus 2?", model="gpt-4o-mini")]
    )
    assert (order.type, order.processing_status, order.request_counts.processing) == (
        "message_batch",
        "in_progress",
        2,
    )
    batch = wait(client, order.id)
    assert batch.request_counts.succeeded == 2
    results = {entry.custom_id: entry.result for entry in client.messages.batches.results(order.id)}
    assert {name: result.type for name, result in results.items()} == {"a": "succeeded", "b": "succeeded"}
    assert all(result.message.content[0].text for result in results.values())
    assert [one.id for one in client.messages.batches.list()] == [order.id]
    deleted = client.messages.batches.delete(order.id)
    assert (deleted.id, deleted.type) == (order.id, "message_batch_deleted")
    for ask in (client.messages.batches.retrieve, client.messages.batches.delete):
        with pytest.raises(anthropic.NotFoundError):
            ask(order.id)
    assert list(client.messages.batches.list()) == []
    records = list(UsageRecord.objects.filter(tenant_id=world.acme.id))
    assert len(records) == 2
    assert all(record.list_cost == 2 * record.billed_cost > Decimal(0) for record in records)
    assert list(world.openai().files.list()) == list(world.openai().files.list(purpose="batch_output"))


def test_a_request_that_cannot_be_sent_is_told_at_once(world: World, celery):
    with pytest.raises(anthropic.BadRequestError) as caught:
        world.anthropic().messages.batches.create(
            requests=[request("a", "x"), request("b", "x", model="unpriced-model")]
        )
    assert "requests.1.model" in str(caught.value)


def test_a_batch_the_budget_cannot_pay_is_refused_and_keeps_nothing(world: World, make_tenant):
    poor = make_tenant(
        budgets=[{"scope": "tenant", "unit": "usd", "period": "day", "limit": "0.000001", "mode": "hard"}]
    )
    client = world.anthropic(poor)
    with pytest.raises(anthropic.RateLimitError) as caught:
        client.messages.batches.create(requests=[request("a", "What is 1 plus 1?")])
    assert caught.value.body["error"]["code"] == "budget_exceeded"
    assert list(client.messages.batches.list()) == []
    assert not StoredFile.objects.filter(tenant_id=poor.id, deleted_at=None).exists()


def test_a_batch_the_budget_cannot_pay_any_more_ends_with_errors(world: World, stack, make_tenant):
    stack.kill_celery()  # both are created before the first is held
    budget = {"scope": "tenant", "unit": "usd", "period": "day", "limit": "0.0002", "mode": "hard"}
    client = world.anthropic(make_tenant(budgets=[budget]))
    orders = [
        client.messages.batches.create(requests=[request("a", f"What is {number} plus 1?")])
        for number in range(2)
    ]
    stack.start_celery()
    counts = [wait(client, order.id).request_counts for order in orders]
    assert sorted((count.succeeded, count.errored) for count in counts) == [(0, 1), (1, 0)]
    refused = orders[0] if counts[0].errored else orders[1]
    (result,) = list(client.messages.batches.results(refused.id))
    assert result.result.type == "errored"
    assert "budget" in result.result.error.error.message


def test_another_tenants_batch_is_not_there(world: World, celery):
    order = world.anthropic().messages.batches.create(requests=[request("a", "What is 1 plus 1?")])
    stranger = world.anthropic(world.outsider)
    for ask in (
        stranger.messages.batches.retrieve,
        stranger.messages.batches.cancel,
        stranger.messages.batches.results,
        stranger.messages.batches.delete,
    ):
        with pytest.raises(anthropic.NotFoundError):
            ask(order.id)
    assert list(stranger.messages.batches.list()) == []


def test_anthropics_files_are_told_to_be_elsewhere(world: World):
    client = world.anthropic()
    for ask in (
        lambda: client.beta.files.upload(file=("a.txt", b"text", "text/plain")),
        lambda: client.beta.files.list(),
        lambda: client.beta.files.retrieve_metadata("file_1"),
        lambda: client.beta.files.delete("file_1"),
    ):
        with pytest.raises(anthropic.NotFoundError) as caught:
            ask()
        assert caught.value.body["type"] == "error"
        assert "Files API" in str(caught.value)


def test_a_batch_can_be_cancelled(world: World, celery):
    client = world.anthropic()
    with pytest.raises(anthropic.NotFoundError):
        client.messages.batches.delete("msgbatch_made_up")
    world.control("POST", "/settings", {"batch_delay_s": 3})
    try:
        order = client.messages.batches.create(requests=[request("a", "What is 1 plus 1?")])
        assert client.messages.batches.cancel(order.id).processing_status in {"canceling", "ended"}
        batch = wait(client, order.id)
    finally:
        world.control("POST", "/settings", {"batch_delay_s": 0.5})
    assert batch.request_counts.canceled + batch.request_counts.succeeded == 1
    assert batch.cancel_initiated_at is not None
