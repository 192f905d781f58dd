"""Answers from memory: exact and similar, whole and told as a stream, and what they save."""

from collections.abc import Callable
from decimal import Decimal
from uuid import uuid4

from tests.api.conftest import ask, ask_claude, events_of, fresh_question, purser_of, turns
from tests.books import Books, eventually
from tests.world import Deployment, Member, World

QUESTION = "What are the steps that I need to take to activate a new card?"
PARAPHRASE = "What steps do I need to take to activate my new card?"


def ask_until(world: World, state: str, text: str, member: Member | None = None, **options):
    """Ask again until the answer, which is remembered in the background, comes from memory."""
    return eventually(
        lambda: ask(world.openai(member), text, **options),
        until=lambda answer: answer.headers["x-purser-cache"] == state,
        pause_seconds=0.1,
    )


def test_it_works(world: World, books: Books) -> None:
    text = fresh_question()
    first = ask(world.openai(), text, user="alice")
    again = ask_until(world, "exact", text, user="bob")
    block = purser_of(again)
    assert again.parse().choices == first.parse().choices
    assert block["cost_usd"] == again.headers["x-purser-cost-usd"] == "0.000000000000"
    assert block["list_cost_usd"] == first.headers["x-purser-cost-usd"]
    assert block["saved_usd"] == again.headers["x-purser-list-cost-usd"]
    assert again.headers["x-purser-similarity"] == "1.0000"
    row = books.row(again.headers["x-request-id"])
    assert (row.usage_source, row.cache_state, row.user_id) == ("gateway_cache", "exact", "bob")
    assert (row.billed_cost, row.list_cost) == (0, Decimal(block["list_cost_usd"]))
    assert row.saved_output_tokens == first.parse().usage.completion_tokens
    assert row.input_tokens == row.output_tokens == 0


def test_a_paraphrase_hits_the_semantic_cache(world: World, books: Books) -> None:
    first = ask(world.openai(), QUESTION)
    similar = ask_until(world, "semantic", PARAPHRASE)
    assert similar.parse().choices[0].message.content == first.parse().choices[0].message.content
    assert 0.85 <= float(similar.headers["x-purser-similarity"]) < 1
    assert purser_of(similar)["similarity"] >= 0.85
    row = books.row(similar.headers["x-request-id"])
    assert (row.usage_source, row.cache_state, row.billed_cost) == ("gateway_cache", "semantic", 0)
    assert row.list_cost > 0


def test_a_hit_would_have_cost_what_its_call_would_have_cost_without_us(
    world: World, books: Books, make_tenant: Callable[..., Member]
) -> None:
    padded = f"{fresh_question()}\n\n\n\n" + "The   river is   long.   \n\n\n" * 40
    for routing in ({"baseline_model": "gpt-4o"}, {}):
        member = make_tenant(policy={"routing": routing, "compression": {"enabled": True}})
        first = ask(world.openai(member), padded, model="auto:simple")
        hit = ask_until(world, "exact", padded, member, model="auto:simple")
        assert purser_of(hit)["list_cost_usd"] == first.headers["x-purser-list-cost-usd"]
        bought, row = (books.row(answer.headers["x-request-id"]) for answer in (first, hit))
        assert row.list_cost == bought.list_cost > bought.billed_cost > row.billed_cost == 0
        assert {"routing", "compression"} <= bought.saving.keys()
        remembered = {"gateway_cache": f"{bought.billed_cost:.12f}"}
        assert {name: f"{Decimal(amount):.12f}" for name, amount in row.saving.items()} == (
            {name: f"{Decimal(amount):.12f}" for name, amount in bought.saving.items()} | remembered
        )


def test_a_question_of_other_numbers_is_asked(world: World) -> None:
    ask(world.openai(), "How do I send 200 euros to a friend?")
    ask_until(world, "exact", "How do I send 200 euros to a friend?")
    other = ask(world.openai(), "How do I send 900 euros to a friend?")
    assert other.headers["x-purser-cache"] == "miss"


def test_a_hit_is_told_as_a_stream(world: World, books: Books) -> None:
    text = fresh_question()
    whole = ask(world.openai(), text).parse()
    ask_until(world, "exact", text)
    for ask_again in (text, f"  {text}"):  # the second is no exact one, but of the same meaning
        with world.openai().chat.completions.with_streaming_response.create(
            model="gpt-4o-mini",
            messages=turns(ask_again),
            stream=True,
            stream_options={"include_usage": True},
        ) as response:
            told = response.read().decode()
        events = events_of(told)
        content = "".join(
            event["choices"][0]["delta"].get("content") or "" for event in events if event["choices"]
        )
        assert content == whole.choices[0].message.content
        assert told.endswith("data: [DONE]\n\n")
        assert events[-1]["purser"]["cache"] == response.headers["x-purser-cache"] != "miss"
        assert events[-1]["purser"]["cost_usd"] == "0.000000000000"
        assert books.row(response.headers["x-request-id"]).usage_source == "gateway_cache"


def test_what_was_streamed_is_remembered_whole(world: World) -> None:
    text = fresh_question()
    chunks = list(
        world.openai().chat.completions.create(model="gpt-4o-mini", messages=turns(text), stream=True)
    )
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    whole = ask_until(world, "exact", text).parse()
    assert whole.choices[0].message.content == streamed
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage.completion_tokens > 0


def test_off_asks_and_remembers_nothing(world: World) -> None:
    text = fresh_question()
    off = {"x-purser-cache": "off"}
    assert ask(world.openai(), text, extra_headers=off).headers["x-purser-cache"] == "bypass"
    assert ask(world.openai(), text, extra_headers=off).headers["x-purser-cache"] == "bypass"
    assert ask(world.openai(), text).headers["x-purser-cache"] == "miss"
    ask_until(world, "exact", text)
    assert ask(world.openai(), text, extra_headers=off).headers["x-purser-cache"] == "bypass"


def test_exact_takes_no_paraphrase(world: World) -> None:
    ask(world.openai(), QUESTION)
    ask_until(world, "semantic", PARAPHRASE)
    exact = {"x-purser-cache": "exact"}
    assert ask(world.openai(), PARAPHRASE, extra_headers=exact).headers["x-purser-cache"] == "miss"
    assert ask(world.openai(), QUESTION, extra_headers=exact).headers["x-purser-cache"] == "exact"


def test_refresh_asks_again_and_replaces(world: World, books: Books) -> None:
    text = fresh_question()
    ask(world.openai(), text)
    ask_until(world, "exact", text)
    refreshed = ask(world.openai(), text, extra_headers={"x-purser-cache": "refresh"})
    assert refreshed.headers["x-purser-cache"] == "miss"
    assert books.row(refreshed.headers["x-request-id"]).usage_source == "provider"
    ask_until(world, "exact", text)


def test_a_tenant_never_sees_anothers_answer(world: World) -> None:
    text = fresh_question()
    ask(world.openai(), text)
    ask_until(world, "exact", text)
    assert ask(world.openai(world.outsider), text).headers["x-purser-cache"] == "miss"


def test_other_parameters_and_prompts_are_other_questions(world: World) -> None:
    text = f"{fresh_question()} A word of JSON will do."
    ask(world.openai(), text)
    ask_until(world, "exact", text)
    for changed in (
        {"model": "gpt-4o"},
        {"extra_headers": {"x-purser-prompt-version": "2"}},
        {"extra_body": {"response_format": {"type": "json_object"}}},
    ):
        assert ask(world.openai(), text, **changed).headers["x-purser-cache"] in ("miss", "bypass"), changed


def test_a_policy_without_caches_bypasses_them(world: World, make_tenant: Callable[..., Member]) -> None:
    member = make_tenant(policy={"cache": {"exact": False, "semantic": "off"}})
    text = fresh_question()
    for _ in range(2):
        assert ask(world.openai(member), text).headers["x-purser-cache"] == "bypass"


def test_a_share_of_one_user_is_not_served_to_another(
    world: World, make_tenant: Callable[..., Member]
) -> None:
    member = make_tenant(policy={"cache": {"exact": True, "semantic": "off", "share": "user"}})
    text = fresh_question()
    ask(world.openai(member), text, user="alice")
    hit = eventually(
        lambda: ask(world.openai(member), text, user="alice"),
        until=lambda answer: answer.headers["x-purser-cache"] == "exact",
    )
    assert hit.parse().choices
    assert ask(world.openai(member), text, user="bob").headers["x-purser-cache"] == "miss"


def test_a_cut_answer_is_not_remembered(world: World) -> None:
    text = "Write 200 words about " + fresh_question()
    for _ in range(3):
        answer = ask(world.openai(), text, max_tokens=5)
        assert answer.parse().choices[0].finish_reason == "length"
        assert answer.headers["x-purser-cache"] == "miss"


def test_the_anthropic_sdk_gets_hits_as_well(world: World, books: Books) -> None:
    text = fresh_question()
    client = world.anthropic()
    first = ask_claude(client, text, max_tokens=400)
    hit = eventually(
        lambda: ask_claude(client, text, max_tokens=400),
        until=lambda answer: answer.headers["x-purser-cache"] == "exact",
    )
    assert hit.parse().content == first.parse().content
    assert purser_of(hit)["saved_usd"] == hit.headers["x-purser-list-cost-usd"]
    with client.messages.stream(model="claude-haiku-4-5", max_tokens=400, messages=turns(text)) as stream:
        assert stream.get_final_text() == first.parse().content[0].text
        assert stream.response.headers["x-purser-cache"] == "exact"
    assert [row.usage_source for row in books.rows(world.acme.id)].count("provider") == 1


def test_a_key_gets_no_answer_of_a_model_it_may_not_use(
    world: World, make_tenant: Callable[..., Member]
) -> None:
    secret = f"key-of-few-models-{uuid4().hex}"
    member = make_tenant(more_keys=[{"name": "few", "secret": secret, "models": ["gpt-4.1-nano"]}])
    few = Member(member.slug, secret, member.id)
    hard = f"Analyze step by step why, prove it, and design an algorithm. {fresh_question()}"
    rich = ask(world.openai(member), hard, model="auto")
    assert rich.headers["x-purser-model"] == "gpt-4o"
    ask_until(world, "exact", hard, model="auto", member=member)
    for state in ("miss", "exact"):
        poor = ask_until(world, state, hard, model="auto", member=few)
        assert poor.headers["x-purser-model"] == "gpt-4.1-nano"
    again = ask(world.openai(member), hard, model="auto")
    assert (again.headers["x-purser-cache"], again.headers["x-purser-model"]) == ("exact", "gpt-4o")


def test_nor_where_another_keys_call_fell_back_to_it(
    world: World,
    make_tenant: Callable[..., Member],
    make_deployment: Callable[..., Deployment],
) -> None:
    """The answer to a named model may have come from its fallback, and is remembered under the name asked for."""
    deployment = make_deployment(fallbacks=["gpt-4o"])
    secret = f"key-of-one-model-{uuid4().hex}"
    member = make_tenant(more_keys=[{"name": "one", "secret": secret, "models": [deployment.model]}])
    one = Member(member.slug, secret, member.id)
    text = fresh_question()
    world.fault(fault="status:500", match={"key": deployment.account_key}, times=3)
    first = ask(world.openai(member), text, model=deployment.model)
    assert first.headers["x-purser-model"] == "gpt-4o"
    ask_until(world, "exact", text, member=member, model=deployment.model)
    own = eventually(
        lambda: ask(world.openai(one).with_options(max_retries=6), text, model=deployment.model),
        until=lambda answer: answer.headers["x-purser-cache"] == "miss",
    )
    assert own.headers["x-purser-model"] == deployment.model
