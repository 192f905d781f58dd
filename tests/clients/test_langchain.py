"""LangChain's chat models, each with models of both kinds of provider."""

import itertools
from typing import Any

import pytest

from tests.api.conftest import fresh_question
from tests.books import Books
from tests.clients.conftest import GPT, MODELS, WEATHER, Application, CheckBooks
from tests.world import World

ENDPOINTS = {"openai": "/v1/chat/completions", "responses": "/v1/responses", "anthropic": "/v1/messages"}
EVERY_WAY = [{"kind": kind, "model": model} for kind, model in itertools.product(ENDPOINTS, MODELS)]

every_way = pytest.mark.parametrize("way", EVERY_WAY, ids=lambda way: "-".join(way.values()))


@pytest.fixture
def check_usages(world: World, books: Books, check_books: CheckBooks) -> Any:
    """Assert that the ledger has just these calls, with the tokens that LangChain counted."""

    def check(usages: list[dict[str, Any]], *, kind: str, model: str) -> None:
        rows = books.rows(world.acme.id)
        assert len(rows) == len(usages)
        for row, usage in zip(rows, usages, strict=True):
            check_books(
                str(row.request_id),
                model=model,
                endpoint=ENDPOINTS[kind],
                input_tokens=usage["input_tokens"],
                output_tokens=usage["output_tokens"],
            )

    return check


@every_way
def test_it_works(world: World, langchain: Application, check_usages: Any, way: dict[str, str]) -> None:
    answer = langchain.ask("invoke", world, question=fresh_question(), **way)
    assert answer["text"]
    check_usages([answer["usage"]], **way)


@every_way
def test_a_stream(world: World, langchain: Application, check_usages: Any, way: dict[str, str]) -> None:
    answer = langchain.ask("stream", world, question=fresh_question(), **way)
    assert answer["text"]
    assert answer["chunks"] > 2
    check_usages([answer["usage"]], **way)


@every_way
def test_a_structured_answer(world: World, langchain: Application, way: dict[str, str]) -> None:
    answer = langchain.ask("structured", world, question="Name a country and its capital.", **way)
    assert answer.keys() == {"country", "capital"}


@every_way
def test_a_loop_of_tools_ends_with_an_answer(
    world: World, langchain: Application, check_usages: Any, way: dict[str, str]
) -> None:
    answer = langchain.ask("run_tools", world, **way)
    assert sorted(answer["cities"]) == sorted(WEATHER)
    assert all(weather in answer["text"] for weather in WEATHER.values())
    check_usages(answer["usages"], **way)


@every_way
def test_calls_of_tools_are_streamed(world: World, langchain: Application, way: dict[str, str]) -> None:
    calls = langchain.ask("stream_tools", world, **way)
    assert sorted(call["city"] for call in calls) == sorted(WEATHER)


def test_many_at_once(world: World, langchain: Application, books: Books) -> None:
    texts = [fresh_question() for _ in range(5)]
    questions = [f"Reply with exactly: {text}" for text in texts]
    assert langchain.ask("abatch", world, questions=questions, kind="openai", model=GPT) == texts
    assert len(books.rows(world.acme.id)) == 5


def test_embeddings(world: World, langchain: Application, books: Books) -> None:
    assert langchain.ask("embed", world, texts=["one", "two"]) == [1536, 1536]
    (row,) = books.rows(world.acme.id)
    assert (row.model, row.usage_source) == ("text-embedding-3-small", "provider")
