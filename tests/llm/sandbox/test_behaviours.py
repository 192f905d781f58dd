"""The catalogue of what other servers answer: how one is ordered, what leaves, and what stands on the invoice."""

import pytest

from llm.sandbox.behaviours import PATHS, UnreadableBehaviour, behaviours, figure, read
from tests.llm.sandbox.conftest import Provider


def ask(provider: Provider, question: str = "Hello", *, model: str = "gpt-4o-mini", **options):
    messages = [{"role": "user", "content": question}]
    return provider.openai().chat.completions.create(model=model, messages=messages, **options)


def test_it_works(provider: Provider) -> None:
    provider.order("behaviour:reasoning_outside_and_small")
    told = ask(provider).usage
    assert told.total_tokens == told.prompt_tokens + 10 + 64
    assert ask(provider).usage.completion_tokens != 10
    first, second = provider.calls()
    assert (first["fault"], second["fault"]) == ("behaviour:reasoning_outside_and_small", "")
    assert first["billed"] == {"input": told.prompt_tokens, "output": 74}


@pytest.mark.parametrize(
    ("question", "model"),
    [("Hello behaviour:content_in_parts.", "gpt-4o-mini"), ("Hello", "behaviour:content_in_parts")],
)
def test_a_call_orders_one_itself(provider: Provider, question: str, model: str) -> None:
    assert ask(provider, question, model=model).choices[0].message.content[1]["text"] == "Four."
    assert provider.only_call()["fault"] == "behaviour:content_in_parts"


def test_the_last_one_asked_for_counts(provider: Provider) -> None:
    answered = ask(
        provider, "behaviour:content_in_parts, behaviour:nobody_knows, behaviour:id_changes", stream=True
    )
    assert len({chunk.id for chunk in answered}) > 1


def test_an_order_waits_for_a_call_that_it_has_an_answer_to(provider: Provider) -> None:
    provider.order("behaviour:usage_then_zeros")
    assert ask(provider).usage.total_tokens
    *_, last = ask(provider, stream=True)
    assert last.usage.total_tokens == 0
    assert [call["fault"] for call in provider.calls()] == ["", "behaviour:usage_then_zeros"]


def test_an_unknown_one_is_refused(provider: Provider) -> None:
    with pytest.raises(Exception, match="400"):
        provider.order("behaviour:nobody_knows")


def test_every_one_can_be_made(provider: Provider) -> None:
    listed = provider.control("behaviours")["behaviours"]
    assert {behaviour["name"] for behaviour in listed} == behaviours().keys()
    assert {behaviour["path"] for behaviour in listed} == set(PATHS.values())
    for behaviour in behaviours().values():
        for is_stream, script in behaviour.scripts.items():
            content = script.rendered(input_tokens=20, upstream_id="id_1", model="some-model")
            assert b"".join(script.pieces(content)).strip(b"\n") == content.strip(b"\n")
            assert all(
                quantity >= 0 for quantity in behaviour.billed(input_tokens=20, is_stream=is_stream).values()
            )


def test_bytes_are_made_as_the_file_says() -> None:
    made = read(
        "seen: invented\nodd: x\nright: x\nbills: {}\nledger: bound\n=== whole type=text/plain\n"
        "$BYTES(ff fe)$REPEAT(ab,3)$ID $MODEL ${input*2}",
        name="x",
        protocol="chat",
    ).scripts[False]
    assert made.rendered(input_tokens=21, upstream_id="i", model="m") == b"\xff\xfeabababi m 42"


@pytest.mark.parametrize(
    "text",
    [
        "seen: x\n=== whole\n{}",
        "seen: x\nodd: x\nright: x\nbills: {}\nledger: exact\nmood: x\n=== whole\n{}",
        "seen: x\nodd: x\nright: x\nbills: {}\nledger: never\n=== whole\n{}",
        "seen: x\nodd: x\nright: x\nbills: {}\nledger: exact\n",
        "seen: x\nodd: x\nright: x\nbills: {}\nledger: exact\n=== half\n{}",
        "seen: x\nodd: x\nright: x\nbills: {}\nledger: exact\n=== whole colour=red\n{}",
    ],
)
def test_a_file_that_breaks_the_rules_is_named(text: str) -> None:
    with pytest.raises(UnreadableBehaviour, match="x: "):
        read(text, name="x", protocol="chat")


def test_figures_are_sums() -> None:
    assert [figure(text, 20) for text in ("input", "7", "input+3", "input-3", "input*2")] == [
        20,
        7,
        23,
        17,
        40,
    ]
    with pytest.raises(UnreadableBehaviour):
        figure("output", 20)
