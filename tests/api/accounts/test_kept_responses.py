"""A response that OpenAI keeps may be continued, read and deleted by the tenant whose call made it, and by nobody else."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import openai
import pytest

from tests.api.conftest import fresh_question
from tests.books import Books
from tests.world import Member, World

MODEL = "gpt-4o-mini"
INPUT_USD = Decimal("0.15") / 1_000_000


def first_response(world: World, **options: Any) -> Any:
    """A response whose prompt is long enough to be missed in a hold."""
    return world.openai().responses.create(
        model=MODEL, input=f"{'Remember this. ' * 200}{fresh_question()}", **options
    )


def test_it_works(world: World, books: Books) -> None:
    client = world.openai()
    first = first_response(world)
    raw = client.responses.with_raw_response.create(
        model=MODEL, input="And what did I say before?", previous_response_id=first.id
    )
    second = raw.parse()
    assert second.output_text
    assert second.usage.input_tokens > first.usage.input_tokens
    (attempt,) = [
        one for one in books.attempts(world.acme.id) if str(one.request_id) == raw.headers["x-request-id"]
    ]
    row = books.row(raw.headers["x-request-id"])
    assert attempt.hold_usd >= row.billed_cost > second.usage.input_tokens * INPUT_USD * Decimal("0.4")
    assert attempt.hold_usd >= first.usage.total_tokens * INPUT_USD  # what it continues is held for, too
    third = client.responses.create(model=MODEL, input="And then?", previous_response_id=second.id)
    assert third.usage.input_tokens > second.usage.input_tokens


def test_a_streamed_response_is_kept_when_its_client_knows_it(world: World) -> None:
    client = world.openai()
    events = list(client.responses.create(model=MODEL, input=fresh_question(), stream=True))
    response = events[-1].response
    assert client.responses.retrieve(response.id).output_text == response.output_text
    assert client.responses.create(model=MODEL, input="And?", previous_response_id=response.id).output_text


def test_it_is_read_cancelled_listed_and_deleted(world: World) -> None:
    client = world.openai()
    first = first_response(world)
    assert client.responses.retrieve(first.id).output_text == first.output_text
    items = list(client.responses.input_items.list(first.id, limit=10, order="asc"))
    assert items[0].content[0].text.startswith("Remember this.")
    assert client.responses.cancel(first.id).id == first.id
    client.responses.delete(first.id)
    for look in (client.responses.retrieve, client.responses.delete, client.responses.cancel):
        with pytest.raises(openai.NotFoundError):
            look(first.id)


def test_anothers_response_is_nobodys(world: World, books: Books) -> None:
    first = first_response(world)
    outsider = world.openai(world.outsider)
    with pytest.raises(openai.NotFoundError) as caught:
        outsider.responses.create(model=MODEL, input="What was said?", previous_response_id=first.id)
    assert (caught.value.code, caught.value.param) == ("not_found", "previous_response_id")
    assert books.attempts(world.outsider.id) == []
    for look in (outsider.responses.retrieve, outsider.responses.delete, outsider.responses.input_items.list):
        with pytest.raises(openai.NotFoundError):
            look(first.id)
    assert world.openai().responses.retrieve(first.id).id == first.id


def test_what_is_not_stored_is_not_kept(world: World) -> None:
    first = first_response(world, store=False)
    with pytest.raises(openai.NotFoundError):
        world.openai().responses.retrieve(first.id)


def test_another_account_cannot_continue_it(
    world: World, make_deployment: Callable[..., Any], books: Books
) -> None:
    first = first_response(world)
    deployment = make_deployment()
    for model in (deployment.model, "claude-haiku-4-5"):
        with pytest.raises(openai.BadRequestError) as caught:
            world.openai().responses.create(model=model, input="And?", previous_response_id=first.id)
        assert caught.value.param == "previous_response_id"
    assert books.calls(key=deployment.account_key) == []
    automatic = world.openai().responses.create(
        model="auto:standard", input="And?", previous_response_id=first.id
    )
    assert automatic.purser["provider"] == "sandbox-openai"


def test_a_budget_counts_what_is_continued(world: World, make_tenant: Callable[..., Member]) -> None:
    budget = {"scope": "tenant", "unit": "tokens", "period": "month", "limit": 3000, "mode": "hard"}
    world.acme = make_tenant("small", budgets=[budget])
    first = first_response(world, max_output_tokens=100)
    kept = first.usage.total_tokens
    assert 100 < kept < 1500
    most = 3000 - 2 * kept + 50  # fits beside the question alone, and not beside what it continues
    with pytest.raises(openai.RateLimitError) as caught:
        world.openai().responses.create(
            model=MODEL, input="And?", previous_response_id=first.id, max_output_tokens=most
        )
    assert caught.value.code == "budget_exceeded"
    alone = world.openai().responses.create(model=MODEL, input="And?", max_output_tokens=most)
    assert alone.output_text


@pytest.mark.parametrize(
    "facts", [{"background": True}, {"conversation": "conv_1"}, {"previous_response_id": 5}]
)
def test_what_cannot_be_bounded_is_refused_by_name(world: World, facts: dict[str, Any]) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        world.openai().responses.create(model=MODEL, input="Hi", extra_body=facts)
    assert [caught.value.param] == list(facts)


def test_input_is_counted_without_a_call(
    world: World, books: Books, make_deployment: Callable[..., Any]
) -> None:
    deployment = make_deployment()
    counted = world.openai().responses.input_tokens.count(model=deployment.model, input="Hello, how are you?")
    assert 4 < counted.input_tokens < 40
    assert books.calls(key=deployment.account_key) == []


def test_compaction_is_not_offered(world: World) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        world.openai().responses.compact(model=MODEL, input="x")
    assert caught.value.code == "not_found"
    assert "/v1/responses/compact" in str(caught.value)
