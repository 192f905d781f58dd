"""What a provider tells and nobody can read: booked at a bound, told to the operators, settled when it is explained."""

from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User

from billing.alerts.findings import count_findings
from billing.ledger import unread
from billing.models import AlertEvent, Attempt, UsageRecord
from tests.api.conftest import ask, ask_claude, fresh_question, purser_of
from tests.books import Books, eventually
from tests.world import World

MILLION = Decimal(1_000_000)


def call(world: World, behaviour: str, *, model: str = "gpt-4o-mini") -> tuple[UsageRecord, dict[str, Any]]:
    """Ask one that answers so; its row and its receipt."""
    how = ask_claude if model.startswith("claude") else ask
    client = world.anthropic() if model.startswith("claude") else world.openai()
    answered = how(client, f"{fresh_question()} behaviour:{behaviour}.", model=model, max_tokens=40)
    request_id = purser_of(answered)["request_id"]
    row = eventually(lambda: UsageRecord.objects.filter(request_id=request_id).first())
    path = f"/v1/requests/{request_id}"
    _, receipt = eventually(lambda: world.get(path), until=lambda answer: answer[0] == 200)
    return row, receipt


@pytest.mark.parametrize(
    ("behaviour", "model", "told"),
    [
        ("unknown_figure_beside", "gpt-4o-mini", "usage."),
        ("unknown_tier", "gpt-4o-mini", "ultrafast"),
        ("tier_without_a_price", "gpt-4o-mini", "priority"),
        ("openai_cache_lifetimes", "gpt-4o-mini", "no price for"),
        ("figures_beyond_bigint", "gpt-4o-mini", "no count"),
        ("input_above_the_window", "gpt-4o-mini", "input tokens, of a model that takes"),
        ("total_below_the_parts", "gpt-4o-mini", "more than"),
        ("served_in_a_region", "claude-haiku-4-5", "region"),
        ("served_at_another_speed", "claude-haiku-4-5", "speed"),
        ("iteration_of_an_unknown_type", "claude-haiku-4-5", "iteration"),
    ],
)
def test_it_works(world: World, behaviour: str, model: str, told: str) -> None:
    row, receipt = call(world, behaviour, model=model)
    hold = Attempt.objects.get(pk=row.pk).hold_usd
    assert (row.certainty, row.usage_source == "provider" and row.price_status == "priced") == (
        "unread",
        False,
    )
    assert row.billed_cost >= hold
    assert told in row.reason
    assert row.raw_usage
    (attempt,) = receipt["attempts"]
    assert attempt["certainty"] == "unread"
    assert "no usage reported" not in attempt["reason"]
    sums = world.get("/v1/usage")[1]["total"]
    assert Decimal(sums["unread_usd"]) == Decimal(sums["cost_usd"]) == row.billed_cost


def test_the_operators_are_told_once(world: World) -> None:
    count_findings()  # of other tests
    AlertEvent.objects.filter(metric="unread_usage").delete()
    for _ in range(2):
        call(world, "unknown_figure_beside")
    count_findings()
    (event,) = AlertEvent.objects.filter(metric="unread_usage")
    assert event.tenant is None
    assert event.subject_key.startswith("sandbox-openai/gpt-4o-mini: ")
    assert event.count == 2
    assert "could not be read" in event.message
    call(world, "unknown_detail_of_input")
    count_findings()
    assert AlertEvent.objects.filter(metric="unread_usage").count() == 2


def test_a_person_explains_it(world: World, books: Books) -> None:
    row, _ = call(world, "unknown_figure_beside")
    person = User.objects.create(username=f"olga-{row.pk}")
    difference = unread.explain(
        row, amount_usd=Decimal("0.0001"), explanation="a count of pages", acting_user=person
    )
    assert difference == Decimal("0.0001") - row.billed_cost
    first, correction = books.rows(world.acme.id)
    assert (first.certainty, correction.certainty, correction.kind) == ("unread", "exact", "correction")
    assert first.billed_cost + correction.billed_cost == Decimal("0.0001")
    assert "a count of pages" in correction.reason
    sums = world.get("/v1/usage")[1]["total"]
    assert (Decimal(sums["unread_usd"]), Decimal(sums["exact_usd"])) == (0, Decimal("0.0001"))
    with pytest.raises(Exception, match="nothing to explain"):
        unread.explain(row, amount_usd=Decimal(1), explanation="again", acting_user=person)


def test_a_release_that_can_read_it_does(world: World, books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    from billing.usage.blocks import free_fields

    row, _ = call(world, "unknown_figure_beside")
    assert not unread.read_again(row)
    for name in row.raw_usage:
        monkeypatch.setitem(free_fields.FREE_FIELDS, name, "looked up by the next release")
    assert unread.read_again(row)
    assert not unread.read_again(row)
    first, correction = books.rows(world.acme.id)
    billed = first.billed_cost + correction.billed_cost
    tokens_in, tokens_out = row.raw_usage["prompt_tokens"], row.raw_usage["completion_tokens"]
    assert billed == (tokens_in * Decimal("0.15") + tokens_out * Decimal("0.60")) / MILLION
    assert (correction.usage_source, correction.certainty) == ("provider", "exact")


@pytest.mark.parametrize(
    ("behaviour", "tokens_out"),
    [
        ("reasoning_outside_completion", None),
        ("reasoning_outside_and_small", 74),
        ("figures_as_strings", None),
    ],
)
def test_what_can_be_read_is_exact(world: World, behaviour: str, tokens_out: int | None) -> None:
    row, _ = call(world, behaviour)
    assert (row.certainty, row.usage_source) == ("exact", "provider")
    assert tokens_out is None or row.output_tokens == tokens_out
    assert Decimal(world.get("/v1/usage")[1]["total"]["exact_usd"]) == row.billed_cost
