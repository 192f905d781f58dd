"""Chat completions that are stored: looked up, listed, changed, deleted; and nobody else's."""

from collections.abc import Callable

import openai
import orjson
import pytest

from llm.kept import chats as stored_chats
from llm.models import StoredChat
from tests.api.conftest import ask, fresh_question, turns
from tests.books import Books
from tests.world import Member, World


@pytest.mark.parametrize("model", ["gpt-4o-mini", "claude-haiku-4-5"])
def test_it_works(world: World, model: str) -> None:
    chats = world.openai().chat.completions
    question = fresh_question()
    created = chats.create(model=model, messages=turns(question), store=True, metadata={"topic": "cards"})
    found = chats.retrieve(created.id)
    assert found.choices == created.choices
    assert found.metadata == {"topic": "cards"}
    assert chats.update(created.id, metadata={"topic": "keys"}).metadata == {"topic": "keys"}
    (asked,) = chats.messages.list(created.id)
    assert asked.content == question
    assert chats.delete(created.id).deleted
    with pytest.raises(openai.NotFoundError):
        chats.retrieve(created.id)


def test_stored_chat_completions_are_listed(world: World) -> None:
    chats = world.openai().chat.completions
    made = [
        chats.create(
            model=model, messages=turns(fresh_question()), store=True, metadata={"number": str(number)}
        ).id
        for number, model in enumerate(["gpt-4o-mini", "gpt-4o", "gpt-4o-mini"])
    ]
    assert [chat.id for chat in chats.list(limit=2)] == made
    assert [chat.id for chat in chats.list(order="desc")] == made[::-1]
    assert [chat.id for chat in chats.list(model="gpt-4o")] == [made[1]]
    assert [chat.id for chat in chats.list(metadata={"number": "2"})] == [made[2]]


def test_an_answer_from_the_cache_has_an_id_of_its_own(world: World) -> None:
    chats, question = world.openai().chat.completions, turns(fresh_question())
    made = [chats.create(model="gpt-4o-mini", messages=question, store=True) for _ in range(2)]
    assert [chat.purser["cache"] for chat in made] == ["miss", "exact"]
    assert made[0].id != made[1].id
    for chat in made:
        assert chats.retrieve(chat.id).purser["request_id"] == chat.purser["request_id"]


def test_a_stream_is_stored(world: World) -> None:
    chats = world.openai().chat.completions
    chunks = list(
        chats.create(model="gpt-4o-mini", messages=turns(fresh_question()), store=True, stream=True)
    )
    told = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert chats.retrieve(chunks[0].id).choices[0].message.content == told


def test_what_must_not_be_stored_is_not(world: World, make_tenant) -> None:
    unwilling = make_tenant(policy={"store_chats": False})
    for client, options in ((world.openai(), {}), (world.openai(unwilling), {"store": True})):
        made = client.chat.completions.create(
            model="gpt-4o-mini", messages=turns(fresh_question()), **options
        )
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.retrieve(made.id)


def test_another_tenants_are_not_there(world: World) -> None:
    mine, theirs = world.openai().chat.completions, world.openai(world.outsider).chat.completions
    chat = mine.create(model="gpt-4o-mini", messages=turns(fresh_question()), store=True)
    for look in (
        theirs.retrieve,
        theirs.delete,
        theirs.messages.list,
        lambda identity: theirs.update(identity, metadata={}),
    ):
        with pytest.raises(openai.NotFoundError) as caught:
            look(chat.id)
        assert caught.value.code == "not_found"
    assert list(theirs.list()) == []
    assert mine.retrieve(chat.id).id == chat.id


@pytest.mark.parametrize("quotas", [{"chats": 1}, {"chat_bytes": 12_000}])
def test_over_the_quota_an_answer_is_given_and_not_stored(
    world: World, books: Books, make_tenant: Callable[..., Member], quotas: dict[str, int]
) -> None:
    client = world.openai(make_tenant(policy={"quotas": quotas}))
    kept, *others = (
        ask(client, f"{fresh_question()} {'word ' * 1_200}", store=True, stream=stream, max_tokens=20)
        for stream in (False, False, True)
    )
    kept_id = kept.parse().id
    for answer in others:
        list(answer.parse())
        steps = books.log(answer.headers["x-request-id"]).receipt["steps"]
        (told,) = [step for step in steps if step["step"] == "stored"]
        assert (told["outcome"], told["reason"]) == ("refused", "quota_exceeded")
    assert [chat.id for chat in client.chat.completions.list()] == [kept_id]
    client.chat.completions.delete(kept_id)
    again = ask(client, store=True).parse().id
    assert client.chat.completions.retrieve(again).id == again


def test_a_page_is_bounded_in_bytes(world: World) -> None:
    chats = world.openai().chat.completions
    made = [
        chats.create(model="gpt-4o-mini", messages=turns(fresh_question()), store=True).id for _ in range(4)
    ]
    for chat in StoredChat.objects.filter(public_id__in=made):
        chat.answer = orjson.dumps(
            orjson.loads(bytes(chat.answer)) | {"filler": "x" * (stored_chats.PAGE_BYTES // 2)}
        )
        chat.save()
    pages = [chats.list(limit=100)]
    while pages[-1].has_more:
        pages.append(pages[-1].get_next_page())
    assert [[chat.id for chat in page.data] for page in pages] == [[one] for one in made]
    assert [chat.id for chat in chats.list(order="desc")] == made[::-1]
    assert not chats.list(limit=100, after=made[-1]).data


async def test_row_level_security_stands_behind_it(world: World, loop_resources: None) -> None:
    from tenants.rls import tenant_connection

    world.openai().chat.completions.create(model="gpt-4o-mini", messages=turns(fresh_question()), store=True)
    for member, count in ((world.acme, 1), (world.outsider, 0)):
        async with tenant_connection(member.id) as connection:
            cursor = await connection.execute("SELECT count(*) FROM llm_storedchat")
            assert await cursor.fetchone() == (count,)
