"""One real sandbox process for the folder; each test has a key of its own and sees its own calls only."""

import json
import subprocess
import sys
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Provider:
    """The sandbox as one test sees it: with the test's own key."""

    url: str
    key: str

    def openai(self, **options: Any) -> openai.OpenAI:
        return openai.OpenAI(
            base_url=f"{self.url}/v1", api_key=self.key, **{"max_retries": 0, "timeout": 20} | options
        )

    def anthropic(self, **options: Any) -> anthropic.Anthropic:
        return anthropic.Anthropic(
            base_url=self.url, api_key=self.key, **{"max_retries": 0, "timeout": 20} | options
        )

    def control(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(
            urllib.request.Request(f"{self.url}/control/{path}", data=data)
        ) as answer:
            return json.load(answer)

    def order(self, fault: str, **order: Any) -> None:
        match = {"key": self.key} | order.pop("match", {})
        self.control("faults", {"fault": fault, "match": match, **order})

    def calls(self, **wanted: str) -> list[dict[str, Any]]:
        query = urllib.parse.urlencode({"key": self.key} | wanted)
        return list(self.control(f"calls?{query}")["calls"])

    def only_call(self) -> dict[str, Any]:
        (call,) = self.calls()
        return call


def start(*arguments: str) -> tuple[subprocess.Popen[str], str]:
    """Start a sandbox on a free port and return it with its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "llm.sandbox", "--port", "0", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, process.stdout.readline().rsplit(" ", 1)[1].strip()


@pytest.fixture(scope="session")
def sandbox_url() -> Iterator[str]:
    process, url = start("--batch-delay", "0.2", "--seed", "7")
    yield url
    process.terminate()
    assert process.wait(10) == 0


@pytest.fixture
def provider(sandbox_url: str) -> Provider:
    return Provider(sandbox_url, f"sk-{uuid.uuid4().hex}")
