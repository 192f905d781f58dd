"""An agent that goes round in circles is told; a long session, and many short answers, are none."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils.timezone import now

from billing.alerts import loops
from billing.alerts.watching import look
from billing.models import AlertEvent, AlertRule
from tenants.models import Tenant

pytestmark = pytest.mark.django_db

BOOK = """
INSERT INTO billing_usagerecord (id, occurred_at, tenant_id, period_id, usage_source, list_cost, provider_cost, contracted_cost,
    billed_cost, request_id, session, model, input_tokens, output_tokens)
SELECT gen_random_uuid(), %(at)s - n * interval '1 second', %(tenant)s, billing_period_at(%(tenant)s, %(at)s), 'provider',
    0.01, 0, 0.01, 0.01, gen_random_uuid(), %(session)s, %(model)s,
    %(input)s + (%(times)s - n) * %(input_grows)s + (%(times)s - n) * (%(times)s - n) * %(input_bends)s,
    %(output)s + (%(times)s - n) * %(output_grows)s + (n %% 2) * %(swings)s
FROM generate_series(1, %(times)s) AS n
"""


def book(tenant: Tenant, *, times: int, **fields: Any) -> None:
    given = {
        "at": now(),
        "session": "s-1",
        "model": "m",
        "input": 900,
        "output": 40,
        "input_grows": 0,
        "input_bends": 0,
        "output_grows": 0,
        "swings": 0,
    }
    with connection.cursor() as cursor:
        cursor.execute(BOOK, {**given, "tenant": tenant.pk, "times": times, **fields})


def test_it_works(tenant: Tenant) -> None:
    book(tenant, times=45, output_grows=1)
    assert look([loops.find], at=now()) == 1
    event = AlertEvent.objects.get(tenant=tenant)
    assert (event.metric, event.subject_key, event.value) == ("session_repeats", "session/s-1", 45)
    assert (
        "asked m 45 times within ten minutes with input of the same one or two lengths, for 0.4500 USD"
        in event.message
    )


def test_a_loop_that_appends_each_turn_is_found_by_its_answers(tenant: Tenant) -> None:
    book(tenant, times=50, input_grows=60)
    (found,) = loops.find(at=now())
    assert (found.value, found.facts["session"]) == (50, "s-1")
    assert "answers of the same one or two lengths" in found.message


def test_a_loop_of_two_steps_is_one(tenant: Tenant) -> None:
    book(tenant, times=50, input_grows=60, swings=30)
    (found,) = loops.find(at=now())
    assert found.value == 50


def think(tenant: Tenant, *, times: int, sends_again: bool, result: int = 200) -> None:
    """A loop whose answers are of other lengths each time; the thoughts are sent again with the next turn, or are not."""
    size = 9_000
    for number in range(times):
        answer = 40 + number * number % 97 + number
        book(tenant, times=1, at=now() - (times - number) * timedelta(seconds=2), input=size, output=answer)
        size += result + (answer if sends_again else 0)


@pytest.mark.parametrize(("sends_again", "what"), [(True, "results of tools"), (False, "added turns")])
def test_a_loop_that_thinks_is_found_by_what_is_added(tenant: Tenant, sends_again: bool, what: str) -> None:
    think(tenant, times=46, sends_again=sends_again)
    (found,) = loops.find(at=now())
    assert found.value == 45
    assert f"with {what} of the same one or two lengths" in found.message


@pytest.mark.parametrize("sends_again", [True, False])
def test_short_results_of_tools_are_no_loop(tenant: Tenant, sends_again: bool) -> None:
    think(tenant, times=60, sends_again=sends_again, result=31)
    assert loops.find(at=now()) == []


@pytest.mark.parametrize(
    ("times", "fields"),
    [
        (44, {}),
        (200, {"input_grows": 60, "input_bends": 2, "output_grows": 1}),
        (200, {"input_grows": 60, "input_bends": 2, "output": 1}),
        (200, {"session": ""}),
        (200, {"input_grows": -3}),
    ],
    ids=["too few", "a long session", "many short answers", "no session", "many texts that are classified"],
)
def test_what_is_no_loop(tenant: Tenant, times: int, fields: Any) -> None:
    book(tenant, times=times, **fields)
    assert loops.find(at=now()) == []


def test_models_and_sessions_are_counted_apart(tenant: Tenant) -> None:
    for session, model in (("s-1", "m"), ("s-1", "n"), ("s-2", "m")):
        book(tenant, times=30, session=session, model=model)
    assert loops.find(at=now()) == []


def test_a_rule_says_how_often(tenant: Tenant) -> None:
    AlertRule.objects.create(tenant=tenant, metric="session_repeats", threshold=60)
    book(tenant, times=59)
    assert loops.find(at=now()) == []
    book(tenant, times=1)
    assert len(loops.find(at=now())) == 1
