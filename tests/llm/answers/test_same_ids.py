"""A translated answer is made once: the client, the caches and every replay get the same ids."""

import secrets
from collections.abc import Callable
from typing import Any

import pytest

from tests.llm.answers.bodies import message, message_events
from tests.llm.answers.conftest import Client, Result
from tests.llm.answers.scripted import stream, whole
from tests.llm.wire.translating import RESPONSES, exchange
from tests.world import Deployment

TEXT = {"type": "text", "text": "Hi."}
EVENTS = [
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi."}},
    {"type": "content_block_stop", "index": 0},
]


def ids_of(result: Result, *, streamed: bool) -> list[str]:
    response: Any = result.events[-1]["response"] if streamed else result.body
    assert response["output"], result.raw
    return [response["id"], *(item["id"] for item in response["output"])]


def test_the_same_answer_has_the_same_ids_each_time() -> None:
    made = exchange(RESPONSES, "anthropic")
    assert made.answer(message())["output"] == made.answer(message())["output"]
    other = made.answer(message(id="msg_2"))["output"]
    assert other[0]["id"] != made.answer(message())["output"][0]["id"]


@pytest.mark.parametrize("streamed", [False, True])
def test_a_cached_replay_has_the_ids_of_the_first_answer(
    client: Client, scripted: Callable[..., Deployment], streamed: bool
) -> None:
    answers = stream(message_events(*EVENTS), done=False) if streamed else whole(message(TEXT))
    deployment = scripted(answers, kind="anthropic")
    first = client.ask(deployment, api="responses", streamed=streamed)
    again = [client.ask(deployment, api="responses", streamed=one) for one in (streamed, not streamed)]
    assert [one.headers["x-purser-cache"] for one in (first, *again)] == ["miss", "exact", "exact"]
    same = ids_of(first, streamed=streamed)
    assert ids_of(again[0], streamed=streamed) == same
    assert ids_of(again[1], streamed=not streamed) == same
    assert len(client.asked(deployment)) == 1


def test_an_idempotent_replay_has_the_bytes_of_the_first_answer(
    client: Client, scripted: Callable[..., Deployment]
) -> None:
    deployment = scripted(whole(message(TEXT)), kind="anthropic")
    headers = {"idempotency-key": secrets.token_hex(), "x-purser-cache": "off"}
    first, again = (client.ask(deployment, api="responses", headers=headers) for _ in range(2))
    assert again.headers["x-purser-idempotent-replay"] == "true"
    assert again.raw == first.raw
