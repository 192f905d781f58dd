"""Models whose provider answers as a test has written down, and what came of a call to them."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.books import Books
from tests.llm.answers.scripted import Provider, Script, serving
from tests.stack import Stack
from tests.world import Deployment, Member, declare_deployment

PATHS = {
    "chat": "/v1/chat/completions",
    "messages": "/v1/messages",
    "responses": "/v1/responses",
    "completions": "/v1/completions",
}
TEXTS = {"responses": "input", "completions": "prompt"}


@pytest.fixture(scope="session")
def provider() -> Iterator[Provider]:
    with serving() as running:
        yield running


@dataclass
class Result:
    """What the client got, and what the books say of it."""

    status: int
    raw: bytes
    headers: dict[str, str]

    @property
    def body(self) -> dict[str, Any]:
        return dict(json.loads(self.raw))

    @property
    def events(self) -> list[dict[str, Any]]:
        lines = [line[6:] for line in self.raw.splitlines() if line.startswith(b"data: ")]
        return [json.loads(line) for line in lines if line != b"[DONE]"]

    @property
    def request_id(self) -> str:
        return self.headers["x-request-id"]


@dataclass
class Client:
    """A tenant that asks models of the scripted provider."""

    stack: Stack
    books: Books
    member: Member
    provider: Provider

    def ask(
        self,
        deployment: Deployment,
        *,
        api: str = "chat",
        streamed: bool = False,
        headers: dict[str, str] | None = None,
        **fields: Any,
    ) -> Result:
        text = TEXTS.get(api)
        asked = {text: "Hi"} if text else {"messages": [{"role": "user", "content": "Hi"}]}
        limit = {} if api == "responses" else {"max_tokens": 200}
        return self.post(
            PATHS[api],
            {"model": deployment.model, **asked, **limit, "stream": streamed, **fields},
            headers=headers,
        )

    def post(self, path: str, body: Any, *, headers: dict[str, str] | None = None) -> Result:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.stack.base_url}{path}",
            data=raw,
            headers={
                "authorization": f"Bearer {self.member.key}",
                "content-type": "application/json",
                **(headers or {}),
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return Result(response.status, response.read(), dict(response.headers))
        except urllib.error.HTTPError as error:
            return Result(error.code, error.read(), dict(error.headers))

    def asked(self, deployment: Deployment) -> list[dict[str, Any]]:
        """What the provider was asked, in order."""
        return self.provider.asked.get(deployment.account_key, [])

    def states(self, *, count: int = 1) -> list[str]:
        """How the tenant's attempts ended, once none is open."""
        return [attempt.state for attempt in self.books.settled(self.member.id, count=count)]

    def row(self) -> Any:
        """The tenant's only ledger row."""
        (row,) = self.books.rows(self.member.id)
        return row

    def meters(self) -> dict[str, int]:
        return self.books.meters(self.row())


@pytest.fixture
def client(stack: Stack, books: Books, make_tenant: Callable[..., Member], provider: Provider) -> Client:
    """A tenant without caches but the exact one, whose budget counts everything."""
    member = make_tenant(
        policy={"cache": {"exact": True, "semantic": "off"}},
        budgets=[{"scope": "tenant", "unit": "usd", "period": "month", "limit": "10", "mode": "hard"}],
    )
    return Client(stack, books, member, provider)


@pytest.fixture
def scripted(stack: Stack, committed: None, provider: Provider) -> Callable[..., Deployment]:
    """Declare a model whose provider gives these answers, one call after the other."""

    def make(*scripts: Script, kind: str = "openai", **declared: Any) -> Deployment:
        from llm.configuration import apply_configuration

        url = provider.url + ("/v1" if kind == "openai" else "")
        deployment, document = declare_deployment(
            stack.sandbox_url, kind=kind, **{"base_url": url, **declared}
        )
        provider.scripts[deployment.account_key] = list(scripts)
        apply_configuration(json.dumps(document), source="deployment.yaml", environ={}, dry_run=False)
        return deployment

    return make
