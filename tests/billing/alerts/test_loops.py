"""An agent that goes round in circles is told; a long session, and many short answers, are none."""

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
    0.01, 0, 0.01, 0.01, gen_random_uuid(), %(session)s, %(model)s, %(input)s + (%(times)s - n) * %(input_grows)s,
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


@pytest.mark.parametrize(
    ("times", "fields"),
    [
        (44, {}),
        (200, {"input_grows": 60, "output_grows": 1}),
        (200, {"input_grows": 60, "output": 1}),
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
