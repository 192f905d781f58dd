"""The semantic cache with a provider's vectors, as clients meet it."""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from tests.api.caches.test_caching import PARAPHRASE, QUESTION
from tests.api.conftest import ask, purser_of
from tests.books import Books, eventually
from tests.llm.learning.embedding.conftest import USD_PER_MILLION, static
from tests.world import Deployment, Member, World

MakeTenant = Callable[..., Member]
MakeModel = Callable[..., Deployment]


def entries_of(member: Member) -> list[Any]:
    from caching.models import CacheEntry

    return list(CacheEntry.objects.filter(tenant_id=member.id))


def lookup_of(books: Books, response: Any) -> dict[str, Any]:
    """What the receipt of a request says of the semantic cache."""
    receipt = books.log(purser_of(response)["request_id"]).receipt
    [step] = [step for step in receipt["steps"] if step["step"] == "semantic_cache"]
    return dict(step)


def set_policy(member: Member, policy: dict[str, Any]) -> None:
    from llm.configuration import apply_configuration

    document = {"tenants": [{"slug": member.slug, "policy": policy}]}
    apply_configuration(json.dumps(document), source="policy.yaml", environ={}, dry_run=False)


def test_it_works(
    world: World,
    books: Books,
    make_tenant: MakeTenant,
    make_deployment: MakeModel,
    make_embedder: MakeModel,
) -> None:
    """A paraphrase hits by the provider's vectors; each of them is bought once, by the tenant and by no user."""
    budgets = [
        {"scope": "user", "unit": "usd", "period": "day", "limit": "1"},
        {"scope": "tenant", "unit": "requests", "period": "day", "limit": "100"},
        {"scope": "tenant", "unit": "usd", "period": "day", "limit": "100"},
    ]
    model, chat = make_embedder(), make_deployment()
    member = make_tenant(policy=static(model.model), budgets=budgets)
    client = world.openai(member)
    first = ask(client, QUESTION, model=chat.model, user="alice")
    [entry] = eventually(lambda: entries_of(member))
    assert entry.embedder == f"remote:{model.model}>text-embedding-3-small/1536"
    similar = ask(client, PARAPHRASE, model=chat.model, user="alice")
    assert similar.headers["x-purser-cache"] == "semantic"
    assert similar.parse().choices[0].message.content == first.parse().choices[0].message.content
    assert lookup_of(books, similar)["embedder"] == entry.embedder

    [embedded, embedded_again] = books.ended_calls(count=2, key=model.account_key)
    [answered] = books.ended_calls(count=1, key=chat.account_key)
    own = books.rows(member.id, cache_state="embed")
    costs = [
        call["billed"]["input"] * Decimal(USD_PER_MILLION) / 1_000_000 for call in (embedded, embedded_again)
    ]
    assert [row.billed_cost for row in own] == costs
    assert min(costs) > 0
    assert [row.user_id for row in own] == ["", ""]
    assert [row.saving for row in own] == [{"gateway_cache": f"{-row.billed_cost:f}"} for row in own]
    books.check_invoice(member.id, [embedded, embedded_again, answered])
    spent = {(window.unit, window.subject): window.spent for window in books.windows(member.id)}
    bought = books.row(first.headers["x-request-id"]).billed_cost
    assert spent == {("usd", "alice"): bought, ("requests", ""): 1, ("usd", ""): bought + sum(costs)}
    _, usage = world.get("/v1/usage", member)
    assert usage["total"]["requests"] == 2  # the one that was bought, and the hit
    assert Decimal(usage["total"]["cost_usd"]) == bought + sum(costs)


def test_a_tenant_changes_from_one_in_the_process_to_a_providers(
    world: World, books: Books, make_tenant: MakeTenant, make_embedder: MakeModel
) -> None:
    model = make_embedder()
    member = make_tenant(policy=static("minilm", also_embed_with=[model.model]))
    client = world.openai(member)
    ask(client, QUESTION)
    kept = eventually(lambda: entries_of(member), until=lambda entries: len(entries) == 2)
    names = {"minilm-l6-v2/fp32", f"remote:{model.model}>text-embedding-3-small/1536"}
    assert {entry.embedder for entry in kept} == names
    assert ask(client, PARAPHRASE).headers["x-purser-cache"] == "semantic"

    set_policy(member, static(model.model))
    other = PARAPHRASE.replace("my new", "a new")
    hit = eventually(
        lambda: ask(client, other),
        until=lambda response: response.headers["x-purser-cache"] != "miss",
    )
    assert hit.headers["x-purser-cache"] == "semantic"
    assert lookup_of(books, hit)["embedder"] == f"remote:{model.model}>text-embedding-3-small/1536"


def test_a_provider_that_is_down_costs_a_request_its_cache_and_nothing_else(
    world: World, books: Books, make_tenant: MakeTenant, make_embedder: MakeModel
) -> None:
    model = make_embedder(base_url="http://127.0.0.1:9/v1")
    member = make_tenant(policy=static(model.model))
    client = world.openai(member)
    for number in range(4):
        response = ask(client, f"{QUESTION} Say it in {number + 2} sentences.")
        assert response.headers["x-purser-cache"] == "miss"  # of the exact cache
        told = lookup_of(books, response)
        assert (told["outcome"], told["reason"]) == ("bypass", "no_vector")
    assert {row.cache_state for row in books.rows(member.id)} == {"miss"}  # nothing was bought
    assert not entries_of(member)


def test_a_vector_that_comes_late_is_kept_with_the_answer(
    world: World, books: Books, make_tenant: MakeTenant, make_embedder: MakeModel
) -> None:
    model = make_embedder()
    member = make_tenant(policy=static(model.model, embed_timeout_ms=10))  # times the scale of the tests
    world.fault(fault="slow", delay_ms=3_000, match={"key": model.account_key})
    client = world.openai(member)
    late = ask(client, QUESTION)
    assert lookup_of(books, late)["reason"] == "no_vector"
    [entry] = eventually(lambda: entries_of(member))
    assert entry.request_id == late.headers["x-request-id"]
    assert len(books.calls(key=model.account_key)) == 1  # it was not bought again


def test_a_text_that_the_model_would_cut_is_not_sent(
    world: World, books: Books, make_tenant: MakeTenant, make_embedder: MakeModel
) -> None:
    model = make_embedder(context_window=64)
    member = make_tenant(policy=static(model.model))
    response = ask(world.openai(member), QUESTION + " And then, what comes after that?" * 10)
    assert lookup_of(books, response)["reason"] == "too_long"
    assert not books.calls(key=model.account_key)


def test_a_model_that_has_gone_is_a_bypass(
    world: World, books: Books, make_tenant: MakeTenant, make_embedder: MakeModel
) -> None:
    from llm.models import LanguageModel

    model = make_embedder()
    member = make_tenant(policy=static(model.model))
    LanguageModel.objects.get(name=model.model).delete()
    response = ask(world.openai(member), QUESTION)
    told = lookup_of(books, response)
    assert (told["outcome"], told["reason"]) == ("bypass", "no_vector")
    assert not books.calls(key=model.account_key)
