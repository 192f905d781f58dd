"""Answers that must fit a schema: checked, asked for once more, and never called valid when they are not."""

import json
import socket
import time
from typing import Any

import pytest

from llm.structured import Unchecked, problem_with
from tests.api.conftest import body_of, events_of, fresh_question, turns
from tests.books import Books
from tests.world import Deployment, Member, World

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "population": {"type": "integer"}},
    "required": ["city", "population"],
    "additionalProperties": False,
}
CHAT_FORM = {
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "city", "strict": True, "schema": SCHEMA},
    }
}
CHAT_TOOL = {
    "tools": [{"type": "function", "function": {"name": "store", "parameters": SCHEMA}}],
    "tool_choice": {"type": "function", "function": {"name": "store"}},
}
RESPONSES_FORM = {"text": {"format": {"type": "json_schema", "name": "city", "schema": SCHEMA}}}
RESPONSES_TOOL = {
    "tools": [{"type": "function", "name": "store", "parameters": SCHEMA}],
    "tool_choice": {"type": "function", "name": "store"},
}
MESSAGES_FORM = {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}
MESSAGES_TOOL = {
    "tools": [{"name": "store", "input_schema": SCHEMA}],
    "tool_choice": {"type": "tool", "name": "store"},
}
CASES = [
    pytest.param("/v1/chat/completions", CHAT_FORM, id="chat"),
    pytest.param("/v1/chat/completions", CHAT_TOOL, id="chat-tool"),
    pytest.param("/v1/chat/completions", {"response_format": {"type": "json_object"}}, id="chat-object"),
    pytest.param("/v1/responses", RESPONSES_FORM, id="responses"),
    pytest.param("/v1/responses", RESPONSES_TOOL, id="responses-tool"),
    pytest.param("/v1/messages", MESSAGES_FORM, id="messages"),
    pytest.param("/v1/messages", MESSAGES_TOOL, id="messages-tool"),
]


def body_for(path: str, model: str, form: dict[str, Any], **more: Any) -> dict[str, Any]:
    question = f"Which city is this about, as JSON? {fresh_question()}"
    limit = {"max_output_tokens": 200} if path == "/v1/responses" else {"max_tokens": 200}
    ask = {"input": question} if path == "/v1/responses" else {"messages": turns(question)}
    return {"model": model, **ask, **limit, **form, **more}


def ask(world: World, member: Member, path: str, body: dict[str, Any]) -> dict[str, Any]:
    status, answer = world.request("POST", path, body, member=member)
    assert status == 200, answer
    return answer


@pytest.mark.parametrize(("path", "form"), CASES)
def test_it_works(
    world: World, books: Books, member: Member, make_deployment, path: str, form: dict[str, Any]
) -> None:
    """An answer that does not fit is asked for once more; both tries are attempts, and both are paid for."""
    deployment: Deployment = make_deployment("anthropic" if path == "/v1/messages" else "openai")
    world.fault(fault="bad_schema", match={"key": deployment.account_key})
    answer = ask(world, member, path, body_for(path, deployment.model, form))
    assert answer["purser"]["structured_output"] == "repaired"
    attempts = books.settled(member.id, count=2)
    assert [attempt.state for attempt in attempts] == ["captured", "captured"]
    books.check_invoice(member.id, books.ended_calls(count=2, key=deployment.account_key))
    books.check_windows(member.id)
    total = sum(row.billed_cost for row in books.rows(member.id))
    assert answer["purser"]["cost_usd"] == f"{total:.12f}"
    receipt = books.log(answer["purser"]["request_id"]).receipt
    assert [attempt["why"] for attempt in receipt["attempts"]] == [
        "first choice",
        "repair: the answer did not match the schema",
    ]
    steps = [step for step in receipt["steps"] if step["step"] == "structured_output"]
    assert [step["outcome"] for step in steps] == ["invalid", "valid"]


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
@pytest.mark.parametrize(("path", "form"), CASES)
def test_an_answer_that_fits_costs_one_attempt(
    world: World, books: Books, member: Member, make_deployment, path: str, form: dict[str, Any], kind: str
) -> None:
    deployment = make_deployment(kind)
    answer = ask(world, member, path, body_for(path, deployment.model, form))
    assert answer["purser"]["structured_output"] == "valid"
    assert len(books.settled(member.id)) == 1


def test_what_fits_neither_time_is_given_and_called_invalid(
    world: World, books: Books, member: Member, make_deployment
) -> None:
    deployment = make_deployment()
    world.fault(fault="bad_schema", match={"key": deployment.account_key}, times=-1)
    question = body_for("", deployment.model, CHAT_FORM)
    for attempts in (2, 4):  # what does not fit is not remembered either
        response = world.openai(member).chat.completions.with_raw_response.create(**question)
        assert response.headers["x-purser-structured-output"] == "invalid"
        assert response.headers["x-purser-cache"] == "miss"
        assert body_of(response)["choices"][0]["message"]["content"]
        assert len(books.settled(member.id, count=attempts)) == attempts
    books.check_windows(member.id)


@pytest.mark.parametrize(("policy", "told"), [("flag", "invalid"), ("off", None)])
def test_the_policy_may_leave_it_at_saying_so(
    world: World, books: Books, make_tenant, make_deployment, policy: str, told: str | None
) -> None:
    member, deployment = make_tenant(policy={"structured_output": policy}), make_deployment()
    world.fault(fault="bad_schema", match={"key": deployment.account_key})
    answer = ask(world, member, "/v1/chat/completions", body_for("", deployment.model, CHAT_FORM))
    assert answer["purser"].get("structured_output") == told
    assert len(books.settled(member.id)) == 1


def test_a_repair_that_the_budget_does_not_afford_is_not_made(
    world: World, books: Books, make_tenant, make_deployment
) -> None:
    deployment = make_deployment()
    member = make_tenant(
        budgets=[{"scope": "tenant", "unit": "requests", "period": "day", "limit": 1, "mode": "hard"}]
    )
    world.fault(fault="bad_schema", match={"key": deployment.account_key})
    answer = ask(world, member, "/v1/chat/completions", body_for("", deployment.model, CHAT_FORM))
    assert answer["purser"]["structured_output"] == "invalid"
    assert len(books.settled(member.id)) == 1
    steps = books.log(answer["purser"]["request_id"]).receipt["steps"]
    (left,) = [step for step in steps if step["outcome"] == "not repaired"]
    assert left["reason"].startswith("budget_exceeded: ")


def test_a_repair_that_fails_leaves_the_first_answer(
    world: World, books: Books, member: Member, make_deployment
) -> None:
    deployment = make_deployment()
    world.fault(fault="bad_schema", match={"key": deployment.account_key})
    world.fault(fault="status:500", match={"key": deployment.account_key})
    answer = ask(world, member, "/v1/chat/completions", body_for("", deployment.model, CHAT_FORM))
    assert answer["purser"]["structured_output"] == "invalid"
    assert answer["choices"][0]["message"]["content"]
    assert [one.state for one in books.settled(member.id, count=2)] == ["captured", "voided"]
    books.check_windows(member.id)


def test_a_stream_is_told_and_not_repaired(
    world: World, books: Books, member: Member, make_deployment
) -> None:
    deployment = make_deployment()
    for fault, told in (("bad_schema", "invalid"), ("", "valid")):
        if fault:
            world.fault(fault=fault, match={"key": deployment.account_key})
        with world.openai(member).chat.completions.with_streaming_response.create(
            **body_for("", deployment.model, CHAT_FORM, stream=True)
        ) as response:
            events = events_of("\n".join(response.iter_lines()))
        assert events[-1]["purser"]["structured_output"] == told
    assert len(books.settled(member.id, count=2)) == 2


def test_an_answer_cut_short_is_not_repaired(
    world: World, books: Books, member: Member, make_deployment
) -> None:
    deployment = make_deployment()
    body = body_for("", deployment.model, CHAT_FORM) | {"max_tokens": 3}
    answer = ask(world, member, "/v1/chat/completions", body)
    assert answer["purser"]["structured_output"] == "unchecked"
    assert len(books.settled(member.id)) == 1


class TestCheck:
    def test_it_works(self) -> None:
        assert problem_with('{"city": "Bern", "population": 134000}', SCHEMA) is None
        problem = problem_with('{"city": 7, "population": 1}', SCHEMA)
        assert problem is not None
        assert "7 is not of type 'string'" in problem
        assert problem.place == "$.city: type"

    def test_prose_is_not_json(self) -> None:
        problem = problem_with("Here you are: {}", {"type": "object"})
        assert problem is not None
        assert problem.place == "not JSON"

    def test_a_place_says_nothing_of_the_answer(self) -> None:
        problem = problem_with('{"city": "Bern", "population": 1, "secret": 2}', SCHEMA)
        assert problem is not None
        assert "secret" not in problem.place

    def test_nothing_is_fetched_for_a_reference(self) -> None:
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen()
            server.settimeout(0.2)
            url = f"http://127.0.0.1:{server.getsockname()[1]}/schema.json"
            with pytest.raises(Unchecked):
                problem_with("{}", {"$ref": url})
            with pytest.raises(TimeoutError):
                server.accept()

    @pytest.mark.parametrize(
        ("text", "schema"),
        [
            (json.dumps("1," * 60), {"pattern": "^(.*?,){24}P"}),
            ("{}", {"$ref": "#"}),
            ("[]", {"$ref": "#/$defs/absent"}),
            ("{}", {"type": "nothing"}),
            ('{"aaaaaaaaaaaaaaaaaaaaaaaaaaaaa!": 1}', {"patternProperties": {"^(a+)+$": {}}}),
            (
                "1",
                {
                    "$ref": "#/$defs/d0",
                    "$defs": {
                        f"d{level}": {"anyOf": [{"$ref": f"#/$defs/d{level + 1}"}] * 2} for level in range(40)
                    }
                    | {"d40": {"type": "string"}},
                },
            ),
            (json.dumps(list(range(60_000))), {"items": {"type": "integer", "minimum": 0}}),
            ('"' + "a" * 600_000 + '"', {"type": "string"}),
        ],
    )
    def test_what_would_take_too_long_or_cannot_be_known_is_unchecked(self, text: str, schema: Any) -> None:
        with pytest.raises(Unchecked):
            problem_with(text, schema)

    def test_patterns_and_unique_items_are_checked(self) -> None:
        schema = {"type": "array", "items": {"pattern": "^[a-z]{3}$"}, "uniqueItems": True}
        assert problem_with('["abc", "def"]', schema) is None
        assert problem_with('["abc", "DEF"]', schema) is not None
        assert problem_with('["abc", "abc"]', schema) is not None


def test_many_patterns_that_take_a_moment_each_do_not_take_for_ever() -> None:
    slow = {
        "type": "array",
        "items": {"allOf": [{"pattern": f"(?:a|aa)+{letter}|a"} for letter in "bcdefghijk"]},
    }
    text = json.dumps(["a" * 20 + "!bcdefghijk"] * 500)
    start = time.process_time()
    with pytest.raises(Unchecked):
        problem_with(text, slow)
    assert time.process_time() - start < 2
