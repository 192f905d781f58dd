"""What is learned from how holds compared with bills: a report, a factor, and holds that stay upper bounds."""

import io
import json
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from hypothesis import given
from hypothesis import strategies as st

from billing.estimates.accuracy import (
    CALLS_TO_LOWER,
    CALLS_TO_RAISE,
    HIGHEST_FACTOR,
    LOWEST_FACTOR,
    Accuracy,
)
from billing.estimates.book import FRAMING_MARGIN_TOKENS, EstimateBook, Lesson
from billing.estimates.costs import expected_cost, hold_for
from billing.prices.book import Price, rates_of
from tests.api.conftest import ask, turns
from tests.books import Books, eventually
from tests.world import World


def figures(**other: Any) -> Accuracy:
    return Accuracy(
        **{
            "provider": "p",
            "model": "m",
            "shape": "text",
            "samples": 1000,
            "learned_from": 1000,
            "input_ratio_p50": Decimal("0.8"),
            "input_ratio_high": Decimal("0.9"),
            "hold_usd": Decimal(3),
            "billed_usd": Decimal(2),
            "hold_ratio_p50": Decimal("1.5"),
            "short": 0,
            "output_p50": 100,
            "output_p95": 300,
            **other,
        }
    )


def test_it_works() -> None:
    one = figures()
    assert one.hold_ratio == Decimal("1.5")
    assert one.input_factor == Decimal("0.9090")  # the high quantile, and a hundredth of headroom


def test_an_exact_tokenizer_stays_as_it_is() -> None:
    assert figures(input_ratio_high=Decimal(1)).input_factor == 1
    assert figures(input_ratio_high=Decimal("0.9999")).input_factor == 1


def test_few_calls_lower_nothing_and_raise_soon() -> None:
    assert figures(learned_from=CALLS_TO_LOWER - 1).input_factor == 1
    above = Decimal("1.25")
    assert figures(learned_from=CALLS_TO_RAISE - 1, input_ratio_high=above).input_factor == 1
    assert figures(learned_from=CALLS_TO_RAISE, input_ratio_high=above).input_factor == above
    assert figures(learned_from=0, input_ratio_high=None).input_factor == 1


@given(high=st.decimals(min_value=0, max_value=100, places=4), calls=st.integers(0, 10_000))
def test_no_lesson_goes_beyond_its_bounds(high: Decimal, calls: int) -> None:
    factor = figures(input_ratio_high=high, learned_from=calls).input_factor
    assert LOWEST_FACTOR <= factor <= HIGHEST_FACTOR


@given(
    counted=st.integers(0, 2_000_000),
    ratio=st.decimals(min_value="0.5", max_value="4", places=4),
)
def test_a_hold_covers_every_call_up_to_the_learned_ratio(counted: int, ratio: Decimal) -> None:
    book = EstimateBook({("p", "m", "text"): Lesson(ratio)})
    most = book.most_input_tokens(counted, provider="p", model="m", shape="text")
    assert most >= counted * ratio + FRAMING_MARGIN_TOKENS
    assert most <= counted * ratio + FRAMING_MARGIN_TOKENS + 1
    assert (
        book.most_input_tokens(counted, provider="p", model="m", shape="media")
        == -(-counted * 13 // 10) + FRAMING_MARGIN_TOKENS
    )


def test_the_error_of_a_new_model_goes_with_evidence() -> None:
    def most(calls: int) -> int:
        book = EstimateBook({("p", "m", "text"): Lesson(calls=calls)})
        assert book.likely_input_tokens(1000, provider="p", model="m", shape="text") == 1016
        return book.most_input_tokens(1000, provider="p", model="m", shape="text")

    assert [most(calls) for calls in (0, 10, 19, 20, 1000)] == [1316, 1166, 1031, 1016, 1016]


HAIKU = rates_of(
    [
        Price("input", Decimal("0.10")),
        Price("input", Decimal("0.50"), above_input_tokens=100_000),
        Price("output", Decimal("0.50")),
        Price("output", Decimal("2.50"), above_input_tokens=100_000),
    ],
    provider="p",
    model="m",
)


@pytest.mark.parametrize(
    ("counted", "calls", "rate"),
    [
        (76_000, 0, "0.10"),
        (77_000, 0, "0.50"),
        (99_000, 0, "0.50"),
        (99_000, 20, "0.10"),
        (99_990, 20, "0.50"),
    ],
)
def test_a_count_within_its_error_of_a_dearer_tier_is_held_at_that_tiers_price(
    counted: int, calls: int, rate: str
) -> None:
    book = EstimateBook({("p", "m", "text"): Lesson(calls=calls)})
    most = book.most_input_tokens(counted, provider="p", model="m", shape="text")
    hold = hold_for(HAIKU, input_tokens=most, max_output_tokens=1000)
    assert hold == (Decimal(rate) * most + Decimal(rate) * 5 * 1000) / 10**6
    assert expected_cost(HAIKU, input_tokens=counted, output_tokens=0) == Decimal("0.10") * counted / 10**6


PROMPT = (
    "Summarise the following text in a sentence. "
    + "The river runs through the old town and on to the sea. " * 8
)


@pytest.fixture
def history(committed: None, world: World) -> Callable[..., None]:
    """Settled calls of the past, as the gateway would have written them, of a model of its own."""
    from django.db import connection

    from billing.models import Attempt

    def write(
        model: str, provider: str, *, ratios: list[float], counted: int = 1000, shape: str = "text"
    ) -> None:
        at = datetime.now(UTC) - timedelta(minutes=5)
        for ratio in ratios:
            with connection.cursor() as cursor:
                cursor.execute("SELECT gen_random_uuid(), billing_period_at(%s, %s)", (world.acme.id, at))
                (identity, period) = cursor.fetchone()
                Attempt.objects.create(
                    id=identity, tenant_id=world.acme.id, request_id=identity, attempt_no=1, provider=provider,
                    model=model, occurred_at=at, hold_usd="0.004", hold_tokens=2000, state="captured", expires_at=at,
                    settled_at=at, dims={"counted_input_tokens": counted, "shape": shape},
                )  # fmt: skip
                cursor.execute(
                    "INSERT INTO billing_usagerecord (id, occurred_at, tenant_id, period_id, attempt_id, usage_source,"
                    " request_id, provider, model, input_tokens, output_tokens, billed_cost)"
                    " VALUES (%s, %s, %s, %s, %s, 'provider', %s, %s, %s, %s, 120, 0.002)",
                    (
                        identity,
                        at,
                        world.acme.id,
                        period,
                        identity,
                        identity,
                        provider,
                        model,
                        round(counted * ratio),
                    ),
                )

    return write


def held_tokens(world: World, books: Books, model: str) -> tuple[int, int]:
    """Ask once: the input tokens that were held, and those that were counted."""
    answer = ask(world.openai(), f"{PROMPT} {secrets.token_hex(4)}", model=model, max_tokens=20)
    receipt = books.log(answer.headers["x-request-id"]).receipt
    hold = next(step for step in receipt["steps"] if step["step"] == "hold")
    return hold["input_tokens_estimate"], hold["input_tokens_counted"]


def test_every_call_says_what_was_counted(world: World, books: Books) -> None:
    answer = ask(world.openai(), PROMPT, max_tokens=20)
    (attempt,) = books.settled(world.acme.id)
    assert attempt.dims["shape"] == "text"
    # the sandbox counts as we do
    assert attempt.dims["counted_input_tokens"] == answer.parse().usage.prompt_tokens


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ("tools", {"tools": [{"type": "function", "function": {"name": "find", "parameters": {}}}]}),
        (
            "media",
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": "What is it?"},
                            {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}},
                        ],
                    }
                ]
            },
        ),
    ],
)
def test_prompts_are_told_apart_by_their_shape(world: World, books: Books, shape: str, options: Any) -> None:
    body = {"model": "gpt-4o-mini", "max_tokens": 20, "messages": turns(PROMPT), **options}
    world.openai().chat.completions.create(**body)
    assert books.settled(world.acme.id)[0].dims["shape"] == shape


def test_a_model_that_counts_less_is_held_for_less(
    world: World, books: Books, make_deployment, history
) -> None:
    from billing.estimates.accuracy import learn

    deployment = make_deployment()
    most, counted = held_tokens(world, books, deployment.model)
    assert most == -(-counted * 13 // 10) + FRAMING_MARGIN_TOKENS
    history(deployment.model, deployment.provider, ratios=[0.7] * 195 + [0.8] * 5)
    learn()
    lower, counted = eventually(
        lambda: held_tokens(world, books, deployment.model),
        until=lambda found: found[0] < found[1],
        patience_seconds=60,
        pause_seconds=2,
    )
    assert lower == -(-counted * 808 // 1000) + FRAMING_MARGIN_TOKENS


def test_a_model_that_counts_more_is_held_for_more(
    world: World, books: Books, make_deployment, history
) -> None:
    from billing.estimates.accuracy import learn
    from billing.models import EstimateAccuracy

    deployment = make_deployment()
    history(deployment.model, deployment.provider, ratios=[1.0] * 10 + [1.3] * 10)
    history(deployment.model, deployment.provider, ratios=[1.0] * 3, shape="tools")
    learn()
    rows = {row.shape: row for row in EstimateAccuracy.objects.filter(model=deployment.model)}
    assert rows["text"].input_factor == Decimal("1.3")
    assert rows["tools"].input_factor == 1
    assert (rows["text"].samples, rows["text"].short, rows["text"].output_p50) == (20, 0, 120)
    most, counted = held_tokens(world, books, deployment.model)
    assert most == -(-counted * 13 // 10) + FRAMING_MARGIN_TOKENS


def test_short_prompts_teach_nothing(make_deployment, history) -> None:
    from billing.estimates.accuracy import learn
    from billing.models import EstimateAccuracy

    deployment = make_deployment()
    history(deployment.model, deployment.provider, ratios=[2.0] * 30, counted=20)
    learn()
    row = EstimateAccuracy.objects.get(model=deployment.model)
    assert (row.samples, row.learned_from, row.input_factor) == (30, 0, 1)


def test_a_model_nobody_calls_any_more_is_forgotten(make_deployment, history) -> None:
    from billing.estimates.accuracy import WINDOW, learn
    from billing.models import EstimateAccuracy

    deployment = make_deployment()
    history(deployment.model, deployment.provider, ratios=[1.5] * 20)
    learn()
    assert EstimateAccuracy.objects.filter(model=deployment.model).exists()
    learn(datetime.now(UTC) + WINDOW)
    assert not EstimateAccuracy.objects.filter(model=deployment.model).exists()


def test_over_recorded_traffic_every_hold_covers_its_bill(world: World, books: Books) -> None:
    """Calls of every kind through the product: the report has none that was short, and an exact count stays exact."""
    from billing.estimates.accuracy import accuracy

    since = datetime.now(UTC)
    for number in range(6):
        for model in ("gpt-4o-mini", "gpt-4.1-nano"):
            ask(world.openai(), f"{PROMPT} Edition {number}.", model=model, max_tokens=200)
        world.anthropic().messages.create(
            model="claude-haiku-4-5", max_tokens=200, messages=turns(f"{PROMPT} Edition {number}.")
        )
    books.settled(world.acme.id, count=18)
    found = {one.model: one for one in accuracy(since=since, tenant_id=world.acme.id)}
    assert set(found) == {"gpt-4o-mini", "gpt-4.1-nano", "claude-haiku-4-5"}
    for one in found.values():
        assert (one.samples, one.learned_from, one.short) == (6, 6, 0)
        assert one.hold_ratio is not None
        assert one.hold_ratio >= 1
    assert found["gpt-4o-mini"].input_ratio_high == 1


def test_the_command_prints_a_table_or_json(world: World, books: Books) -> None:
    from tenants.models import Tenant

    ask(world.openai(), PROMPT, max_tokens=50)
    books.settled(world.acme.id)
    slug = Tenant.objects.get(pk=world.acme.id).slug
    out = io.StringIO()
    call_command("estimates", tenant=slug, stdout=out)
    header, row = out.getvalue().splitlines()
    assert header.split()[:3] == ["provider/model", "prompts", "calls"]
    assert row.split()[:3] == ["sandbox-openai/gpt-4o-mini", "text", "1"]
    out = io.StringIO()
    call_command("estimates", tenant=slug, json=True, stdout=out)
    told = json.loads(out.getvalue())
    assert (told["samples"], told["short"], told["input_factor"]) == (1, 0, "1")
    assert Decimal(told["hold_ratio"]) >= 1
    with pytest.raises(CommandError, match="no tenant"):
        call_command("estimates", tenant="nobody", stdout=out)


def test_the_estimate_is_the_hold(world: World, books: Books) -> None:
    body = {"model": "gpt-4o-mini", "max_tokens": 30, "messages": turns(PROMPT)}
    status, answer = world.request("POST", "/v1/estimate", body)
    assert status == 200
    world.openai().chat.completions.create(**body)
    (attempt,) = books.settled(world.acme.id)
    assert Decimal(answer["models"][0]["upper_bound_usd"]) == attempt.hold_usd


def test_the_usual_length_of_a_models_answers_is_forecast(world: World, make_deployment, history) -> None:
    from billing.estimates.accuracy import learn

    deployment = make_deployment()
    history(deployment.model, deployment.provider, ratios=[1.0] * 5)
    learn()
    body = {"model": deployment.model, "max_tokens": 2000, "messages": turns(PROMPT)}
    _, told = world.request("POST", "/v1/estimate", body, member=world.outsider)
    assert told["models"][0]["expected_output_tokens"] == 120
    assert told["models"][0]["output_basis"] == "half of the model's answers"
