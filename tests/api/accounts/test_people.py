"""Who a call is for: a person, whatever session the tool is in, and whom the key belongs to."""

import json
import secrets
from collections.abc import Callable
from typing import Any

import anthropic
import pytest

from tests.api.conftest import ask, ask_claude, fresh_question
from tests.books import Books
from tests.world import Member, World

# of each user
ONE_REQUEST_A_DAY = [{"scope": "user", "unit": "requests", "period": "day", "limit": "1", "mode": "hard"}]


def claude_code(device: str, *, is_older: bool = False) -> dict[str, Any]:
    """What Claude Code says of its user; the session is a new one each time it starts."""
    session = secrets.token_hex(16)
    if is_older:
        return {"metadata": {"user_id": f"user_{device}_account__session_{session}"}}
    blob = {"device_id": device, "account_uuid": "", "session_id": session}
    return {"metadata": {"user_id": json.dumps(blob)}}


def test_it_works(world: World, books: Books, make_tenant: Callable[..., Member]) -> None:
    """A budget of each user is not renewed by starting the tool anew."""
    member = make_tenant(budgets=ONE_REQUEST_A_DAY)
    client = world.anthropic(member)
    device = secrets.token_hex(32)
    first = claude_code(device)
    answer = ask_claude(client, **first, extra_headers={"x-claude-code-agent-id": "explore-1"})
    log = books.log(answer.headers["x-request-id"])
    assert (log.user, log.session) == (device, json.loads(first["metadata"]["user_id"])["session_id"])
    assert log.receipt["session"] == log.session
    assert log.receipt["agent"] == {"id": "explore-1"}
    for is_older in (False, True):
        with pytest.raises(anthropic.RateLimitError) as refusal:
            ask_claude(client, **claude_code(device, is_older=is_older))
        assert refusal.value.body["error"]["code"] == "budget_exceeded"
    ask_claude(client, **claude_code(secrets.token_hex(32)))
    status, usage = world.get("/v1/usage?group_by=user", member)
    assert status == 200
    assert len(usage["data"]) == 2


def test_a_key_may_be_a_persons(world: World, books: Books, make_tenant: Callable[..., Member]) -> None:
    """Whoever calls with it is that person, whatever the call says."""
    member = make_tenant(budgets=ONE_REQUEST_A_DAY, key={"user": "alice"})
    answer = ask_claude(world.anthropic(member), **claude_code(secrets.token_hex(32)))
    log = books.log(answer.headers["x-request-id"])
    assert log.user == "alice"
    assert log.receipt["user_named"]
    assert books.row(answer.headers["x-request-id"]).cost_center == "4711"
    for forged in ({"extra_headers": {"x-purser-user": "bob"}}, {"user": "bob"}, {}):
        with pytest.raises(Exception, match="user budget 'alice'"):
            ask(world.openai(member), fresh_question(), **forged)


def test_the_same_name_in_header_and_body_is_one_person(world: World, books: Books) -> None:
    def user_of(headers: dict[str, str], **fields: str) -> str:
        body = {
            "model": "gpt-4o-mini",
            "messages": [{"role": "user", "content": fresh_question()}],
            **fields,
        }
        status, answer = world.request("POST", "/v1/chat/completions", body, headers=headers)
        assert status == 200
        return books.log(answer["purser"]["request_id"]).user

    as_utf8 = "Jürgen".encode().decode("latin-1")  # the bytes that go out are Latin-1's
    assert user_of({"x-purser-user": as_utf8}) == "Jürgen"
    assert user_of({"x-purser-user": "Jürgen"}) == "Jürgen"
    assert user_of({}, user="Jürgen") == "Jürgen"


def test_codex_tells_its_session_in_a_header(world: World, books: Books) -> None:
    answer = world.openai().responses.with_raw_response.create(
        model="gpt-4o-mini",
        input=fresh_question(),
        extra_headers={"session-id": "01a228c6", "originator": "codex_exec", "x-openai-subagent": "review"},
    )
    log = books.log(answer.headers["x-request-id"])
    assert (log.user, log.session) == ("", "01a228c6")
    assert log.receipt["agent"] == {"type": "review", "client": "codex_exec"}
