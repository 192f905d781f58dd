"""The OpenAI SDK's chat and completions against the sandbox."""

import json

import jsonschema
import openai
import pytest
from pydantic import BaseModel

from llm.tokens import counting
from tests.llm.sandbox.conftest import Provider

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def ask(provider: Provider, question: str, *, model: str = "gpt-4o-mini", **options):
    messages = [{"role": "user", "content": question}]
    return provider.openai().chat.completions.create(model=model, messages=messages, **options)


def test_it_works(provider: Provider) -> None:
    completion = ask(provider, "When will my new card arrive?")
    assert completion.id.startswith("chatcmpl-")
    assert completion.object == "chat.completion"
    assert "working days" in completion.choices[0].message.content
    assert completion.choices[0].finish_reason == "stop"
    call = provider.only_call()
    assert call["upstream_id"] == completion.id
    assert call["billed"] == {
        "input": completion.usage.prompt_tokens,
        "output": completion.usage.completion_tokens,
    }
    assert completion._request_id == call["request_id"]


def test_usage_is_counted_by_the_tokenizer(provider: Provider) -> None:
    body = {"messages": [{"role": "user", "content": "Explain tides."}], "tools": [WEATHER]}
    completion = provider.openai().chat.completions.create(model="gpt-4o", **body)
    assert completion.usage.prompt_tokens == counting.count_chat(body, "gpt-4o")
    assert completion.usage.completion_tokens == counting.count_text(
        completion.choices[0].message.content, "gpt-4o"
    )


def test_equal_questions_get_equal_answers_and_other_models_another_style(provider: Provider) -> None:
    first, second = (ask(provider, "How do I change my PIN?").choices[0].message.content for _ in range(2))
    assert first == second
    brief = ask(provider, "How do I change my PIN?", model="gpt-4.1-nano").choices[0].message.content
    assert len(brief) < len(first)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is 15 * 37?", "15 * 37 = 555."),
        ("What is 12 plus 30? Reply with only the number.", "42"),
        ("Count from 1 to 5.", "1, 2, 3, 4, 5"),
        ("Reply with exactly: all good", "all good"),
        ("What is the sentiment of: I love this great bank", "positive"),
    ],
)
def test_simple_tasks_are_solved(provider: Provider, question: str, answer: str) -> None:
    assert ask(provider, question).choices[0].message.content == answer


@pytest.mark.parametrize(
    ("second", "word"),
    [("In the app, open Cards and freeze it.", "SAME"), ("Order another one by post.", "DIFFERENT")],
)
def test_two_quoted_answers_are_compared(provider: Provider, second: str, word: str) -> None:
    quoted = {"question": "How?", "first": "Open the app and freeze it in Cards.", "second": second}
    messages = [
        {"role": "system", "content": "Reply with one word, SAME or DIFFERENT."},
        {"role": "user", "content": json.dumps(quoted)},
    ]
    completion = provider.openai().chat.completions.create(model="gpt-4o-mini", messages=messages)
    assert completion.choices[0].message.content == word


def test_a_stream_adds_up_to_the_plain_answer(provider: Provider) -> None:
    question = "Why was my card payment declined?"
    plain = ask(provider, question)
    chunks = list(ask(provider, question, stream=True, stream_options={"include_usage": True}))
    assert (
        "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        == plain.choices[0].message.content
    )
    assert chunks[-1].usage == plain.usage
    assert chunks[-1].choices == []
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert provider.calls()[0]["billed"] == provider.calls()[1]["billed"]


def test_usage_in_a_stream_only_when_asked_for_but_billed_all_the_same(provider: Provider) -> None:
    chunks = list(ask(provider, "Hello", stream=True))
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)
    assert provider.only_call()["billed"]["output"] > 0


def test_max_tokens_ends_the_answer(provider: Provider) -> None:
    for options in ({"max_tokens": 7}, {"max_completion_tokens": 7}):
        completion = ask(provider, "Write an essay about rivers.", **options)
        assert completion.choices[0].finish_reason == "length"
        assert completion.usage.completion_tokens == 7


def test_the_answer_ends_before_a_stop_sequence(provider: Provider) -> None:
    completion = ask(provider, "Count from 1 to 9.", stop=["6"])
    assert completion.choices[0].message.content == "1, 2, 3, 4, 5, "


def test_several_choices_are_all_billed(provider: Provider) -> None:
    completion = ask(provider, "How do I top up?", n=3)
    assert [choice.index for choice in completion.choices] == [0, 1, 2]
    counted = sum(counting.count_text(choice.message.content, "gpt-4o-mini") for choice in completion.choices)
    assert completion.usage.completion_tokens == counted
    streamed = list(ask(provider, "How do I top up?", n=3, stream=True))
    assert {chunk.choices[0].index for chunk in streamed} == {0, 1, 2}


def test_a_tool_is_called_when_the_question_is_about_it(provider: Provider) -> None:
    client, messages = (
        provider.openai(),
        [{"role": "user", "content": "What is the weather in Paris and London?"}],
    )
    completion = client.chat.completions.create(model="gpt-4o", messages=messages, tools=[WEATHER])
    calls = completion.choices[0].message.tool_calls
    assert completion.choices[0].finish_reason == "tool_calls"
    assert [json.loads(call.function.arguments) for call in calls] == [{"city": "Paris"}, {"city": "London"}]
    messages.append(completion.choices[0].message)
    messages += [{"role": "tool", "tool_call_id": call.id, "content": "18 degrees"} for call in calls]
    final = client.chat.completions.create(model="gpt-4o", messages=messages, tools=[WEATHER])
    assert "18 degrees" in final.choices[0].message.content


def test_tool_choice_is_obeyed(provider: Provider) -> None:
    assert ask(provider, "Hello", tools=[WEATHER], tool_choice="required").choices[0].message.tool_calls
    named = {"type": "function", "function": {"name": "get_weather"}}
    assert ask(provider, "Hello", tools=[WEATHER], tool_choice=named).choices[0].message.tool_calls
    none = ask(provider, "What is the weather in Paris?", tools=[WEATHER], tool_choice="none")
    assert none.choices[0].message.tool_calls is None


def test_tool_calls_stream(provider: Provider) -> None:
    client = provider.openai()
    with client.chat.completions.stream(
        model="gpt-4o",
        messages=[{"role": "user", "content": "What is the weather in Rome?"}],
        tools=[WEATHER],
    ) as stream:
        stream.until_done()
        call = stream.get_final_completion().choices[0].message.tool_calls[0]
    assert json.loads(call.function.arguments) == {"city": "Rome"}


class Step(BaseModel):
    explanation: str
    output: str


class Solution(BaseModel):
    steps: list[Step]
    final_answer: str


def test_structured_output_is_parsed_by_the_sdk(provider: Provider) -> None:
    completion = provider.openai().chat.completions.parse(
        model="gpt-4o", messages=[{"role": "user", "content": "Solve 8x + 7 = -23"}], response_format=Solution
    )
    assert completion.choices[0].message.parsed.steps


def test_structured_output_validates_against_a_hard_schema(provider: Provider) -> None:
    schema = {
        "type": "object",
        "additionalProperties": False,
        "required": ["name", "age", "code", "tags", "status", "node", "when", "score", "pair"],
        "properties": {
            "name": {"type": "string", "minLength": 12},
            "age": {"type": "integer", "minimum": 18, "maximum": 20},
            "code": {"type": "string", "pattern": "^[A-Z]{3}-\\d{2,4}(x|y)?$"},
            "tags": {"type": "array", "items": {"type": "string"}, "minItems": 4, "uniqueItems": True},
            "status": {"enum": ["open", "closed"]},
            "node": {"$ref": "#/$defs/node"},
            "when": {"type": "string", "format": "date-time"},
            "score": {"type": "number", "exclusiveMinimum": 0, "multipleOf": 0.5},
            "pair": {"anyOf": [{"type": "null"}, {"type": "boolean"}]},
        },
        "$defs": {
            "node": {
                "type": "object",
                "required": ["label", "next"],
                "properties": {
                    "label": {"type": "string"},
                    "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                },
            }
        },
    }
    asked = {"type": "json_schema", "json_schema": {"name": "hard", "strict": True, "schema": schema}}
    completion = ask(provider, "Is the case of Ann Lee, 44, closed?", response_format=asked)
    answer = json.loads(completion.choices[0].message.content)
    jsonschema.validate(answer, schema, cls=jsonschema.Draft202012Validator)
    assert answer["status"] == "closed"


def test_json_mode_gives_an_object_with_the_keys_asked_for(provider: Provider) -> None:
    completion = ask(
        provider,
        "Give JSON with keys: city, country. I live in Oslo.",
        response_format={"type": "json_object"},
    )
    assert json.loads(completion.choices[0].message.content).keys() == {"city", "country"}


def test_logprobs_and_service_tier_and_fingerprint(provider: Provider) -> None:
    completion = ask(provider, "Hello", logprobs=True, top_logprobs=2, service_tier="flex")
    content = completion.choices[0].logprobs.content
    assert "".join(entry.token for entry in content) == completion.choices[0].message.content
    assert len(content[0].top_logprobs) == 2
    assert completion.service_tier == "flex"
    assert completion.system_fingerprint.startswith("fp_")


def test_a_repeated_long_prefix_is_read_from_the_cache(provider: Provider) -> None:
    system = {"role": "system", "content": "You are a careful clerk. " * 400}

    def cached(question: str) -> int:
        messages = [system, {"role": "user", "content": question}]
        usage = provider.openai().chat.completions.create(model="gpt-4o", messages=messages).usage
        return usage.prompt_tokens_details.cached_tokens

    assert cached("Hello") == 0
    assert cached("Goodbye") >= 1_024
    assert cached("Goodbye") % 128 == 0
    assert provider.calls()[1]["billed"]["cache_read"] >= 1_024


def test_reasoning_models_bill_their_reasoning(provider: Provider) -> None:
    low = ask(provider, "Why is the sky blue?", model="o4-mini", reasoning_effort="low").usage
    high = ask(provider, "Why is the sky blue?", model="o4-mini", reasoning_effort="high").usage
    assert (
        high.completion_tokens_details.reasoning_tokens > low.completion_tokens_details.reasoning_tokens > 0
    )


def test_bad_requests_are_refused_as_openai_does(provider: Provider) -> None:
    client = provider.openai()
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="gpt-4o", messages=[])
    assert caught.value.param == "messages"
    with pytest.raises(openai.BadRequestError) as caught:
        ask(provider, "Hello", temperature=3)
    assert "temperature" in str(caught.value)
    with pytest.raises(openai.BadRequestError) as caught:
        ask(provider, "word " * 130_000)
    assert caught.value.code == "context_length_exceeded"
    with pytest.raises(openai.NotFoundError):
        client.get("/nowhere", cast_to=object)


def test_a_missing_key_is_refused(provider: Provider) -> None:
    with pytest.raises(openai.AuthenticationError):
        provider.openai(default_headers={"Authorization": ""}).models.list()


def test_legacy_completions(provider: Provider) -> None:
    client = provider.openai()
    completion = client.completions.create(
        model="gpt-3.5-turbo-instruct", prompt=["Count from 1 to 3.", "Say hello."]
    )
    assert next(choice.text for choice in completion.choices) == "1, 2, 3"
    chunks = client.completions.create(
        model="gpt-3.5-turbo-instruct", prompt="Count from 1 to 3.", stream=True
    )
    assert "".join(chunk.choices[0].text for chunk in chunks) == "1, 2, 3"
    short = client.completions.create(model="gpt-3.5-turbo-instruct", prompt="Tell me a long story.")
    assert short.usage.completion_tokens == 16
    assert short.choices[0].finish_reason == "length"
