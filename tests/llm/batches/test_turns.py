"""Tenants take turns: who comes next, when a turn is over, and that a large batch keeps no small one waiting."""

import math
import secrets
from collections.abc import Callable, Iterator
from datetime import timedelta

import psycopg
import pytest
from django.utils import timezone

from config.work import stopping
from llm.batches.turns import UNFINISHED, Turn, next_turn, waiting
from llm.models import Batch
from tenants.models import Tenant
from tests.llm.batches.conftest import Desk, question


@pytest.fixture
def quiet(db: None) -> None:
    """No batch of another test waits."""
    Batch.objects.filter(status__in=UNFINISHED).update(status=Batch.Status.FAILED)


@pytest.fixture
def make_batch(quiet: None) -> Callable[..., Batch]:
    def make(tenant: Tenant) -> Batch:
        now = timezone.now()
        return Batch.objects.create(
            public_id=f"batch_{secrets.token_hex(8)}",
            tenant=tenant,
            key_id=1,
            endpoint="/v1/chat/completions",
            created_at=now,
            expires_at=now + timedelta(hours=24),
        )

    return make


@pytest.fixture
def tenants(quiet: None) -> Iterator[tuple[Tenant, ...]]:
    return tuple(Tenant.objects.create(slug=f"turn-{secrets.token_hex(4)}", name=name) for name in "ABC")


def taken(count: int) -> list[int]:
    """The batches of the next turns."""
    found = []
    for _ in range(count):
        with next_turn() as turn:
            assert turn is not None
            found.append(turn[0])
    return found


def test_it_works(tenants, make_batch):
    """Whoever has many batches gets as many turns as who has one; within a tenant they take turns, too."""
    first, second, third = tenants
    many = [make_batch(first) for _ in range(4)]
    one, other = make_batch(second), make_batch(third)
    turns = taken(12)
    assert turns.count(one.pk) == turns.count(other.pk) == 4
    assert [pk for pk in turns if pk in {batch.pk for batch in many}] == [batch.pk for batch in many]
    tenant_of = {batch.pk: batch.tenant_id for batch in (*many, one, other)}
    for begin in range(0, 12, 3):
        assert len({tenant_of[pk] for pk in turns[begin : begin + 3]}) == 3


def test_a_tenant_with_ever_new_batches_does_not_come_first(tenants, make_batch):
    first, second, _ = tenants
    patient = make_batch(second)
    found = []
    for _ in range(6):
        make_batch(first)
        found += taken(1)
    assert found.count(patient.pk) == 3


def test_what_another_worker_drives_is_passed_over(tenants, make_batch, tests_database_url):
    first, second, _ = tenants
    driven, free = make_batch(first), make_batch(second)
    with psycopg.connect(tests_database_url, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(20562, %s::int)", (driven.pk,))
        assert [batch.pk for batch in waiting()] == [free.pk]
        assert taken(2) == [free.pk, free.pk]
    assert driven.pk in taken(2)


def test_two_workers_do_not_work_for_one_tenant(tenants, make_batch, tests_database_url):
    """So that a tenant with two large batches leaves a worker to the others."""
    first, second, _ = tenants
    make_batch(first), make_batch(first)
    free = make_batch(second)
    with psycopg.connect(tests_database_url, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(20563, %s::int)", (first.pk,))
        assert [batch.pk for batch in waiting()] == [free.pk]
        assert taken(1) == [free.pk]


def test_a_turn_goes_on_while_nobody_waits_and_ends_when_somebody_does(tenants, make_batch):
    first, second, _ = tenants
    make_batch(first)
    turn = Turn(first.pk, ends_at=0.0)
    assert not turn.is_over()
    turn.ends_at = 0.0
    make_batch(second)
    assert turn.is_over()
    assert turn.is_cut


def test_a_turn_that_has_just_begun_is_not_over_though_others_wait(tenants, make_batch):
    make_batch(tenants[1])
    assert not Turn.begun(tenants[0].pk).is_over()


def test_a_turn_ends_when_its_worker_stops(quiet):
    turn = Turn.begun(1)
    assert not turn.is_over()
    stopping.ask()
    try:
        assert turn.is_over()
    finally:
        stopping.begin()


def test_no_turn_lasts_for_ever(quiet):
    turn = Turn(1, ends_at=0.0, ends_anyway_at=0.0)
    assert turn.is_over()
    assert Turn().ends_anyway_at == math.inf  # but a command's, which no queue waits for


@pytest.mark.slow
def test_ten_lines_do_not_wait_for_thousands(desk_for: Callable[..., Desk]) -> None:
    """With real workers: both are held, sent and settled in turns."""
    large, small = desk_for(), desk_for()
    first = large.order(question(f"large-{number}", f"What is {number} plus 1?") for number in range(4000))
    second = small.order(question(f"small-{number}", f"What is {number} plus 2?") for number in range(10))
    done = small.wait(second.id)
    assert (done.status, done.request_counts.completed) == ("completed", 10)
    assert Batch.objects.get(public_id=first.id).status in ("validating", "in_progress")
    done = large.wait(first.id)
    assert (done.status, done.request_counts.completed) == ("completed", 4000)
