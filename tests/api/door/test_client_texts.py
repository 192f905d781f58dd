"""Texts that a client writes of its own accord, with characters that no database can keep."""

import json
import secrets
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from llm.calls.headers import parse_headers
from llm.errors import InvalidRequest
from tests.api.conftest import ask, fresh_question, turns
from tests.world import Member, World

NUL, HALF = "a\x00b", "a\ud800b"
CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
DAY = [{"scope": "user", "unit": "usd", "period": "day", "limit": "5"}]
WISH = {"scope": "user", "unit": "usd", "period": "day", "amount": "1", "until": "2099-12-31T00:00:00Z"}


def nested(text: str) -> str:
    """A user's id as agents write it: JSON inside a text, which has no such character itself."""
    return json.dumps({"user_id": text, "session_id": secrets.token_hex(8)})


def chat(**more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o-mini", "max_tokens": 16, "messages": turns(fresh_question()), **more}


def claude(user_id: str) -> dict[str, Any]:
    return {**chat(), "model": "claude-haiku-4-5", "metadata": {"user_id": user_id}}


def response(**more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o-mini", "input": fresh_question(), **more}


def line(**changed: Any) -> dict[str, Any]:
    return {"requests": [{"custom_id": "one", "params": claude("alice"), **changed}]}


def batch(metadata: Any) -> dict[str, Any]:
    return {"input_file_id": "file-0", "endpoint": CHAT, "completion_window": "24h", "metadata": metadata}


WRITTEN: dict[str, tuple[str, Callable[[str], Any], str]] = {
    "user": (CHAT, lambda text: chat(user=text), "user"),
    "user, nested": (CHAT, lambda text: chat(user=nested(text)), "user"),
    "session, nested": (CHAT, lambda text: chat(user=json.dumps({"user": "x", "session_id": text})), "user"),
    "safety identifier": (CHAT, lambda text: chat(safety_identifier=text), "user"),
    "response's user, nested": (RESPONSES, lambda text: response(user=nested(text)), "user"),
    "user id": (MESSAGES, claude, "user_id"),
    "user id, nested": (MESSAGES, lambda text: claude(nested(text)), "user_id"),
    "model": (CHAT, lambda text: chat(model=text), "model"),
    "embedding's user": (
        "/v1/embeddings",
        lambda text: {"model": "text-embedding-3-small", "input": "x", "user": text},
        "user",
    ),
    "custom id": ("/v1/messages/batches", lambda text: line(custom_id=text), "requests.0.custom_id"),
    "line's user, nested": (
        "/v1/messages/batches",
        lambda text: line(params=claude(nested(text))),
        "requests.0.user_id",
    ),
    "batch's metadata": ("/v1/batches", lambda text: batch({"topic": text}), "metadata.topic"),
    "batch's metadata, a name": ("/v1/batches", lambda text: batch({text: "x"}), "metadata"),
    "batch's file": (
        "/v1/batches",
        lambda text: {**batch(None), "input_file_id": text},
        "input_file_id",
    ),
    "feedback": (
        "/v1/feedback",
        lambda text: {
            "request_id": "01a1fe3e-7615-75f3-b4d6-816f46b2caca",
            "rating": 1,
            "reason": text,
        },
        "reason",
    ),
    "raise's reason": ("/v1/budgets/raise-requests", lambda text: {**WISH, "reason": text}, "reason"),
    "raise's value": (
        "/v1/budgets/raise-requests",
        lambda text: {**WISH, "value": text, "reason": "x"},
        "value",
    ),
    "stored chat's metadata": (
        f"{CHAT}/chatcmpl-0",
        lambda text: {"metadata": {"topic": text}},
        "metadata.topic",
    ),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_null_character_is_refused_by_its_field_and_harms_no_neighbour(
    world: World, make_tenant: Callable[..., Member], name: str
) -> None:
    path, body, param = WRITTEN[name]
    member = make_tenant(budgets=DAY)

    def send(number: int) -> tuple[int, Any]:
        if number % 2:
            return world.request("POST", CHAT, chat(user="alice"), member=member)
        return world.request("POST", path, body(NUL), member=member)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, range(8)))
    assert [status for status, _ in answers] == [400, 200] * 4, answers
    for _, told in answers[::2]:
        assert told["error"]["type"] == "invalid_request_error"
        # Anthropic's envelope has no place for a field: its name is in the message
        assert param in (told["error"].get("param") or told["error"]["message"])


@pytest.mark.parametrize("name", [name for name in WRITTEN if "nested" not in name])
def test_half_a_character_is_no_json(world: World, name: str) -> None:
    path, body, _ = WRITTEN[name]
    status, told = world.request("POST", path, body(HALF))
    assert (status, told["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize("text", ["%00", "%ED%A0%80"])
def test_addresses_with_such_characters_find_nothing(world: World, text: str) -> None:
    for path in (
        *(f"{CHAT}?after={text}", f"{CHAT}?model={text}", f"{CHAT}?metadata[a]={text}", f"{CHAT}/{text}"),
        *(f"/v1/files?after={text}", f"/v1/files?purpose={text}", f"/v1/files/{text}"),
        *(f"/v1/batches?after={text}", f"/v1/batches/{text}", f"/v1/messages/batches?after_id={text}"),
        *(f"/v1/budgets?user={text}", f"/v1/budgets/raise-requests?user={text}", f"/v1/models/{text}"),
    ):
        status, told = world.get(path)
        assert status in (200, 400, 404), path
        assert status != 200 or not told["data"] or path.startswith("/v1/budgets?"), path


@pytest.mark.parametrize(
    "name", ["x-purser-user", "x-purser-feature", "x-purser-tags", "x-purser-prompt-version"]
)
def test_a_header_has_none(name: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_headers({name: "team=a\x00b"})
    assert refused.value.param == name


def test_a_files_name_is_kept_as_far_as_it_can_be(world: World) -> None:
    client = world.openai()
    kept = client.files.create(file=(f"{NUL}.txt", b"x"), purpose="user_data")
    assert "\x00" not in client.files.retrieve(kept.id).filename
    for value in ("utf-8''a%00b.txt", "utf-7''a%2B2AA-b.txt", "utf-8''a%ED%A0%80b.txt"):
        form = (
            b'--x\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
            b'--x\r\ncontent-disposition: form-data; name="file"; filename*='
            + value.encode()
            + b"\r\n\r\nx\r\n--x--\r\n"
        )
        headers = {
            "authorization": f"Bearer {world.acme.key}",
            "content-type": "multipart/form-data; boundary=x",
        }
        upload = urllib.request.Request(f"{world.stack.base_url}/v1/files", data=form, headers=headers)
        try:
            with urllib.request.urlopen(upload, timeout=30) as answer:
                assert json.load(answer)["filename"].isprintable()
        except urllib.error.HTTPError as refused:
            status = refused.code
        else:
            status = 200
        assert status in (200, 400), value


def test_metadata_of_a_stored_chat_fails_no_answer(world: World) -> None:
    chats = world.openai().chat.completions
    made = ask(world.openai(), store=True, metadata={"topic": NUL}).parse()
    assert chats.retrieve(made.id).metadata == {"topic": "a\ufffdb"}


def test_a_text_about_the_escape_is_no_null_character(world: World) -> None:
    params = claude("alice") | {"messages": turns("What does \\u0000 mean?")}
    status, told = world.request("POST", "/v1/messages/batches", line(params=params))
    assert (status, told["type"]) == (200, "message_batch")
