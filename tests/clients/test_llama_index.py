"""LlamaIndex's models, with models of both kinds of provider as far as it knows their names."""

import pytest

from tests.api.conftest import fresh_question
from tests.books import Books
from tests.clients.conftest import CLAUDE, GPT, WEATHER, Application, CheckBooks
from tests.world import World

WAYS = [("openai", GPT), ("responses", GPT), ("like", GPT), ("like", CLAUDE), ("anthropic", CLAUDE)]
ENDPOINTS = {
    "openai": "/v1/chat/completions",
    "like": "/v1/chat/completions",
    "responses": "/v1/responses",
    "anthropic": "/v1/messages",
}

every_way = pytest.mark.parametrize(("kind", "model"), WAYS)


@every_way
def test_it_works(
    world: World, llama_index: Application, books: Books, check_books: CheckBooks, kind: str, model: str
) -> None:
    answer = llama_index.ask("chat", world, question=fresh_question(), kind=kind, model=model)
    assert answer["text"]
    (row,) = books.rows(world.acme.id)
    check_books(str(row.request_id), model=model, endpoint=ENDPOINTS[kind], **answer["usage"])


@every_way
def test_a_stream(world: World, llama_index: Application, books: Books, kind: str, model: str) -> None:
    answer = llama_index.ask("stream", world, question=fresh_question(), kind=kind, model=model)
    assert answer["text"] == answer["told"] != ""
    (row,) = books.rows(world.acme.id)
    assert (row.usage_source, row.output_tokens > 0) == ("provider", True)


@every_way
def test_a_structured_answer(world: World, llama_index: Application, kind: str, model: str) -> None:
    asking = {"question": "Name a country and its capital.", "kind": kind, "model": model}
    assert llama_index.ask("structured", world, **asking).keys() == {"country", "capital"}


@every_way
def test_a_loop_of_tools_ends_with_an_answer(
    world: World, llama_index: Application, books: Books, kind: str, model: str
) -> None:
    answer = llama_index.ask("run_tools", world, kind=kind, model=model)
    assert sorted(answer["cities"]) == sorted(WEATHER)
    assert all(weather in answer["text"] for weather in WEATHER.values())
    assert len(books.rows(world.acme.id)) == 2


def test_many_at_once(world: World, llama_index: Application, books: Books) -> None:
    texts = [fresh_question() for _ in range(4)]
    questions = [f"Reply with exactly: {text}" for text in texts]
    assert llama_index.ask("achat", world, questions=questions, kind="openai", model=GPT) == texts
    assert len(books.rows(world.acme.id)) == 4
