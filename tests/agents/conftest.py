"""A tenant, and models with the names that the agents know, whose provider works as agents want it to."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.agents.agents import CLAUDE, CODEX
from tests.agents.model import Model, serving
from tests.books import Books, eventually
from tests.stack import Stack
from tests.world import Member, declare_deployment

CLAUDE_MODEL, GPT_MODEL = "claude-opus-4-5", "gpt-5-codex"
TIGHT_MODEL = "tight-model"  # its window is smaller than what Claude Code says of itself


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and not (CLAUDE.exists() and CODEX.exists()):
            item.add_marker(
                pytest.mark.skip(reason="the agents are not installed (Linux only): make npm-clients")
            )


@pytest.fixture(scope="session")
def model() -> Iterator[Model]:
    with serving() as running:
        yield running


@dataclass
class Desk:
    """What a person at a terminal has: an address, a key, models, and a folder."""

    url: str
    member: Member
    model: Model
    books: Books
    folder: Path
    seen: int = field(default=0)

    def options(self, *, model: str, key: str = "") -> dict[str, Any]:
        """What either agent is run with."""
        return {"folder": self.folder, "url": self.url, "key": key or self.member.key, "model": model}

    def asked(self, path: str = "/") -> list[dict[str, Any]]:
        """What the provider was asked in this test, oldest first."""
        return [one for one in self.model.asked[self.seen :] if one["path"].startswith(path)]

    def logs(self) -> list[Any]:
        """The tenant's rows of the request log, oldest first, once that of each of its attempts is written."""
        from billing.models import Attempt
        from llm.models import RequestLog

        asked = set(Attempt.objects.filter(tenant_id=self.member.id).values_list("request_id", flat=True))

        def written() -> list[Any]:
            rows = list(RequestLog.objects.filter(tenant=self.member.id).order_by("at"))
            return rows if asked <= {row.request_id for row in rows} else []

        return eventually(written)

    def attempts(self) -> list[Any]:
        """The tenant's attempts, once none is open."""
        return self.books.settled(self.member.id)


@pytest.fixture
def desk(
    stack: Stack, books: Books, make_tenant: Callable[..., Member], model: Model, tmp_path: Path
) -> Callable[..., Desk]:
    """A desk of its own, whose tenant may have budgets."""

    def sit_down(**facts: Any) -> Desk:
        from llm.configuration import apply_configuration

        member = make_tenant("agents", **{"policy": {"cache": {"exact": False, "semantic": "off"}}, **facts})
        for kind, name, window in (
            ("anthropic", CLAUDE_MODEL, 400_000),
            ("openai", GPT_MODEL, 400_000),
            ("anthropic", TIGHT_MODEL, 2_000),
        ):
            _, document = declare_deployment(
                stack.sandbox_url,
                kind=kind,
                base_url=model.url + ("/v1" if kind == "openai" else ""),
                name=name,
                upstream=CLAUDE_MODEL if name == TIGHT_MODEL else name,
                context_window=window,
                max_output_tokens=64_000,
            )
            apply_configuration(json.dumps(document), source="agents.yaml", environ={}, dry_run=False)
        return Desk(stack.base_url, member, model, books, tmp_path / "work", len(model.asked))

    return sit_down
