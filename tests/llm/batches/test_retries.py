"""What providers do to a batch: lines that fail, results that are odd or missing, a batch that fails as a whole."""

from collections import Counter

import pytest

from billing.models import Attempt
from llm.batches.driver import drive
from llm.models import Batch, BatchItem, BatchJob
from tests.llm.batches.conftest import question
from tests.llm.batches.test_batches import BUDGET, billed_upstream, records_of, windows_of

BOTH = pytest.mark.parametrize(
    ("model", "path"), [("gpt-4o-mini", "/v1/batches"), ("claude-haiku-4-5", "/v1/messages/batches")]
)


def questions(count: int = 4, *, model: str = "gpt-4o-mini"):
    return [question(f"q{number}", f"What is {number} plus 6?", model=model) for number in range(count)]


def attempts_of(desk) -> Counter[tuple[int, str]]:
    """The tenant's attempts by number and state."""
    rows = Attempt.objects.filter(tenant_id=desk.member.id).values_list("attempt_no", "state")
    return Counter(rows)


@pytest.mark.parametrize("model", ["gpt-4o-mini", "claude-haiku-4-5"])
def test_it_works(desk_for, model):
    """A line that fails for now goes out again, as another attempt."""
    desk = desk_for(budgets=[BUDGET])
    tag = f"How much is 11 plus {desk.member.id}?"
    desk.world.fault(match={"contains": tag, "model": model}, fault="status:500", times=1)
    lines = [*questions(3, model=model), question("odd", tag, model=model)]
    batch = desk.wait(desk.order(lines).id)
    assert batch.request_counts.model_dump() == {"total": 4, "completed": 4, "failed": 0}
    assert attempts_of(desk) == {(1, "captured"): 3, (1, "voided"): 1, (2, "captured"): 1}
    assert records_of(desk).count() == len(billed_upstream(desk)) == 4
    assert BatchJob.objects.filter(batch__public_id=batch.id).count() == 2
    assert windows_of(desk).get().held == 0


def test_a_line_that_keeps_failing_fails_after_a_bounded_number_of_attempts(desk_for):
    desk = desk_for(budgets=[BUDGET])
    tag = f"How much is 12 plus {desk.member.id}?"
    desk.world.fault(match={"contains": tag}, fault="status:503", times=9)
    batch = desk.wait(desk.order([question("never", tag), *questions(2)]).id)
    assert batch.request_counts.model_dump() == {"total": 3, "completed": 2, "failed": 1}
    assert list(desk.read(batch.error_file_id)) == ["never"]
    assert attempts_of(desk) == {(1, "captured"): 2, (1, "voided"): 1, (2, "voided"): 1, (3, "voided"): 1}
    assert windows_of(desk).get().held == 0


def test_a_line_that_is_wrong_goes_out_once(desk_for):
    desk = desk_for()
    batch = desk.wait(desk.order([*questions(1), question("bad", "Hi", temperature=17)]).id)
    assert batch.request_counts.failed == 1
    assert attempts_of(desk) == {(1, "captured"): 1, (1, "voided"): 1}


def test_a_batch_that_fails_as_a_whole_is_submitted_again(desk_for):
    desk = desk_for(budgets=[BUDGET])
    desk.world.fault(match={"path": "/v1/batches"}, fault="fail_batch", times=1)
    batch = desk.wait(desk.order(questions(3)).id)
    assert batch.request_counts.completed == records_of(desk).count() == len(billed_upstream(desk)) == 3
    assert attempts_of(desk) == {(1, "voided"): 3, (2, "captured"): 3}


def test_a_batch_that_always_fails_ends_with_the_providers_reason(desk_for):
    desk = desk_for(budgets=[BUDGET])
    desk.world.fault(match={"path": "/v1/batches"}, fault="fail_batch", times=9)
    batch = desk.wait(desk.order(questions(2)).id)
    assert batch.request_counts.model_dump() == {"total": 2, "completed": 0, "failed": 2}
    assert {row["error"]["message"] for row in desk.read(batch.error_file_id).values()} == {
        "The batch could not be processed."
    }
    assert BatchJob.objects.filter(batch__public_id=batch.id).count() == 3
    assert windows_of(desk).get().held == 0


@BOTH
def test_lines_that_are_missing_in_the_results_go_out_again(desk_for, model, path):
    desk = desk_for(budgets=[BUDGET])
    desk.world.fault(match={"path": path}, fault="lose_results", times=1)
    batch = desk.wait(desk.order(questions(4, model=model)).id)
    assert batch.request_counts.completed == records_of(desk).count() == 4
    assert attempts_of(desk) == {(1, "captured"): 2, (1, "voided"): 2, (2, "captured"): 2}


@BOTH
def test_results_in_any_order_twice_and_of_strangers_are_settled_once(desk_for, model, path):
    desk = desk_for(budgets=[BUDGET])
    desk.world.fault(match={"path": path}, fault="odd_results", times=1)
    batch = desk.wait(desk.order(questions(4, model=model)).id)
    assert batch.request_counts.completed == records_of(desk).count() == 4
    assert len(billed_upstream(desk)) == 4
    assert attempts_of(desk) == {(1, "captured"): 4}


def test_an_answer_without_usage_is_counted_and_paid(desk_for):
    desk = desk_for(budgets=[BUDGET])
    tag = f"How much is 13 plus {desk.member.id}?"
    desk.world.fault(match={"contains": tag}, fault="missing_usage", times=1)
    batch = desk.wait(desk.order([question("a", tag)]).id)
    assert batch.request_counts.completed == 1
    (record,) = records_of(desk)
    assert record.certainty in {"estimated", "unread"}
    assert record.billed_cost > 0


def test_a_batch_whose_every_line_failed_has_an_error_file_only(desk_for):
    desk = desk_for(budgets=[BUDGET])
    batch = desk.wait(desk.order([question(name, f"Hi {name}", temperature=17) for name in "ab"]).id)
    assert (batch.status, batch.output_file_id) == ("completed", None)
    assert set(desk.read(batch.error_file_id)) == {"a", "b"}
    assert windows_of(desk).get().held == 0


def test_a_driver_killed_while_lines_go_out_again_sends_them_once(desk_for):
    """As if it had been killed after the first attempt was over, and the next one written down and not held."""
    desk = desk_for(budgets=[BUDGET])
    desk.world.control("POST", "/settings", {"batch_delay_s": 4})
    tag = f"How much is 14 plus {desk.member.id}?"
    desk.world.fault(match={"contains": tag}, fault="status:429", times=1)
    try:
        batch = desk.wait(desk.order([question("a", tag)]).id)
    finally:
        desk.world.control("POST", "/settings", {"batch_delay_s": 0.5})
    row = Batch.objects.get(public_id=batch.id)
    before = list(records_of(desk).values())
    BatchItem.objects.filter(batch=row).update(settled_at=None, status="submitted", response=None)
    row.jobs.filter(items__isnull=False).update(state="submitted", finished_at=None)
    Batch.objects.filter(pk=row.pk).update(status="in_progress")
    drive(row.pk)
    assert desk.wait(batch.id).request_counts.completed == 1
    assert list(records_of(desk).values()) == before
    assert attempts_of(desk) == {(1, "voided"): 1, (2, "captured"): 1}
