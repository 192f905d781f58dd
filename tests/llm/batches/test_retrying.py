"""An operator has the failed lines of an ended batch tried again: each once, on the books, and in the client's files."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User

from llm.batches.operations import verbs
from llm.models import Batch, BatchItem, BatchJob, RequestLog
from tests.llm.batches.conftest import Desk, question
from tests.llm.batches.test_batches import BUDGET, billed_upstream, records_of, windows_of
from tests.llm.batches.test_retries import attempts_of
from tests.world import Operator


@pytest.fixture
def olga(operator_account: Operator) -> User:
    return User.objects.get(username=operator_account.name)


def failed_once(desk: Desk, *, times: int = 3) -> str:
    """A batch of three lines whose last one has failed as often as it was tried."""
    tag = f"How much is 21 plus {desk.member.id}?"
    desk.world.fault(match={"contains": tag}, fault="status:503", times=times)
    lines = [question(f"q{number}", f"What is {number} plus 6?") for number in range(2)]
    batch = desk.wait(desk.order([*lines, question("odd", tag)]).id)
    assert batch.request_counts.model_dump() == {"total": 3, "completed": 2, "failed": 1}
    return str(batch.id)


def test_it_works(desk_for: Callable[..., Desk], olga: User) -> None:
    desk = desk_for(budgets=[BUDGET])
    name = failed_once(desk)
    before = desk.client.batches.retrieve(name)
    batch = Batch.objects.get(public_id=name)
    assert verbs.may_retry(batch)
    assert verbs.retry_failed(batch, acting_user=olga)
    assert not verbs.retry_failed(batch, acting_user=olga)  # it is open now

    after = desk.wait(name)
    assert after.request_counts.model_dump() == {"total": 3, "completed": 3, "failed": 0}
    assert set(desk.read(after.output_file_id)) == {"q0", "q1", "odd"}
    assert after.error_file_id is None
    assert set(desk.read(before.error_file_id)) == {"odd"}  # what was there stays
    assert attempts_of(desk) == {
        (1, "captured"): 2, (1, "voided"): 1, (2, "voided"): 1, (3, "voided"): 1, (4, "captured"): 1
    }  # fmt: skip
    assert records_of(desk).count() == len(billed_upstream(desk)) == 3
    assert windows_of(desk).get().held == 0
    line = BatchItem.objects.get(batch=batch, custom_id="odd")
    assert RequestLog.objects.get(request_id=line.request_id).status == 200
    batch.refresh_from_db()
    assert not verbs.may_retry(batch)
    assert not verbs.retry_failed(batch, acting_user=olga)


def test_lines_that_fail_again_are_on_the_books_once(desk_for: Callable[..., Desk], olga: User) -> None:
    desk = desk_for(budgets=[BUDGET])
    name = failed_once(desk, times=4)
    batch = Batch.objects.get(public_id=name)
    assert verbs.retry_failed(batch, acting_user=olga)
    after = desk.wait(name)
    assert after.request_counts.model_dump() == {"total": 3, "completed": 2, "failed": 1}
    assert attempts_of(desk)[4, "voided"] == 1
    assert records_of(desk).count() == 2
    assert windows_of(desk).get().held == 0
    assert BatchJob.objects.filter(batch=batch).exclude(state="finished").count() == 0
