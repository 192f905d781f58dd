"""The official OpenAI SDK beyond chat: embeddings, models, legacy completions, files; headers, errors and retries.

Batches stand in tests/batches, through the same SDK.
"""

import math
from collections.abc import Callable

import openai
import pytest

from tests.api.conftest import fresh_question, turns
from tests.books import Books, eventually
from tests.clients.conftest import CLAUDE, GPT, CheckBooks
from tests.world import Member, World

EMBEDDER = "text-embedding-3-small"


async def test_it_works(world: World, books: Books) -> None:
    """The SDK asks for base64 unless it is told otherwise; both are the same vectors."""
    async with world.async_openai() as client:
        packed = await client.embeddings.create(model=EMBEDDER, input=["one", "two"])
        plain = await client.embeddings.create(
            model=EMBEDDER,
            input=["one", "two"],
            encoding_format="float",
            extra_headers={"x-purser-cache": "off"},
        )
    assert [item.index for item in packed.data] == [item.index for item in plain.data] == [0, 1]
    for one, other in zip(packed.data, plain.data, strict=True):
        assert len(one.embedding) == 1536
        assert all(
            math.isclose(a, b, abs_tol=1e-6) for a, b in zip(one.embedding, other.embedding, strict=True)
        )
    assert packed.usage.prompt_tokens == packed.usage.total_tokens > 0


def test_embeddings_of_tokens_and_of_fewer_dimensions(world: World, check_books: CheckBooks) -> None:
    answer = world.openai().embeddings.create(
        model=EMBEDDER, input=[[9906, 1917], [1820]], dimensions=64, encoding_format="float"
    )
    assert [len(item.embedding) for item in answer.data] == [64, 64]
    check_books(
        answer._request_id,
        model=EMBEDDER,
        endpoint="/v1/embeddings",
        input_tokens=answer.usage.prompt_tokens,
        output_tokens=0,
    )


def test_the_window_is_of_each_text_and_not_of_all(world: World) -> None:
    client, many = world.openai(), "word " * 3_000
    answer = client.embeddings.create(model=EMBEDDER, input=[f"{number} {many}" for number in range(4)])
    assert answer.usage.prompt_tokens > 12_000
    with pytest.raises(openai.BadRequestError, match="8191"):
        client.embeddings.create(model=EMBEDDER, input=["short", "word " * 9_000])


def test_models(world: World, make_tenant: Callable[..., Member]) -> None:
    listed = {model.id: model for model in world.openai().models.list()}
    assert {GPT, CLAUDE, EMBEDDER} <= listed.keys()
    assert world.openai().models.retrieve(GPT) == listed[GPT]
    assert (listed[GPT].object, listed[GPT].owned_by) == ("model", "sandbox-openai")
    narrow = world.openai(make_tenant(key={"models": ["gpt-4.1-*"]}))
    assert {model.id for model in narrow.models.list()} == {"gpt-4.1-nano"}
    with pytest.raises(openai.NotFoundError):
        narrow.models.retrieve(GPT)


def test_legacy_completions(world: World, check_books: CheckBooks) -> None:
    client = world.openai()
    whole = client.completions.create(
        model=GPT, prompt=[fresh_question(), fresh_question()], max_tokens=30, logprobs=1, echo=False
    )
    assert [choice.index for choice in whole.choices] == [0, 1]
    assert all(choice.text for choice in whole.choices)
    check_books(
        whole._request_id,
        model=GPT,
        endpoint="/v1/completions",
        input_tokens=whole.usage.prompt_tokens,
        output_tokens=whole.usage.completion_tokens,
    )
    for options in ({}, {"stream_options": {"include_usage": True}}):
        chunks = list(
            client.completions.create(
                model=GPT, prompt=fresh_question(), max_tokens=30, stream=True, **options
            )
        )
        assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices)
        assert [chunk for chunk in chunks if chunk.usage] == (chunks[-1:] if options else [])
        block = chunks[-1].purser
        check_books(
            block["request_id"],
            model=GPT,
            endpoint="/v1/completions",
            input_tokens=block["tokens"]["input"],
            output_tokens=block["tokens"]["output"],
        )


async def test_files(world: World) -> None:
    content = b'{"custom_id": "one"}\n'
    async with world.async_openai() as client:
        made = await client.files.create(file=("lines.jsonl", content), purpose="batch")
        assert (made.object, made.bytes, made.filename) == ("file", len(content), "lines.jsonl")
        assert (await client.files.wait_for_processing(made.id)).id == made.id
        assert (await client.files.content(made.id)).content == content
        assert [file.id async for file in client.files.list(limit=1)] == [made.id]
        assert (await client.files.delete(made.id)).deleted
        with pytest.raises(openai.NotFoundError):
            await client.files.retrieve(made.id)


def test_headers_of_a_raw_response(world: World) -> None:
    raw = world.openai().chat.completions.with_raw_response.create(
        model=GPT, messages=turns(fresh_question())
    )
    completion = raw.parse()
    assert raw.request_id == completion._request_id == completion.purser["request_id"]
    assert raw.headers["x-purser-cost-usd"] == completion.purser["cost_usd"]
    assert raw.headers["content-type"] == "application/json"
    with world.openai().chat.completions.with_streaming_response.create(
        model=GPT, messages=turns(fresh_question()), stream=True
    ) as response:
        chunks = list(response.parse())
    assert response.headers["x-request-id"] == chunks[-1].purser["request_id"]


def test_errors_are_the_sdks_own(world: World, make_tenant: Callable[..., Member]) -> None:
    def refused(member: Member | None = None, *, key: str = "", **body: object) -> openai.APIStatusError:
        with pytest.raises(openai.APIStatusError) as caught:
            world.openai(member, key=key).chat.completions.create(
                **{"model": GPT, "messages": turns(fresh_question()), **body}
            )
        assert caught.value.request_id == caught.value.response.headers["x-request-id"]
        return caught.value

    narrow = make_tenant(key={"models": ["gpt-4.1-*"]})
    poor = make_tenant(
        budgets=[{"scope": "tenant", "unit": "usd", "period": "month", "limit": "0.0000001", "mode": "hard"}]
    )
    slow = make_tenant(rate_limits={"rpm": 1})
    world.openai(slow).chat.completions.create(model=GPT, messages=turns(fresh_question()))
    found = {
        openai.AuthenticationError: refused(key="psr_0123456789abcdef_nobody"),
        openai.PermissionDeniedError: refused(narrow),
        openai.NotFoundError: refused(model="gpt-9"),
        openai.BadRequestError: refused(messages=[]),
        openai.RateLimitError: refused(poor),
    }
    for kind, error in found.items():
        assert type(error) is kind
    assert [(error.code, error.type) for error in found.values()] == [
        ("invalid_api_key", "authentication_error"),
        ("model_not_allowed", "permission_error"),
        ("model_not_found", "invalid_request_error"),
        ("invalid_request", "invalid_request_error"),
        ("budget_exceeded", "insufficient_quota"),
    ]
    assert found[openai.BadRequestError].param == "messages"
    too_fast = refused(slow)
    assert (type(too_fast), too_fast.code) == (openai.RateLimitError, "rate_limit_exceeded")


def test_a_spent_budget_is_not_asked_again(world: World, make_tenant: Callable[..., Member]) -> None:
    """The SDK retries a 429 unless it is told not to: a refusal that lasts until tomorrow says so."""
    from llm.models import RequestLog

    poor = make_tenant(
        budgets=[{"scope": "tenant", "unit": "usd", "period": "month", "limit": "0.0000001", "mode": "hard"}]
    )
    with pytest.raises(openai.RateLimitError):
        world.openai(poor).with_options(max_retries=3).chat.completions.create(
            model=GPT, messages=turns(fresh_question())
        )
    logged = eventually(lambda: list(RequestLog.objects.filter(tenant_id=poor.id)))
    assert [row.error_code for row in logged] == ["budget_exceeded"]


def test_a_stream_that_breaks_raises(world: World, books: Books, make_deployment) -> None:
    deployment = make_deployment()
    world.fault(fault="truncate_stream", match={"key": deployment.account_key}, after_chunks=4)
    stream = world.openai().chat.completions.create(
        model=deployment.model, messages=turns(fresh_question()), stream=True
    )
    with pytest.raises(openai.APIError, match="ended before") as broken:
        list(stream)
    assert broken.value.code == "provider_error"
    (attempt,) = books.settled(world.acme.id)
    row = books.row(attempt.request_id)
    assert (row.usage_source, row.output_tokens > 0) == ("estimated", True)


def test_a_stream_that_is_left_early_is_billed(world: World, books: Books, make_deployment) -> None:
    deployment = make_deployment()
    with world.openai().chat.completions.create(
        model=deployment.model, messages=turns("Write 60 words."), stream=True
    ) as stream:
        next(iter(stream))
    (attempt,) = books.settled(world.acme.id)
    assert attempt.state in ("captured", "estimated")
    assert books.row(attempt.request_id).billed_cost > 0
