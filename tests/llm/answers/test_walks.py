"""How often a long conversation is gone through between the door and the wire: each walk is time of every other call.

The turns are a list that counts: who iterates it, compares it or writes it as JSON walks through it.
"""

import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from tests.llm.answers.bodies import chat, message
from tests.llm.answers.conftest import Client
from tests.llm.answers.scripted import whole
from tests.llm.answers.test_nothing_sent import in_the_product
from tests.world import Deployment

MOST_WALKS = 5
ANSWERS = {"openai": chat, "anthropic": message, "messages": message}


class Turns(list[Any]):
    """Turns that write down who walks through them."""

    def __init__(self, turns: list[Any]) -> None:
        super().__init__(turns)
        self.walks: list[str] = []

    def __iter__(self) -> Iterator[Any]:
        self.note()
        return super().__iter__()

    def __eq__(self, other: object) -> bool:
        self.note()
        return super().__eq__(other)

    __hash__ = None  # type: ignore[assignment]

    def note(self) -> None:
        frame = sys._getframe(2)
        self.walks.append(f"{frame.f_code.co_filename}:{frame.f_lineno}")

    def is_in(self, value: Any) -> bool:
        """Whether a value that is written as JSON has these turns in it."""
        if value is self:
            return True
        if isinstance(value, dict):
            return any(map(self.is_in, value.values()))
        inside = list(list.__iter__(value)) if isinstance(value, list) else []
        return bool(inside) and (inside[0] is self[0] or any(map(self.is_in, inside)))


def conversation() -> list[dict[str, Any]]:
    asked = [
        {"role": "user", "content": f"Where do I find card number {number} in the app?"}
        for number in range(40)
    ]
    told = [{"role": "assistant", "content": f"Under Cards, at place {number}."} for number in range(39)]
    return [turn for pair in zip(asked, told, strict=False) for turn in pair] + asked[-1:]


@pytest.mark.parametrize("semantic", ["off", "static"])
@pytest.mark.parametrize("case", ANSWERS)
def test_a_body_is_walked_a_few_times(
    client: Client,
    scripted: Callable[..., Deployment],
    monkeypatch: pytest.MonkeyPatch,
    case: str,
    semantic: str,
) -> None:
    kind = "openai" if case == "openai" else "anthropic"
    deployment = scripted(whole(ANSWERS[case]()), kind=kind)
    api, path = (
        ("anthropic.messages", "/v1/messages")
        if case == "messages"
        else ("openai.chat", "/v1/chat/completions")
    )
    walks: list[list[str]] = []

    async def work() -> None:
        from dataclasses import replace
        from uuid import uuid4

        from llm import pipeline
        from llm.calls.call import Call
        from llm.calls.headers import CallHeaders
        from llm.catalog.loading import load_snapshot
        from llm.wire import Source, format_for
        from llm.wire.texts import json_texts
        from tenants.principal import Principal
        from tenants.snapshots.store import SnapshotCache

        snapshot = await SnapshotCache(load_snapshot).get(client.member.id)
        cache = replace(snapshot.policy.cache, semantic=semantic)
        tenant = replace(snapshot.tenant, policy=replace(snapshot.policy, cache=cache))
        snapshot = replace(snapshot, tenant=tenant)
        [key] = snapshot.tenant.keys.values()
        principal = Principal(client.member.id, client.member.slug, key.id, key.name, key.public_id)
        wire = format_for(api)
        plain = {"model": deployment.model, "messages": conversation(), "max_tokens": 50}
        raw = orjson.dumps(plain)
        turns = Turns(plain["messages"])
        body = {**plain, "messages": turns}
        dumps = orjson.dumps

        def noting_dumps(value: Any, *more: Any, **named: Any) -> bytes:
            if turns.is_in(value):
                turns.note()
            return dumps(value, *more, **named)

        monkeypatch.setattr(orjson, "dumps", noting_dumps)
        json_texts.is_too_deep(body, raw)
        call = Call(
            request_id=uuid4(),
            received_at=datetime.now(UTC),
            endpoint=path,
            wire=wire,
            source=Source(raw, body),
            body=body,
            facts=wire.facts(body),
            headers=CallHeaders(),
            passed_on={},
            principal=principal,
            snapshot=snapshot,
        )
        await pipeline.answer(call)
        monkeypatch.setattr(orjson, "dumps", dumps)
        assert call.outcome is not None
        walks.append(turns.walks)

    in_the_product(work)
    [found] = walks
    assert 3 <= len(found) <= MOST_WALKS, "\n".join(found)
