"""Batches end to end: the real SDK, a real worker, the sandbox's own batch API, and the ledger behind it."""

from decimal import Decimal

import openai
import pytest

from billing.models import Attempt, BudgetWindow, UsageRecord
from llm.models import BatchItem, BatchJob, RequestLog
from tests.llm.batches.conftest import CHAT, Desk, jsonl, question

BUDGET = {"scope": "tenant", "unit": "usd", "period": "month", "limit": "5", "mode": "hard"}


def records_of(desk):
    return UsageRecord.objects.filter(tenant_id=desk.member.id)


def windows_of(desk):
    return BudgetWindow.objects.filter(tenant_id=desk.member.id)


def batch_calls(desk, kind: str = "batches"):
    """The batches that the sandbox was asked to make, and that carry this tenant's lines."""
    names = {
        str(name)
        for name in BatchJob.objects.filter(tenant_id=desk.member.id).values_list("upstream_id", flat=True)
    }
    calls = desk.world.control("GET", "/calls")["calls"]
    return [
        call
        for call in calls
        if call["method"] == "POST" and call["path"].endswith(kind) and call["upstream_id"] in names
    ]


def billed_upstream(desk):
    """What the provider's own log says it billed for this tenant's lines, by their names."""
    names = {
        str(name)
        for name in BatchItem.objects.filter(tenant_id=desk.member.id).values_list("request_id", flat=True)
    }
    calls = desk.world.control("GET", "/calls?processing=batch")["calls"]
    return [call for call in calls if call["custom_id"] in names and call["status"] == 200]


def test_it_works(desk_for):
    desk = desk_for(budgets=[BUDGET])
    order = desk.order(
        [question(f"q-{number}", f"What is {number} plus {number}?") for number in range(5)],
        headers={"x-purser-user": "alice", "x-purser-feature": "nightly", "x-purser-tags": "project=apollo"},
    )
    assert (order.object, order.status, order.endpoint) == ("batch", "validating", CHAT)

    batch = desk.wait(order.id)

    assert (batch.status, batch.error_file_id, batch.errors) == ("completed", None, None)
    assert batch.request_counts.model_dump() == {"total": 5, "completed": 5, "failed": 0}
    assert batch.in_progress_at <= batch.finalizing_at <= batch.completed_at
    rows = desk.read(batch.output_file_id)
    assert list(rows) == [f"q-{number}" for number in range(5)]
    for row in rows.values():
        assert (row["error"], row["response"]["status_code"]) == (None, 200)
        assert row["response"]["body"]["choices"][0]["message"]["content"]
        assert row["response"]["body"]["purser"]["processing"] == "batch"

    records = list(records_of(desk))
    assert len(records) == len(billed_upstream(desk)) == 5
    assert {record.processing for record in records} == {"batch"}
    assert {(record.user_id, record.feature, record.project, record.cost_center) for record in records} == {
        ("alice", "nightly", "apollo", "4711")
    }
    for record in records:
        expected = (
            record.input_tokens * Decimal("0.075") + record.output_tokens * Decimal("0.30")
        ) / 1_000_000
        assert record.billed_cost == expected
        assert record.list_cost == 2 * expected
        assert (
            record.saving == {"batch": f"{expected.normalize():f}"}
            or Decimal(record.saving["batch"]) == expected
        )
    cost = sum(record.billed_cost for record in records)
    assert Decimal(batch.purser["cost_usd"]) == cost
    assert Decimal(batch.purser["saved_usd"]) == cost
    window = windows_of(desk).get()
    assert (window.held, window.spent) == (0, cost)
    assert RequestLog.objects.filter(tenant_id=desk.member.id, status=200, cost_usd__gt=0).count() == 5


@pytest.mark.parametrize(("budgets", "most"), [([], 16_384), ([BUDGET], 2_048)], ids=["none", "hard"])
def test_a_line_without_a_limit_gets_the_models_own_where_no_hard_budget_counts_it(desk_for, budgets, most):
    """Nothing can be held beyond what was held at first: where a hard budget counts a line, it gets no longer."""
    desk = desk_for(budgets=budgets)
    line = question("a", "What is 1 plus 1?")
    del line["body"]["max_tokens"]
    assert desk.wait(desk.order([line]).id).status == "completed"
    (call,) = billed_upstream(desk)
    assert call["max_tokens"] == most
    (record,) = records_of(desk)
    assert Attempt.objects.get(pk=record.attempt_id).hold_tokens < 2_200


def test_one_batch_may_mix_models_and_providers(desk):
    order = desk.order(
        [
            question("a", "What is 1 plus 1?", model="gpt-4o-mini"),
            question("b", "What is 2 plus 2?", model="claude-haiku-4-5"),
            question("c", "What is 3 plus 3?", model="gpt-4.1-nano"),
        ]
    )
    batch = desk.wait(order.id)
    assert batch.status == "completed"
    rows = desk.read(batch.output_file_id)
    assert {name: row["response"]["body"]["object"] for name, row in rows.items()} == dict.fromkeys(
        "abc", "chat.completion"
    )
    jobs = BatchJob.objects.filter(batch__public_id=order.id).values_list("provider", "model", "state")
    assert set(jobs) == {
        ("sandbox-openai", "gpt-4o-mini", "finished"),
        ("sandbox-anthropic", "claude-haiku-4-5", "finished"),
        ("sandbox-openai", "gpt-4.1-nano", "finished"),
    }
    assert set(records_of(desk).values_list("model", flat=True)) == {
        "gpt-4o-mini",
        "claude-haiku-4-5",
        "gpt-4.1-nano",
    }


def test_a_file_with_wrong_lines_is_refused_as_a_whole(desk_for):
    desk = desk_for(budgets=[BUDGET], key={"models": ["gpt-4o-mini", "unpriced-model"]})
    order = desk.order(
        [
            question("a", "fine"),
            question("a", "the same name"),
            question("b", "not mine", model="gpt-4o"),
            question("c", "no price", model="unpriced-model"),
            question("d", "nobody knows it", model="gone"),
        ]
    )
    batch = desk.client.batches.retrieve(order.id)
    assert order.status == batch.status == "failed"
    problems = [(problem.line, problem.code, problem.param) for problem in batch.errors.data]
    assert problems == [
        (2, "invalid_request", "custom_id"),
        (3, "model_not_allowed", "model"),
        (4, "model_unpriced", "model"),
        (5, "model_not_found", "model"),
    ]
    assert (batch.error_file_id, batch.request_counts.total) == (None, 5)
    uploaded = desk.client.files.retrieve(batch.input_file_id)
    assert uploaded.status == "error"
    assert uploaded.status_details.startswith("line 2: 'custom_id' is the same as in line 1.")
    assert [problem["line"] for problem in uploaded.purser["problems"]] == [2, 3, 4, 5]
    assert not Attempt.objects.filter(tenant_id=desk.member.id).exists()
    assert not BatchJob.objects.filter(tenant_id=desk.member.id).exists()


def test_a_batch_that_does_not_fit_into_a_budget_is_refused_when_it_is_created(desk_for):
    desk = desk_for(budgets=[{**BUDGET, "limit": "0.00005"}])
    with pytest.raises(openai.RateLimitError) as caught:
        desk.order([question(f"q{number}", f"What is {number} plus 1?") for number in range(20)])
    assert caught.value.code == "budget_exceeded"
    assert "tenant budget" in caught.value.message
    assert "this batch may need" in caught.value.message
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert list(desk.client.batches.list()) == []
    assert not Attempt.objects.filter(tenant_id=desk.member.id).exists()


def test_a_batch_its_budget_cannot_pay_any_more_fails_and_keeps_no_hold(world, stack, make_tenant):
    stack.kill_celery()  # both are created before the first is held
    desk = Desk(world, make_tenant(budgets=[{**BUDGET, "limit": "0.0005"}]))
    orders = [
        desk.order([question(f"q{number}", f"What is {number} plus {more}?") for number in range(20)])
        for more in range(2)
    ]
    stack.start_celery()
    batches = [desk.wait(order.id) for order in orders]
    refused = next(batch for batch in batches if batch.status == "failed")
    assert sorted(batch.status for batch in batches) == ["completed", "failed"]
    assert refused.errors.data[0].code == "budget_exceeded"
    assert "tenant budget" in refused.errors.data[0].message
    assert windows_of(desk).get().held == 0
    assert BatchJob.objects.filter(tenant_id=desk.member.id).count() == 1


def test_what_a_batch_may_cost_is_said_before_and_what_it_cost_after(world, stack, make_tenant):
    desk = Desk(world, make_tenant(budgets=[BUDGET]))
    order = desk.order([question(f"q{number}", f"What is {number} plus 1?") for number in range(5)])
    before = {name: Decimal(amount) for name, amount in order.purser.items()}
    assert 0 < before["estimated_cost_usd"] < before["upper_bound_usd"]
    assert before["estimated_list_cost_usd"] == 2 * before["estimated_cost_usd"]
    assert before["estimated_saved_usd"] == before["estimated_cost_usd"]
    assert before["cost_usd"] == before["saved_usd"] == 0
    stack.start_celery()
    after = {name: Decimal(amount) for name, amount in desk.wait(order.id).purser.items()}
    held = Attempt.objects.filter(tenant_id=desk.member.id).values_list("hold_usd", flat=True)
    assert sum(held) == after["upper_bound_usd"] == before["upper_bound_usd"]
    assert 0 < after["cost_usd"] <= after["upper_bound_usd"]
    assert after["saved_usd"] == after["list_cost_usd"] - after["cost_usd"] == after["cost_usd"]


def test_a_line_the_provider_refuses_costs_nothing_and_says_why(desk_for):
    desk = desk_for(budgets=[BUDGET])
    lines = [question(f"q-{number}", f"What is {number} plus 1?") for number in range(3)]
    lines[1]["body"]["temperature"] = 17
    batch = desk.wait(desk.order(lines).id)
    assert batch.status == "completed"
    assert batch.request_counts.model_dump() == {"total": 3, "completed": 2, "failed": 1}
    assert set(desk.read(batch.output_file_id)) == {"q-0", "q-2"}
    failed = desk.read(batch.error_file_id)
    assert list(failed) == ["q-1"]
    assert failed["q-1"]["response"]["status_code"] == 400
    assert "temperature" in failed["q-1"]["response"]["body"]["error"]["message"]
    assert records_of(desk).count() == 2
    assert windows_of(desk).get().held == 0


def test_a_cancelled_batch_pays_for_what_was_answered_and_nothing_else(desk_for):
    desk = desk_for(budgets=[BUDGET])
    desk.world.control("POST", "/settings", {"batch_delay_s": 5})
    try:
        order = desk.order([question(f"q{number}", f"What is {number} plus 1?") for number in range(4)])
        desk.wait(order.id, until=frozenset({"in_progress"}))
        assert desk.client.batches.cancel(order.id).status in {"cancelling", "cancelled"}
        batch = desk.wait(order.id)
    finally:
        desk.world.control("POST", "/settings", {"batch_delay_s": 0.5})
    assert batch.status == "cancelled"
    assert records_of(desk).count() == len(billed_upstream(desk)) == batch.request_counts.completed
    assert windows_of(desk).get().held == 0
    assert set(desk.read(batch.output_file_id)) | set(desk.read(batch.error_file_id)) == {
        f"q{number}" for number in range(4)
    }


def test_a_finished_batch_cannot_be_cancelled(desk):
    batch = desk.wait(desk.order([question("a", "What is 1 plus 1?")]).id)
    with pytest.raises(openai.BadRequestError):
        desk.client.batches.cancel(batch.id)


def test_another_tenants_batch_is_not_there(desk, world):
    order = desk.order([question("a", "What is 1 plus 1?")])
    stranger = world.openai(world.outsider)
    for ask in (stranger.batches.retrieve, stranger.batches.cancel):
        with pytest.raises(openai.NotFoundError) as caught:
            ask(order.id)
        assert caught.value.code == "not_found"
    assert list(stranger.batches.list()) == []
    batch = desk.wait(order.id)
    with pytest.raises(openai.NotFoundError):
        stranger.files.content(batch.output_file_id)


def test_the_list_is_newest_first_and_turns_pages(desk):
    made = [desk.order([question("a", "What is 1 plus 1?")]).id for _ in range(3)]
    assert [batch.id for batch in desk.client.batches.list(limit=2)] == made[::-1]


@pytest.mark.parametrize(
    ("order", "field"),
    [
        ({"endpoint": "/v1/nonsense", "completion_window": "24h"}, "endpoint"),
        ({"endpoint": CHAT, "completion_window": "1h"}, "completion_window"),
        ({"endpoint": CHAT, "completion_window": "24h", "metadata": {"x" * 65: "y"}}, "metadata"),
    ],
)
def test_an_order_that_is_wrong_names_its_field(desk, order, field):
    uploaded = desk.client.files.create(file=("lines.jsonl", jsonl([question("a", "b")])), purpose="batch")
    with pytest.raises(openai.BadRequestError) as caught:
        desk.client.batches.create(input_file_id=uploaded.id, **order)
    assert caught.value.param.startswith(field)


def test_a_batch_over_no_file_or_the_wrong_file_is_refused(desk):
    with pytest.raises(openai.NotFoundError):
        desk.client.batches.create(input_file_id="file-none", endpoint=CHAT, completion_window="24h")
    other = desk.client.files.create(file=("a", b"{}"), purpose="user_data")
    with pytest.raises(openai.BadRequestError):
        desk.client.batches.create(input_file_id=other.id, endpoint=CHAT, completion_window="24h")


def test_what_a_client_attaches_comes_back(desk):
    uploaded = desk.client.files.create(
        file=("l", jsonl([question("a", "What is 1 plus 1?")])), purpose="batch"
    )
    order = desk.client.batches.create(
        input_file_id=uploaded.id, endpoint=CHAT, completion_window="24h", metadata={"night": "1"}
    )
    assert order.metadata == {"night": "1"}
    assert desk.client.batches.retrieve(order.id).input_file_id == uploaded.id
