"""What the tests of the clients share: the models of both kinds of provider, and what the books say of an answer.

Invariant: a client is told the truth: the tokens that its SDK shows are those of the ledger and of the receipt.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

import pytest

from tests.books import Books, eventually
from tests.clients.apps import weather
from tests.stack import ROOT
from tests.world import World

# where `make test` puts the clients that cannot share the product's environment
CLIENTS = Path(sys.prefix) / "clients" / "bin"

GPT, CLAUDE = "gpt-4o-mini", "claude-haiku-4-5"
MODELS = [GPT, CLAUDE]

WEATHER, ASKS_FOR_WEATHER = weather.WEATHER, weather.QUESTION

# a PNG
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQAYJ7xVAAAAAElFTkSuQmCC"

CheckBooks = Callable[..., dict[str, Any]]


@pytest.fixture
def check_books(world: World, books: Books) -> CheckBooks:
    """Assert that ledger and receipt have this request as its client saw it; returns the receipt."""

    def check(
        request_id: str, *, model: str, endpoint: str, input_tokens: int, output_tokens: int
    ) -> dict[str, Any]:
        row = books.row(request_id)
        assert (row.model, row.endpoint, row.usage_source) == (model, endpoint, "provider")
        assert row.input_tokens + row.cache_read_tokens + row.cache_write_tokens == input_tokens > 0
        assert row.output_tokens == output_tokens
        status, receipt = eventually(
            lambda: world.get(f"/v1/requests/{request_id}"),
            until=lambda answer: answer[0] == 200,
            patience_seconds=60,
        )
        assert status == 200
        assert (receipt["endpoint"], receipt["status"], receipt["error_code"]) == (endpoint, 200, None)
        result = receipt["result"]
        assert (result["model"], result["tokens"]["input"]) == (model, input_tokens)
        assert result["tokens"]["output"] == output_tokens
        assert Decimal(result["cost_usd"]) == row.billed_cost > 0
        assert [attempt["attempt"] for attempt in receipt["attempts"]] == [1]
        return receipt

    return check


@dataclass
class Application:
    """A running program of tests/clients/apps."""

    popen: subprocess.Popen[str]
    log: Path

    def ask(self, scenario: str, world: World, **arguments: Any) -> Any:
        """Have it play a scenario against the running server with acme's key; its answer."""
        address = {"base_url": world.stack.base_url, "key": world.acme.key}
        orders, answers = _pipes(self.popen)
        orders.write(json.dumps({"scenario": scenario, "arguments": {**address, **arguments}}) + "\n")
        orders.flush()
        line = answers.readline()
        answer = json.loads(line) if line else {"error": "it ended"}
        assert "error" not in answer, f"{answer['error']}\n{self.log.read_text()[-3000:]}"
        return answer["answer"]


@pytest.fixture(scope="session")
def langchain(home: Path) -> Iterator[Application]:
    yield from _run("langchain_app", home)


@pytest.fixture(scope="session")
def llama_index(home: Path) -> Iterator[Application]:
    yield from _run("llama_index_app", home)


def _run(module: str, home: Path) -> Iterator[Application]:
    """Start a program; it ends when its orders do."""
    log = home / "logs" / f"{module}.log"
    log.parent.mkdir(exist_ok=True)
    with log.open("w") as stderr:
        popen = subprocess.Popen(
            [CLIENTS / "python", "-m", f"tests.clients.apps.{module}"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    try:
        yield Application(popen, log)
    finally:
        orders, answers = _pipes(popen)
        orders.close()
        try:
            popen.wait(20)
        except subprocess.TimeoutExpired:
            popen.kill()
            popen.wait()
        answers.close()


def _pipes(popen: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    assert popen.stdin
    assert popen.stdout
    return popen.stdin, popen.stdout
