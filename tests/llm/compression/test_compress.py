"""The compressor as a whole: what it saves, what it must not touch, and that it never fails a request."""

from typing import Any

import pytest

from llm.compression import compress
from llm.tokens.counting import count_chat, count_messages
from tenants.policy import CompressionPolicy

RECORDS = (
    '[\n  {\n    "order": 1001,\n    "total": 19.90,\n    "items": ["pen", "ink"]\n  },\n'
    '  {\n    "order": 1002,\n    "total": 5.00,\n    "items": ["nib"]\n  }\n]'
)
COMPACT = '[{"order":1001,"total":19.90,"items":["pen","ink"]},{"order":1002,"total":5.00,"items":["nib"]}]'
CHUNK = (
    "Refunds are paid within fourteen days after the parcel has reached our warehouse in Hamburg, to the "
    "card or the account that was used for the purchase, and never in cash or as a voucher unless the "
    "customer asks for one."
)


def chat(body: dict[str, Any], **policy: Any):
    return compress(
        body,
        protocol="openai.chat",
        policy=CompressionPolicy(enabled=True, **policy),
        count=lambda one: count_chat(one, "gpt-4o"),
    )


def messages(body: dict[str, Any], **policy: Any):
    return compress(
        body,
        protocol="anthropic.messages",
        policy=CompressionPolicy(enabled=True, **policy),
        count=lambda one: count_messages(one, "claude-sonnet-4-5"),
    )


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


def test_it_works():
    body = {
        "model": "gpt-4o",
        "messages": [user(f"Which order is dearer?\n\n{RECORDS}\n\n{CHUNK}\n\n{CHUNK}")],
    }
    result = chat(body)
    assert result.body["messages"][0]["content"] == f"Which order is dearer?\n\n{COMPACT}\n\n{CHUNK}"
    assert [step.name for step in result.steps] == ["json", "duplicates"]
    assert result.tokens_before == count_chat(body, "gpt-4o")
    assert result.tokens_after == count_chat(result.body, "gpt-4o") < result.tokens_before


def test_the_callers_body_is_never_edited():
    body = {"messages": [user(f"Which order is dearer?\n{RECORDS}"), assistant("1001"), user("Thanks!")]}
    chat(body)
    assert body["messages"][0]["content"] == f"Which order is dearer?\n{RECORDS}"


def test_a_body_with_nothing_to_save_comes_back_as_the_same_object():
    body = {"messages": [user("What is the capital of France?")]}
    result = chat(body)
    assert result.body is body
    assert result.steps == ()


def test_each_step_can_be_switched_off():
    body = {"messages": [user(f"Which order is dearer?\n{RECORDS}\n\n\n\n\n\n{CHUNK}\n\n{CHUNK}")]}
    result = chat(body, json=False, whitespace=False, duplicates=False)
    assert result.body is body


def test_the_history_window_keeps_instructions_and_the_last_turns():
    turns = [
        message
        for number in range(6)
        for message in (user(f"question {number}"), assistant(f"answer {number}"))
    ]
    body = {"messages": [{"role": "system", "content": "Be kind."}, *turns, user("the last question")]}
    kept = chat(body, history_turns=2).body["messages"]
    assert [message["content"] for message in kept] == [
        "Be kind.",
        "question 4",
        "answer 4",
        "question 5",
        "answer 5",
        "the last question",
    ]


def test_the_history_window_never_parts_a_tool_call_from_its_result():
    call = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"order": 1001}'}}
    body = {
        "messages": [
            user("hello there"),
            assistant("hi"),
            user("Where is order 1001?"),
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "in transit"},
            assistant("On its way."),
            user("And when does it arrive?"),
        ]
    }
    kept = chat(body, history_turns=1).body["messages"]
    assert [message["role"] for message in kept] == ["user", "assistant", "tool", "assistant", "user"]
    assert kept[1]["tool_calls"][0]["function"]["arguments"] == '{"order":1001}'


def test_the_history_window_counts_a_turn_of_tool_results_with_the_question_before_it():
    body = {
        "model": "claude-sonnet-4-5",
        "messages": [
            user("hello there, how are you today?"),
            assistant("well"),
            user("Where is order 1001?"),
            assistant([{"type": "tool_use", "id": "t1", "name": "find", "input": {"order": 1001}}]),
            user([{"type": "tool_result", "tool_use_id": "t1", "content": "in transit"}]),
        ],
    }
    kept = messages(body, history_turns=1).body["messages"]
    assert len(kept) == 5
    body["messages"] += [assistant("On its way."), user("Thanks!")]
    kept = messages(body, history_turns=1).body["messages"]
    assert [message["role"] for message in kept] == ["user", "assistant", "user", "assistant", "user"]


def test_the_history_window_opens_with_the_question_of_its_first_exchange():
    turns = [message for number in range(6) for message in (user(f"question {number}" * 9), assistant("ok"))]
    body = {"messages": [*turns, user("the last question")]}
    result = compress(
        body,
        protocol="openai.chat",
        policy=CompressionPolicy(enabled=True, history_turns=1),
        count=lambda one: count_chat(one, "gpt-4o"),
    )
    assert result.body["messages"] == [*turns[10:], user("the last question")]


def test_few_shot_examples_that_repeat_are_left_out_with_their_answers():
    example = [user(f"Classify: {CHUNK}"), assistant("refund policy")]
    other = [user("Classify: " + CHUNK.replace("fourteen", "thirty")), assistant("refund policy")]
    body = {"messages": [*example, *other, *example, user(f"Classify: {CHUNK}")]}
    assert chat(body).body["messages"] == [*example, *other, user(f"Classify: {CHUNK}")]


def test_a_repeated_question_with_another_answer_stays():
    body = {
        "messages": [user(CHUNK), assistant("yes"), user(CHUNK), assistant("no"), user("So which is it?")]
    }
    assert len(chat(body).body["messages"]) == 5


def test_texts_that_differ_in_one_word_that_matters_stay():
    long = f"{CHUNK} {CHUNK.replace('Hamburg', 'Bremen')} The request was approved by the manager on duty."
    body = {"messages": [user(f"{long}\n\n{long.replace('approved', 'rejected')}\n\nSummarise this.")]}
    assert chat(body).body is body


def test_near_duplicates_that_differ_in_small_words_alone_are_left_out():
    again = CHUNK.replace("after the parcel has", "after  the parcel\nhas").replace(
        "in cash or as a", "in cash, or as a"
    )
    body = {"messages": [user(f"{CHUNK}\n\n{again}\n\nWhen is the money paid?")]}
    assert chat(body).body["messages"][0]["content"] == f"{CHUNK}\n\nWhen is the money paid?"


def test_a_question_about_repetition_keeps_every_repetition():
    body = {"messages": [user(f"How many times is the same thing said here?\n\n{CHUNK}\n\n{CHUNK}")]}
    result = chat(body)
    assert result.body is body
    assert result.steps[-1].skipped == "the question is about repetition"


def test_a_question_about_layout_keeps_the_layout():
    body = {"messages": [user(f"Is this JSON pretty-printed with the right indentation?\n{RECORDS}")]}
    assert chat(body).body is body


def test_what_the_last_turn_brings_along_again_stays():
    body = {
        "messages": [
            user(f"{CHUNK}\n\nWhat about refunds?"),
            assistant("14 days"),
            user(f"{CHUNK}\n\nTranslate."),
        ]
    }
    assert chat(body).body is body


def test_a_repeated_tool_result_refers_to_the_first():
    calls = [
        {"id": f"c{number}", "type": "function", "function": {"name": "read", "arguments": "{}"}}
        for number in (1, 2)
    ]
    body = {
        "messages": [
            user("What do the terms say?"),
            {"role": "assistant", "tool_calls": calls[:1]},
            {"role": "tool", "tool_call_id": "c1", "content": CHUNK},
            {"role": "assistant", "tool_calls": calls[1:]},
            {"role": "tool", "tool_call_id": "c2", "content": CHUNK},
        ]
    }
    kept = chat(body).body["messages"]
    assert kept[2]["content"] == CHUNK
    assert kept[4]["content"] == "[The same as the earlier result above.]"
    assert kept[4]["tool_call_id"] == "c2"


def test_nothing_before_a_cache_mark_changes():
    marked = user([{"type": "text", "text": RECORDS, "cache_control": {"type": "ephemeral"}}])
    body = {
        "model": "claude-sonnet-4-5",
        "system": [{"type": "text", "text": f"Orders:\n{RECORDS}"}],
        "messages": [user(RECORDS), marked, assistant("read"), user(f"And these?\n{RECORDS}")],
    }
    result = messages(body, history_turns=1)
    assert result.body["system"] == body["system"]
    assert result.body["messages"][:2] == body["messages"][:2]
    assert result.body["messages"][-1]["content"] == f"And these?\n{COMPACT}"


def test_a_mark_the_provider_places_itself_freezes_everything():
    body = {
        "cache_control": {"type": "ephemeral"},
        "messages": [user(RECORDS), assistant("read"), user(RECORDS)],
    }
    assert messages(body, history_turns=1).body is body


def test_tool_results_and_the_system_prompt_of_a_messages_body_are_minified():
    body = {
        "model": "claude-sonnet-4-5",
        "system": f"Orders:\n{RECORDS}",
        "messages": [
            user("Which is dearer?"),
            assistant([{"type": "tool_use", "id": "t1", "name": "orders", "input": {}}]),
            user(
                [{"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": RECORDS}]}]
            ),
        ],
    }
    result = messages(body)
    assert result.body["system"] == f"Orders:\n{COMPACT}"
    assert result.body["messages"][2]["content"][0]["content"] == [{"type": "text", "text": COMPACT}]


def test_the_answer_a_client_has_begun_stays_as_it_is():
    body = {"messages": [user("Go on:"), assistant("{\n  \n\n\n\n\n\n\n   ")]}
    assert chat(body).body is body


@pytest.mark.parametrize(
    "turns", [None, "text", [], ["text"], [user(None)], [user([1, None, {"type": "text"}])], [{}]]
)
def test_a_body_it_cannot_read_is_sent_as_it_came(turns: Any):
    body = {"messages": turns}
    result = compress(
        body,
        protocol="openai.chat",
        policy=CompressionPolicy(enabled=True, history_turns=1),
        count=lambda _: 1,
    )
    assert result.body is body


def test_a_step_that_fails_fails_nothing():
    class Odd(str):
        def split(self, *args: Any, **kwargs: Any):
            raise RuntimeError("unreadable")

    body = {"messages": [user(Odd(f"{CHUNK}   \n\n\n\n\n\n\n{CHUNK}"))]}
    result = chat(body, json=True)
    assert result.body is not None
    assert "failed: RuntimeError" in [step.skipped for step in result.steps]


def test_the_turns_of_a_responses_body_are_compressed_too():
    body = {
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "Which is dearer?"}]},
            {"type": "function_call", "call_id": "c1", "name": "orders", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": RECORDS},
        ]
    }
    result = compress(
        body,
        protocol="openai.responses",
        policy=CompressionPolicy(enabled=True),
        count=lambda one: len(str(one)),
    )
    assert result.body["input"][2]["output"] == COMPACT
