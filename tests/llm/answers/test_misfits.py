"""Answers that came, though not as was asked: served and billed once by what they tell. Errors with status 200 are errors."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.books import Books
from tests.llm.answers.bodies import USAGE, chat, chunk, chunks, message, message_events, response
from tests.llm.answers.conftest import Client
from tests.llm.answers.scripted import JSON, STREAM, Script, stream, whole
from tests.world import Deployment

NAN = (
    b'{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant",\
"content":"Hi."},"logprobs":{"content":[{"token":"Hi","logprob":NaN,"top_logprobs":[{"logprob":-Infinity}]}]},\
"finish_reason":"stop"}],"usage":{"prompt_tokens":100,"completion_tokens":10,"total_tokens":110}}'
)
HALF = NAN.replace(b'"Hi."', b'"Hi. \\ud83d"').replace(b"NaN", b"-1").replace(b"-Infinity", b"-2")

SERVED: dict[str, tuple[str, bool, Callable[[], Script]]] = {
    "JSON for a stream": ("chat", True, lambda: whole(chat())),
    "JSON for a stream, labelled as one": ("chat", True, lambda: whole(chat(), content_type=STREAM)),
    "JSON for a stream, slowly": ("chat", True, lambda: Script((b"\xef\xbb\xbf  {", *_cut(chat())))),
    "a stream as JSON": ("chat", True, lambda: stream(chunks({"content": "Hi."}), content_type=JSON)),
    "a stream as text": ("chat", True, lambda: stream(chunks({"content": "Hi."}), content_type="text/plain")),
    "a stream for a whole answer": ("chat", False, lambda: stream(chunks({"content": "Hi."}))),
    "a byte order mark": ("chat", False, lambda: whole(b"\xef\xbb\xbf" + _bytes(chat()))),
    "a byte order mark before a stream": (
        "chat",
        True,
        lambda: stream([b"\xef\xbb", b"\xbf", *chunks({"content": "Hi."})]),
    ),
    "NaN": ("chat", False, lambda: whole(NAN)),
    "NaN for a stream": ("chat", True, lambda: whole(NAN)),
    "half a character": ("chat", False, lambda: whole(HALF)),
    "an error that is null": (
        "chat",
        True,
        lambda: stream([{**one, "error": None} for one in chunks({"content": "Hi."})]),
    ),
    "a message for a stream": ("messages", True, lambda: whole(message())),
    "a message's stream for a whole": ("messages", False, lambda: stream(_told_message(), done=False)),
    "a response for a stream": ("responses", True, lambda: whole(response())),
    "usage without a finish": (
        "chat",
        True,
        lambda: stream([chunk({"content": "Hi."}), {**chunk(), "choices": [], "usage": USAGE}]),
    ),
    "usage without a finish or an end mark": (
        "chat",
        True,
        lambda: stream([chunk({"content": "Hi."}), {**chunk(), "choices": [], "usage": USAGE}], done=False),
    ),
}
ERRORS: dict[str, tuple[str, str, Any, set[int], bool]] = {
    "a code": ("openai", "chat", {"error": {"message": "no", "code": 429}}, {503}, True),
    "a code as text": ("openai", "chat", {"error": {"message": "no", "code": "502"}}, {502}, True),
    "nulls beside": (
        "openai",
        "chat",
        {"id": None, "choices": None, "usage": None, "error": {"message": "no", "code": 500}},
        {502},
        True,
    ),
    "an object of errors": (
        "openai",
        "chat",
        {"object": "error", "message": "context too long", "type": "BadRequestError", "code": 400},
        {400},
        False,
    ),
    "a word": ("openai", "chat", {"error": "model is overloaded"}, {503}, True),
    "Claude's": (
        "anthropic",
        "messages",
        {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
        {503},
        True,
    ),
    "Claude's to a chat client": (
        "anthropic",
        "chat",
        {"type": "error", "error": {"type": "invalid_request_error", "message": "no"}},
        {400},
        False,
    ),
    "a failed response": (
        "openai",
        "responses",
        response(status="failed", error={"code": "server_error", "message": "boom"}, output=[], usage=None),
        {502},
        True,
    ),
    "our account": (
        "openai",
        "chat",
        {"error": {"type": "authentication_error", "message": "no"}},
        {502},
        False,
    ),
}


@pytest.mark.parametrize("case", SERVED)
def test_it_works(client: Client, books: Books, scripted: Callable[..., Deployment], case: str) -> None:
    api, streamed, make = SERVED[case]
    deployment = scripted(make(), kind="anthropic" if api == "messages" else "openai")
    result = client.ask(deployment, api=api, streamed=streamed)
    assert result.status == 200, result.raw
    assert b"Hi." in result.raw
    assert b"NaN" not in result.raw
    told = result.events[-1] if streamed else result.body
    assert told["purser"]["tokens"]["output"] == 10
    assert b"error" not in result.raw.replace(b'"error":null', b"").replace(b'"error": null', b"")
    assert client.states() == ["captured"]
    assert client.meters() == {"input": 100, "output": 10}
    assert len(client.asked(deployment)) == 1
    books.check_windows(client.member.id)


@pytest.mark.parametrize("api", ["chat", "messages"])
def test_a_character_that_is_cut_in_two_arrives_whole(
    client: Client, scripted: Callable[..., Deployment], api: str
) -> None:
    cut = [chunk({"content": "Hi \ud83d"}), chunk({"content": "\ude42."}), *chunks()]
    result = client.ask(scripted(stream(cut)), api=api, streamed=True)
    said = "".join(_texts_of(result.events, api))
    assert said == "Hi \N{SLIGHTLY SMILING FACE}."
    assert client.meters() == {"input": 100, "output": 10}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("case", ERRORS)
def test_an_error_with_status_200_is_an_error(
    client: Client, books: Books, scripted: Callable[..., Deployment], case: str, streamed: bool
) -> None:
    kind, api, body, statuses, retried = ERRORS[case]
    deployment = scripted(whole(body), kind=kind)
    result = client.ask(deployment, api=api, streamed=streamed)
    assert result.status in statuses, result.raw
    tries = 3 if retried else 1
    assert client.states(count=tries) == ["voided"] * tries
    assert not books.rows(client.member.id)
    assert books.log(result.request_id).status in statuses
    books.check_windows(client.member.id)


@pytest.mark.parametrize("streamed", [False, True])
def test_an_error_with_status_200_is_made_good_by_another_try(
    client: Client, scripted: Callable[..., Deployment], streamed: bool
) -> None:
    failed = whole({"error": {"message": "no", "code": 502}})
    answered = stream(chunks({"content": "Hi."})) if streamed else whole(chat())
    result = client.ask(scripted(failed, answered), streamed=streamed)
    assert result.status == 200
    assert client.states(count=2) == ["voided", "captured"]


@pytest.mark.parametrize(
    "before",
    [
        (),
        (b": PROCESSING\n\n", b": PROCESSING\n\n"),
        (b'event: ping\ndata: {"type": "ping"}\n\n',),
        (b"\n\n", b": x\r\n\r\n"),
    ],
)
@pytest.mark.parametrize(
    "error",
    [
        {"error": {"message": "Rate limit", "type": "rate_limit_error", "code": 429}},
        {"object": "error", "message": "EngineDeadError", "type": "InternalServerError", "code": 500},
    ],
)
def test_an_error_before_a_stream_says_anything_is_made_good(
    client: Client, scripted: Callable[..., Deployment], before: tuple[bytes, ...], error: dict[str, Any]
) -> None:
    deployment = scripted(stream([*before, error]), stream(chunks({"content": "Hi."})))
    result = client.ask(deployment, streamed=True)
    assert result.status == 200
    assert b"Hi." in result.raw
    assert client.states(count=2) == ["voided", "captured"]


@pytest.mark.parametrize(
    "error",
    [
        {"object": "error", "message": "EngineDeadError", "type": "InternalServerError", "code": 500},
        {"error": "CUDA out of memory"},
        b'event: error\ndata: {"message": "boom"}\n\n',
        b"<html>504</html>\n\n",
        chunk({"content": ""}, finish="error"),
    ],
)
@pytest.mark.parametrize("api", ["chat", "messages"])
def test_an_error_in_the_middle_ends_as_one(
    client: Client, books: Books, scripted: Callable[..., Deployment], api: str, error: Any
) -> None:
    deployment = scripted(stream([chunk({"content": "Hello wor"}), error]))
    result = client.ask(deployment, api=api, streamed=True)
    assert "error" in result.events[-1]
    assert client.states() == ["estimated"]
    assert client.meters()["output"] > 0
    assert books.log(result.request_id).error_code == "provider_error"


@pytest.mark.parametrize(
    ("script", "tries"),
    [
        (whole(b"<html>Sign in</html>", content_type="text/html"), 1),
        (whole(b"OK", content_type="text/plain"), 1),
        (whole({"hello": "world"}), 1),
        (whole([1, 2]), 1),
        (whole({"id": "x", "choices": []}), 1),
        (whole(b""), 3),
    ],
)
def test_what_is_no_answer_owes_nothing(
    client: Client, books: Books, scripted: Callable[..., Deployment], script: Script, tries: int
) -> None:
    """And what would be no answer again is not asked for again."""
    result = client.ask(scripted(script))
    assert result.status == 502
    assert client.states(count=tries) == ["voided"] * tries
    books.check_windows(client.member.id)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_failure_that_tells_its_usage_is_billed_by_it_once(
    client: Client, books: Books, scripted: Callable[..., Deployment], streamed: bool
) -> None:
    failed = response(status="failed", error={"code": "server_error", "message": "boom"}, output=[])
    events = [
        {
            "type": "response.created",
            "response": {**failed, "status": "in_progress", "error": None, "usage": None},
        },
        {"type": "response.failed", "response": failed},
    ]
    deployment = scripted(stream(events, done=False) if streamed else whole(failed))
    result = client.ask(deployment, api="responses", streamed=streamed)
    assert b"boom" in result.raw
    assert client.states() == ["captured"]
    assert client.meters() == {"input": 100, "output": 10}
    books.check_windows(client.member.id)


def test_signs_of_life_reach_the_client(client: Client, scripted: Callable[..., Deployment]) -> None:
    told = [b": PROCESSING\n\n", chunk({"content": "Hi."}), b": PROCESSING\n\n", *chunks()]
    assert client.ask(scripted(stream(told)), streamed=True).raw.count(b": PROCESSING") == 2
    assert b"event: ping" in client.ask(scripted(stream(told)), api="messages", streamed=True).raw
    events = _told_message()
    claude = scripted(stream([events[0], {"type": "ping"}, *events[1:]], done=False), kind="anthropic")
    assert b"\n: " in client.ask(claude, api="chat", streamed=True).raw


def test_one_event_is_bounded(client: Client, scripted: Callable[..., Deployment]) -> None:
    endless = Script((_bytes_of_event("Hi."), b"data: " + b"x" * (17 * 1024 * 1024)), content_type=STREAM)
    result = client.ask(scripted(endless), streamed=True)
    assert "error" in result.events[-1]
    assert client.states() == ["estimated"]


def _texts_of(events: list[dict[str, Any]], api: str) -> list[str]:
    if api == "messages":
        return [one["delta"].get("text", "") for one in events if one["type"] == "content_block_delta"]
    return [part["delta"].get("content") or "" for one in events for part in one.get("choices", ())]


def _told_message() -> list[dict[str, Any]]:
    return message_events(
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi."}},
        {"type": "content_block_stop", "index": 0},
    )


def _bytes(body: dict[str, Any]) -> bytes:
    return whole(body).pieces[0]


def _bytes_of_event(text: str) -> bytes:
    return stream([chunk({"content": text})]).pieces[0]


def _cut(body: dict[str, Any]) -> tuple[bytes, ...]:
    raw = _bytes(body)[1:]
    return tuple(raw[start : start + 40] for start in range(0, len(raw), 40))
