"""What the batch tests share: a running worker, files of lines, and waiting for a batch."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.books import eventually
from tests.world import Member, World

PATIENCE_SECONDS = 90
OVER = frozenset({"completed", "failed", "expired", "cancelled"})
CHAT = "/v1/chat/completions"


def question(custom_id: str, text: str, *, model: str = "gpt-4o-mini", **body: Any) -> dict[str, Any]:
    """A line of a batch that asks one question."""
    return {
        "custom_id": custom_id,
        "method": "POST",
        "url": CHAT,
        "body": {"model": model, "max_tokens": 40, "messages": [{"role": "user", "content": text}], **body},
    }


def jsonl(lines: Iterable[Any]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


@dataclass
class Desk:
    """One tenant's way to batches, through the real SDK."""

    world: World
    member: Member

    @property
    def client(self) -> Any:
        return self.world.openai(self.member)

    def order(
        self, lines: Iterable[Any], *, endpoint: str = CHAT, headers: dict[str, str] | None = None
    ) -> Any:
        """Upload the lines and create a batch over them."""
        uploaded = self.client.files.create(file=("lines.jsonl", jsonl(lines)), purpose="batch")
        return self.client.batches.create(
            input_file_id=uploaded.id, endpoint=endpoint, completion_window="24h", extra_headers=headers
        )

    def wait(self, batch_id: str, *, until: frozenset[str] = OVER) -> Any:
        """The batch as soon as it has one of these states."""
        return eventually(
            lambda: self.client.batches.retrieve(batch_id),
            until=lambda batch: batch.status in until,
            patience_seconds=PATIENCE_SECONDS,
        )

    def read(self, file_id: str | None) -> dict[str, Any]:
        """The rows of a file by their custom ids; empty when there is no file."""
        if file_id is None:
            return {}
        rows = [json.loads(row) for row in self.client.files.content(file_id).read().splitlines()]
        return {row["custom_id"]: row for row in rows}


@pytest.fixture
def desk(world: World, celery: Any) -> Desk:
    return Desk(world, world.acme)


@pytest.fixture
def desk_for(world: World, celery: Any, make_tenant: Callable[..., Member]) -> Callable[..., Desk]:
    """A desk of a tenant made for the test."""

    def make(**tenant: Any) -> Desk:
        return Desk(world, make_tenant(**tenant))

    return make
