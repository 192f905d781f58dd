"""An embedding model of the catalogue as an embedder: grouped, booked, checked, and left out when it fails."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from llm.providers.kinds import KINDS
from tests.books import Books, eventually
from tests.llm.learning.embedding.conftest import USD_PER_MILLION, embedder_of, in_the_product, static
from tests.world import Deployment, Member, World

TEXTS = ["How do I activate a new card?", "Where is my parcel?", "Which currencies can I hold?"]
MakeTenant = Callable[..., Member]
MakeEmbedder = Callable[..., Deployment]


def price_of(call: dict[str, Any]) -> Decimal:
    return call["billed"]["input"] * Decimal(USD_PER_MILLION) / 1_000_000


def test_texts_that_wait_at_one_time_go_in_one_call(
    books: Books, make_tenant: MakeTenant, make_embedder: MakeEmbedder
) -> None:
    model = make_embedder()
    member = make_tenant(policy=static(model.model))

    async def embed() -> list[Any]:
        embedder = await embedder_of(member, model.model)
        vectors = await asyncio.gather(*(embedder.embed_one(text, tenant_id=member.id) for text in TEXTS * 2))
        again = await embedder.embed_one(TEXTS[0], tenant_id=member.id)
        assert np.array_equal(again, vectors[0])
        assert embedder.space_of(again) == f"remote:{model.model}>text-embedding-3-small/1536"
        return vectors

    vectors = in_the_product(embed)
    for vector in vectors:
        assert vector.dtype == np.float32
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    assert np.array_equal(vectors[0], vectors[3])
    assert vectors[0] @ vectors[1] < 0.9  # each text has its own

    [call] = books.ended_calls(count=1, key=model.account_key)
    [row] = books.rows(member.id)
    assert (row.cache_state, row.user_id, row.model) == ("embed", "", model.model)
    assert row.billed_cost == price_of(call) > 0
    assert (row.list_cost, row.saving) == (0, {"gateway_cache": f"{-row.billed_cost:f}"})
    books.check_invoice(member.id, [call])
    assert books.log(row.request_id).cache_state == "embed"
    [step] = [step for step in books.log(row.request_id).receipt["steps"] if step["step"] == "embed"]
    assert step["texts"] == len(TEXTS)


def test_texts_of_two_tenants_never_share_a_call(
    books: Books, make_tenant: MakeTenant, make_embedder: MakeEmbedder
) -> None:
    model = make_embedder()
    members = [make_tenant(slug, policy=static(model.model)) for slug in ("one", "other")]

    async def embed() -> None:
        embedders = [await embedder_of(member, model.model) for member in members]
        await asyncio.gather(
            *(
                embedder.embed_one(TEXTS[0], tenant_id=member.id)
                for member, embedder in zip(members, embedders, strict=True)
            )
        )

    in_the_product(embed)
    calls = books.ended_calls(count=2, key=model.account_key)
    assert len(calls) == 2
    rows = [row for member in members for row in books.rows(member.id)]
    assert [row.billed_cost for row in rows] == [price_of(call) for call in calls]
    assert {row.upstream_id for row in rows} == {call["request_id"] for call in calls}


def test_what_is_spent_is_spent(books: Books, make_tenant: MakeTenant, make_embedder: MakeEmbedder) -> None:
    """A cap that the first call passes lets no second one through; without one there is none at all."""
    from caching.embedders.base import EmbedderMissing
    from llm.learning.embedding.calls import AllowanceSpent

    model = make_embedder(prices=[{"meter": "input", "usd_per_million": "1000"}])
    member = make_tenant(policy=static(model.model, embed_usd_per_day=0.001))
    thrifty = make_tenant("thrifty", policy=static(model.model, embed_usd_per_day=0))

    async def embed() -> None:
        embedder = await embedder_of(member, model.model)
        await embedder.embed_one(TEXTS[0], tenant_id=member.id)
        with pytest.raises(AllowanceSpent):
            await embedder.embed_one(TEXTS[1], tenant_id=member.id)
        with pytest.raises(EmbedderMissing, match="spent"):
            await embedder_of(member, model.model)  # it is not even asked about
        with pytest.raises(AllowanceSpent):
            await (await embedder_of(thrifty, model.model)).embed_one(TEXTS[0], tenant_id=thrifty.id)

    in_the_product(embed)
    assert len(books.calls(key=model.account_key)) == len(books.rows(member.id)) == 1
    assert not books.rows(thrifty.id)


def test_without_redis_nobody_knows_what_was_spent_and_nothing_is(
    books: Books, make_tenant: MakeTenant, make_embedder: MakeEmbedder
) -> None:
    from redis.asyncio import Redis

    from caching.circuit import Unavailable
    from caching.entries.vectors import for_request
    from config import resources

    model = make_embedder()
    member = make_tenant(policy=static(model.model))

    async def embed() -> None:
        embedder = await embedder_of(member, model.model)
        embedder.circuit.clock = lambda: 0.0  # so that nobody probes it
        working, resources.redis = resources.redis, Redis.from_url("redis://127.0.0.1:1/0")
        try:
            with pytest.raises(Unavailable):
                await for_request(embedder, TEXTS[0], tenant_id=member.id)
        finally:
            resources.redis = working
        assert embedder.circuit.is_open  # the next one does not even ask

    in_the_product(embed)
    assert not books.calls(key=model.account_key)


async def probed(circuit: Any) -> None:
    while circuit.state == "half_open":
        await asyncio.sleep(0.01)


def test_a_provider_that_fails_is_left_out_until_it_is_well(
    world: World, books: Books, make_tenant: MakeTenant, make_embedder: MakeEmbedder
) -> None:
    from caching.circuit import Unavailable
    from caching.entries.vectors import for_request

    model = make_embedder()
    member = make_tenant(policy=static(model.model, embed_timeout_ms=10_000))
    world.fault(fault="status:500", match={"key": model.account_key}, times=2)

    async def embed() -> None:
        embedder = await embedder_of(member, model.model)
        circuit = embedder.circuit
        at = 0.0
        circuit.clock = lambda: at  # so that nobody probes it
        for text in TEXTS:
            with pytest.raises(Unavailable):
                await for_request(embedder, text, tenant_id=member.id)
        assert circuit.is_open
        assert len(books.calls(key=model.account_key)) == 1

        at += 60.0
        with pytest.raises(Unavailable):
            await for_request(
                embedder, TEXTS[0], tenant_id=member.id
            )  # this one is what it is probed with, and fails
        await probed(circuit)
        assert circuit.is_open
        at += 60.0
        with pytest.raises(Unavailable):
            await for_request(
                embedder, TEXTS[1], tenant_id=member.id
            )  # and this one succeeds, beside its request
        await probed(circuit)
        assert not circuit.is_open
        assert (await for_request(embedder, TEXTS[1], tenant_id=member.id)).shape == (1536,)

    in_the_product(embed)
    calls = books.ended_calls(count=3, key=model.account_key)
    assert [call["status"] for call in calls] == [500, 500, 200]
    [row] = books.rows(member.id)  # what failed was not billed
    assert row.billed_cost == price_of(calls[-1])


def test_an_answer_that_is_none_fails_the_embedder_and_is_booked(
    world: World, books: Books, make_tenant: MakeTenant, make_embedder: MakeEmbedder
) -> None:
    from llm.learning.embedding.calls import EmbeddingFailed

    model = make_embedder()
    member = make_tenant(policy=static(model.model))
    world.fault(fault="malformed", match={"key": model.account_key})

    async def embed() -> None:
        embedder = await embedder_of(member, model.model)
        with pytest.raises(EmbeddingFailed):
            await embedder.embed_one(TEXTS[0], tenant_id=member.id)
        assert (await embedder.embed_one(TEXTS[0], tenant_id=member.id)).shape == (1536,)

    in_the_product(embed)
    rows = books.rows(member.id)
    assert sorted(row.usage_source for row in rows) == ["estimated", "provider"]
    assert all(row.cache_state == "embed" for row in rows)


def test_accounts_that_call_it_by_another_name_are_not_asked(
    world: World, books: Books, make_tenant: MakeTenant, make_embedder: MakeEmbedder
) -> None:
    """They may have another model behind it: what fails at the first is not made up for there."""
    from llm.learning.embedding.calls import EmbeddingFailed

    other, twin = make_embedder(), make_embedder()
    model = make_embedder(deployments=[{"provider": other.provider, "upstream": "text-embedding-3-large"}])
    with_twin = make_embedder(deployments=[{"provider": twin.provider}])
    member = make_tenant(policy=static(model.model))
    world.fault(fault="status:500", match={"key": model.account_key}, times=-1)
    world.fault(fault="status:500", match={"key": with_twin.account_key}, times=-1)

    async def embed() -> None:
        for text in TEXTS:
            with pytest.raises(EmbeddingFailed):
                await (await embedder_of(member, model.model)).embed_one(text, tenant_id=member.id)
            vector = await (await embedder_of(member, with_twin.model)).embed_one(text, tenant_id=member.id)
            assert vector.shape == (1536,)

    in_the_product(embed)
    assert not books.calls(key=other.account_key)
    assert len(books.calls(key=twin.account_key)) == len(TEXTS)


def test_it_knows_what_it_would_truncate(make_tenant: MakeTenant, make_embedder: MakeEmbedder) -> None:
    model = make_embedder(context_window=64)
    member = make_tenant(policy=static(model.model))

    async def ask() -> list[bool]:
        embedder = await embedder_of(member, model.model)
        return [embedder.truncates(text) for text in ("short", "word " * 40, "word " * 60, "x" * 10_000)]

    assert in_the_product(ask) == [False, False, True, True]


def test_a_model_that_is_gone_or_no_embedding_model_is_no_embedder(make_tenant: MakeTenant) -> None:
    from caching.embedders.base import EmbedderMissing

    member = make_tenant()

    async def ask() -> None:
        for name in ("nobody", "gpt-4o-mini"):
            with pytest.raises(EmbedderMissing, match=name):
                await embedder_of(member, name)

    in_the_product(ask)


def test_no_two_models_share_a_space() -> None:
    from llm.learning.embedding.remote import LONGEST_NAME, space_name
    from llm.providers.target import Target

    target = Target(
        model="a",
        provider="p",
        kind=KINDS["openai"],
        base_url="",
        api_key="",
        upstream="b",
        model_kind="embedding",
    )
    pairs = [("a", "b"), ("a>b", "c"), ("a", "b>c"), ("a%3Eb", "c"), ("m" * 128, "u"), ("m" * 128, "v")]
    names = {space_name(replace(target, model=model, upstream=upstream)) for model, upstream in pairs}
    assert len(names) == len(pairs)
    assert all(len(f"{name}/4000") <= LONGEST_NAME for name in names)
    assert space_name(replace(target, provider="other", base_url="https://elsewhere")) == space_name(target)


def answer(*vectors: Any, **first: Any) -> bytes:
    data = [{"index": index, "embedding": vector} for index, vector in enumerate(vectors)]
    data[0] |= first
    return json.dumps({"data": data}).encode()


ONE, TWO = [3.0] + [0.0] * 7, [0.0, 0.5] + [0.0] * 6


def test_vectors_are_made_unit_vectors_in_the_order_of_the_texts() -> None:
    from llm.learning.embedding.calls import vectors_in

    told = json.dumps({"data": [{"index": 1, "embedding": TWO}, {"index": 0, "embedding": ONE}]}).encode()
    without_places = json.dumps({"data": [{"embedding": ONE}, {"embedding": TWO}]}).encode()
    for body in (answer(ONE, TWO), told, without_places):
        vectors = vectors_in(body, count=2)
        assert vectors.dtype == np.float32
        assert [list(vector[:2]) for vector in vectors] == [[1, 0], [0, 1]]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(answer(ONE), id="fewer than texts"),
        pytest.param(answer(ONE, TWO, ONE), id="more than texts"),
        pytest.param(answer(ONE, TWO[:-1]), id="of two lengths"),
        pytest.param(answer(ONE, TWO, index=1), id="one place twice"),
        pytest.param(answer(ONE, TWO, index=None), id="no place"),
        pytest.param(answer(ONE, [0.0] * 8), id="of no length"),
        pytest.param(answer(ONE, [1e308] * 8), id="too long to measure"),
        pytest.param(answer(ONE, [None] * 8), id="no numbers"),
        pytest.param(answer("AAAA", "BBBB"), id="texts"),
        pytest.param(answer([[1.0] * 8], [[1.0] * 8]), id="deeper"),
        pytest.param(answer([1.0] * 4_001, [1.0] * 4_001), id="longer than an index takes"),
        pytest.param(answer([1.0] * 2, [1.0] * 2), id="too short to tell texts apart"),
        pytest.param(b'{"data": [{"embedding": [NaN]}, {"embedding": [1]}]}', id="no JSON"),
        pytest.param(b'{"data": {"a": 1, "b": 2}}', id="no list"),
        pytest.param(b'{"data": null}', id="nothing"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"", id="empty"),
    ],
)
def test_vectors_that_cannot_be_believed_are_refused(body: bytes) -> None:
    from llm.learning.embedding.calls import EmbeddingFailed, vectors_in

    with pytest.raises(EmbeddingFailed):
        vectors_in(body, count=2)


def test_a_caller_that_hangs_up_disturbs_nobody(
    books: Books, make_tenant: MakeTenant, make_embedder: MakeEmbedder
) -> None:
    model = make_embedder()
    member = make_tenant(policy=static(model.model))

    async def embed() -> None:
        embedder = await embedder_of(member, model.model)
        first, second = (
            asyncio.create_task(embedder.embed_one(TEXTS[0], tenant_id=member.id)) for _ in range(2)
        )
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).shape == (1536,)
        with pytest.raises(asyncio.CancelledError):
            await first

    in_the_product(embed)
    assert len(eventually(lambda: books.rows(member.id))) == 1


def test_a_text_that_the_provider_refuses_fails_no_other_ones(
    books: Books, make_tenant: MakeTenant, make_embedder: MakeEmbedder
) -> None:
    from llm.learning.embedding.calls import TextsRefused

    model = make_embedder()
    member = make_tenant(policy=static(model.model))
    texts = [*TEXTS, "", "Can I change my PIN?"]

    async def embed() -> list[Any]:
        embedder = await embedder_of(member, model.model)
        return await asyncio.gather(
            *(embedder.embed_one(text, tenant_id=member.id) for text in texts), return_exceptions=True
        )

    outcomes = in_the_product(embed)
    assert [type(outcome) for outcome in outcomes].count(np.ndarray) == 4
    assert isinstance(outcomes[3], TextsRefused)


def test_a_group_is_as_large_as_the_settings_say(
    books: Books, make_tenant: MakeTenant, make_embedder: MakeEmbedder, settings: Any
) -> None:
    settings.EMBED_CALL_TEXTS = 2
    model = make_embedder()
    member = make_tenant(policy=static(model.model))

    async def embed() -> None:
        embedder = await embedder_of(member, model.model)
        await asyncio.gather(*(embedder.embed_one(text, tenant_id=member.id) for text in TEXTS))

    in_the_product(embed)
    assert len(books.ended_calls(count=2, key=model.account_key)) == 2


def test_a_long_text_does_not_share_a_call_with_short_ones(
    books: Books, make_tenant: MakeTenant, make_embedder: MakeEmbedder
) -> None:
    from llm.learning.embedding.groups import MOST_CHARACTERS

    model = make_embedder()
    member = make_tenant(policy=static(model.model))
    long = "many words " * (MOST_CHARACTERS // 11)

    async def embed() -> None:
        embedder = await embedder_of(member, model.model)
        await asyncio.gather(
            *(embedder.embed_one(text, tenant_id=member.id) for text in (TEXTS[0], long, TEXTS[1]))
        )

    in_the_product(embed)
    assert len(books.ended_calls(count=3, key=model.account_key)) == 3


def test_a_text_that_nobody_wants_any_more_is_not_sent(
    books: Books, make_tenant: MakeTenant, make_embedder: MakeEmbedder
) -> None:
    model = make_embedder()
    member = make_tenant(policy=static(model.model))

    async def embed() -> None:
        embedder = await embedder_of(member, model.model)
        first, second = (
            asyncio.create_task(embedder.embed_one(text, tenant_id=member.id)) for text in TEXTS[:2]
        )
        await asyncio.sleep(0)
        first.cancel()
        await second

    in_the_product(embed)
    [row] = eventually(lambda: books.rows(member.id))
    [step] = [step for step in books.log(row.request_id).receipt["steps"] if step["step"] == "embed"]
    assert step["texts"] == 1
