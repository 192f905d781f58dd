"""The OpenAI SDK's responses against the sandbox."""

import json

import openai
import pytest
from pydantic import BaseModel

from tests.llm.sandbox.conftest import Provider

WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the current weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": False,
}


def test_it_works(provider: Provider) -> None:
    response = provider.openai().responses.create(
        model="gpt-4o", instructions="Be brief.", input="How do I top up?"
    )
    assert response.id.startswith("resp_")
    assert response.status == "completed"
    assert "Add money" in response.output_text
    assert provider.only_call()["billed"] == {
        "input": response.usage.input_tokens,
        "output": response.usage.output_tokens,
    }


def test_a_stream_has_every_event_in_order_and_ends_with_the_response(provider: Provider) -> None:
    events = list(provider.openai().responses.create(model="gpt-4o", input="Count from 1 to 5.", stream=True))
    kinds = [event.type for event in events]
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert kinds[-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    deltas = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert deltas == events[-1].response.output_text == "1, 2, 3, 4, 5"
    assert provider.only_call()["billed"]["output"] == events[-1].response.usage.output_tokens


def test_tools_are_called_and_their_results_used(provider: Provider) -> None:
    client = provider.openai()
    with client.responses.stream(
        model="gpt-4o", input="What is the weather in Paris?", tools=[WEATHER]
    ) as stream:
        response = stream.get_final_response()
    (call,) = response.output
    assert call.type == "function_call"
    assert json.loads(call.arguments) == {"city": "Paris"}
    final = client.responses.create(
        model="gpt-4o",
        previous_response_id=response.id,
        input=[{"type": "function_call_output", "call_id": call.call_id, "output": "18 degrees"}],
        tools=[WEATHER],
    )
    assert "18 degrees" in final.output_text


class Person(BaseModel):
    name: str
    age: int


def test_structured_output_is_parsed_by_the_sdk(provider: Provider) -> None:
    response = provider.openai().responses.parse(
        model="gpt-4o", input="Extract the person: Jane Doe is 41.", text_format=Person
    )
    assert response.output_parsed == Person(name="Jane Doe", age=41)


def test_a_response_is_stored_until_deleted(provider: Provider) -> None:
    client = provider.openai()
    response = client.responses.create(model="gpt-4o", input="My name is Alice.")
    assert client.responses.retrieve(response.id).output_text == response.output_text
    assert client.responses.input_items.list(response.id).data[0].content[0].text == "My name is Alice."
    follow = client.responses.create(
        model="gpt-4o", previous_response_id=response.id, input="What is my name?"
    )
    assert follow.output_text == "Your name is Alice."
    assert follow.usage.input_tokens > response.usage.input_tokens
    client.responses.delete(response.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(response.id)


def test_max_output_tokens_makes_it_incomplete(provider: Provider) -> None:
    response = provider.openai().responses.create(
        model="gpt-4o", input="Write an essay.", max_output_tokens=16
    )
    assert response.status == "incomplete"
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.usage.output_tokens == 16


def test_reasoning_is_an_item_with_a_summary_when_asked_for(provider: Provider) -> None:
    response = provider.openai().responses.create(
        model="o4-mini", input="What is 15 * 37?", reasoning={"effort": "low", "summary": "auto"}
    )
    assert [item.type for item in response.output] == ["reasoning", "message"]
    assert response.output[0].summary
    assert response.usage.output_tokens_details.reasoning_tokens == 64
