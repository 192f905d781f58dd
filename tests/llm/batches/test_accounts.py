"""Where lines go: several accounts of a model, what one takes in one batch, and real time where there are no batches."""

from collections import Counter
from decimal import Decimal
from typing import Any

import pytest

from llm.models import BatchItem, BatchJob, RequestLog
from tests.llm.batches.conftest import question
from tests.llm.batches.test_batches import BUDGET, records_of, windows_of
from tests.llm.conftest import Spread

ONLINE = [
    {"meter": "input", "usd_per_million": "1"},
    {"meter": "cache_read", "usd_per_million": "0.1"},
    {"meter": "output", "usd_per_million": "4"},
]
BATCH = [
    *ONLINE,
    {"meter": "input", "processing": "batch", "usd_per_million": "0.5"},
    {"meter": "output", "processing": "batch", "usd_per_million": "2"},
]


def questions(model: str, count: int) -> list[dict[str, Any]]:
    return [question(f"q{number}", f"What is {number} plus 5?", model=model) for number in range(count)]


def jobs_of(batch_id: str) -> Counter[str]:
    """How many jobs each account has had."""
    return Counter(BatchJob.objects.filter(batch__public_id=batch_id).values_list("provider", flat=True))


def names(spread: Spread) -> list[str]:
    return [account.provider for account in spread.accounts]


@pytest.fixture
def spread(make_spread) -> Spread:
    """A model at two accounts, both with batches."""
    return make_spread({}, {"prices": BATCH}, prices=BATCH)


def test_it_works(desk_for, spread):
    """The account with less to do takes a batch."""
    desk = desk_for()
    desk.world.control("POST", "/settings", {"batch_delay_s": 3})
    try:
        orders = [desk.order(questions(spread.model, 3)).id for _ in range(2)]
        for order in orders:
            assert desk.wait(order).status == "completed"
    finally:
        desk.world.control("POST", "/settings", {"batch_delay_s": 0.5})
    assert set(jobs_of(orders[0]) + jobs_of(orders[1])) <= set(names(spread))
    assert {record.processing for record in records_of(desk)} <= {"batch", "online"}


def test_what_an_account_has_queued_sends_the_next_batch_elsewhere(desk_for, spread):
    desk = desk_for(policy={"cache": {"exact": False, "semantic": "off"}})
    desk.world.control("POST", "/settings", {"batch_delay_s": 6})
    try:
        first = desk.order(questions(spread.model, 3)).id
        desk.wait(first, until=frozenset({"in_progress"}))
        second = desk.order(questions(spread.model, 3)).id
        assert {desk.wait(order).status for order in (first, second)} == {"completed"}
    finally:
        desk.world.control("POST", "/settings", {"batch_delay_s": 0.5})
    assert set(jobs_of(first)) | set(jobs_of(second)) == set(names(spread))


def test_an_account_that_refuses_the_whole_batch_passes_it_on(desk_for, spread):
    desk = desk_for(budgets=[BUDGET])
    first = spread.accounts[0]
    desk.world.fault(
        match={"path": "/v1/batches", "key": first.account_key},
        fault="status:400",
        message="not here",
        times=9,
    )
    batch = desk.wait(desk.order(questions(spread.model, 3)).id)
    assert batch.request_counts.completed == 3
    assert set(BatchItem.objects.filter(batch__public_id=batch.id).values_list("provider", flat=True)) == {
        spread.accounts[1].provider
    }
    assert windows_of(desk).get().held == 0
    assert records_of(desk).count() == 3


def test_a_job_has_no_more_lines_than_its_account_takes(desk_for, make_spread):
    spread = make_spread({"limits": {"batch_lines": 2}}, prices=BATCH)
    desk = desk_for(budgets=[BUDGET])
    batch = desk.wait(desk.order(questions(spread.model, 5)).id)
    assert batch.request_counts.completed == 5
    counts = BatchJob.objects.filter(batch__public_id=batch.id).values_list("line_count", flat=True)
    assert sorted(counts) == [1, 2, 2]
    assert records_of(desk).count() == 5


def test_a_job_has_no_more_bytes_than_its_account_takes(desk_for, make_spread):
    spread = make_spread({"limits": {"batch_bytes": 1_500}}, prices=BATCH)
    desk = desk_for()
    batch = desk.wait(desk.order(questions(spread.model, 6)).id)
    assert batch.request_counts.completed == 6
    assert jobs_of(batch.id).total() > 1


def test_a_line_that_no_batch_takes_fails_alone(desk_for, make_spread):
    spread = make_spread({"limits": {"batch_bytes": 900}}, prices=BATCH)
    desk = desk_for(budgets=[BUDGET])
    long = question("long", "word " * 400, model=spread.model)
    batch = desk.wait(desk.order([*questions(spread.model, 2), long]).id)
    assert batch.request_counts.model_dump() == {"total": 3, "completed": 2, "failed": 1}
    assert list(desk.read(batch.error_file_id)) == ["long"]
    assert windows_of(desk).get().held == 0


def test_a_job_waits_until_its_account_has_room(desk_for, make_spread):
    spread = make_spread({"limits": {"batch_tokens": 40}}, prices=BATCH)
    desk = desk_for()
    batch = desk.wait(desk.order(questions(spread.model, 4)).id)
    assert batch.request_counts.completed == 4
    jobs = BatchJob.objects.filter(batch__public_id=batch.id).order_by("submitted_at")
    assert len(jobs) > 1
    for earlier, later in zip(jobs, list(jobs)[1:], strict=False):
        assert later.submitting_at >= earlier.finished_at


@pytest.mark.parametrize("kind", ["openai", "azure"])
def test_a_model_without_batches_is_answered_in_real_time_at_that_price(desk_for, make_deployment, kind):
    deployment = make_deployment(kind)
    desk = desk_for(budgets=[BUDGET])
    lines = [*questions(deployment.model, 12), question("again", "What is 3 plus 5?", model=deployment.model)]
    batch = desk.wait(desk.order(lines, headers={"x-purser-user": "alice"}).id)
    assert batch.request_counts.model_dump() == {"total": 13, "completed": 13, "failed": 0}
    rows = records_of(desk)
    bought = rows.filter(cache_state="miss")
    assert set(bought.values_list("processing", "model", "user_id")) == {
        ("online", deployment.model, "alice")
    }
    assert (bought.count(), rows.filter(cache_state="exact").count()) == (12, 1)
    for record in bought:
        assert record.billed_cost == (record.input_tokens + 4 * record.output_tokens) / Decimal(1_000_000)
        assert record.list_cost == record.billed_cost
    body = desk.read(batch.output_file_id)["q1"]["response"]["body"]
    assert (body["purser"]["processing"], body["purser"]["model"]) == ("online", deployment.model)
    assert windows_of(desk).get().held == 0
    log = RequestLog.objects.get(tenant_id=desk.member.id, request_id=body["purser"]["request_id"])
    assert any(step["step"] == "batch" for step in log.receipt["steps"])


def test_embeddings_without_a_price_in_batches_are_made_in_real_time(desk_for):
    desk = desk_for()
    line = {
        "custom_id": "e",
        "method": "POST",
        "url": "/v1/embeddings",
        "body": {"model": "text-embedding-3-small", "input": "a text"},
    }
    batch = desk.wait(desk.order([line], endpoint="/v1/embeddings").id)
    assert batch.request_counts.completed == 1
    assert records_of(desk).get().processing == "online"


def test_a_failure_in_real_time_ends_the_line_and_its_hold(desk_for, make_deployment):
    deployment = make_deployment()
    desk = desk_for(budgets=[BUDGET])
    desk.world.fault(match={"key": deployment.account_key}, fault="status:400", message="never")
    batch = desk.wait(desk.order(questions(deployment.model, 3)).id)
    assert batch.request_counts.model_dump() == {"total": 3, "completed": 2, "failed": 1}
    assert windows_of(desk).get().held == 0
    assert records_of(desk).count() == 2
