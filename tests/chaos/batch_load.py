"""Clients of batches and of deferred calls, through the official SDKs, who go on whatever dies.

Invariant: every line has a question of its own, so that nothing is answered from another's answer; what a client was told was
taken is kept, to be looked for later.
"""

import random
import secrets
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import anthropic
import openai

from tests.chaos.harness import Site
from tests.llm.batches.conftest import jsonl, question

CLIENTS = 3
PAUSE_SECONDS = 0.2
FEATURE = {"x-purser-feature": "chaos"}  # a budget counts it
URGENCIES = ("deferred", "deferred", "within=45s")  # the last one is too soon for a batch


@dataclass
class BatchLoad:
    """Submits batches of both protocols and deferred calls side by side, until told to stop."""

    site: Site
    lines: int = 30  # of the largest batch
    batches: list[str] = field(default_factory=list)
    message_batches: list[str] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)
    broken: Counter[str] = field(default_factory=Counter)
    _is_over: bool = False
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> "BatchLoad":
        self._threads = [
            threading.Thread(target=self._client, args=(random.Random(number),)) for number in range(CLIENTS)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        for thread in self._threads:
            thread.join()

    def taken(self) -> int:
        return len(self.batches) + len(self.message_batches) + len(self.jobs)

    def openai(self) -> openai.OpenAI:
        return openai.OpenAI(
            base_url=f"{self.site.base_url}/v1", api_key=self.site.key, max_retries=0, timeout=30
        )

    def anthropic(self) -> anthropic.Anthropic:
        return anthropic.Anthropic(
            base_url=self.site.base_url, api_key=self.site.key, max_retries=0, timeout=30
        )

    def _client(self, chance: random.Random) -> None:
        while not self._is_over:
            submit = chance.choice((self._submit_file, self._submit_messages, self._defer, self._defer))
            try:
                submit(chance)
            except (openai.APIError, anthropic.APIError) as error:  # the site is being destroyed
                self.broken[type(error).__name__] += 1
            time.sleep(PAUSE_SECONDS)

    def _submit_file(self, chance: random.Random) -> None:
        name, client = secrets.token_hex(4), self.openai()
        lines = [
            question(
                f"{name}-{number}", text, model=chance.choice(("gpt-4o-mini", "claude-haiku-4-5")), user=name
            )
            for number, text in enumerate(self._questions(name, chance))
        ]
        file = client.files.create(file=("lines.jsonl", jsonl(lines)), purpose="batch")
        batch = client.batches.create(
            input_file_id=file.id,
            endpoint="/v1/chat/completions",
            completion_window="24h",
            extra_headers=FEATURE,
        )
        self.batches.append(batch.id)

    def _submit_messages(self, chance: random.Random) -> None:
        name = secrets.token_hex(4)
        requests: Any = [
            {
                "custom_id": f"{name}-{number}",
                "params": {
                    "model": "claude-haiku-4-5",
                    "max_tokens": 40,
                    "messages": [{"role": "user", "content": text}],
                },
            }
            for number, text in enumerate(self._questions(name, chance))
        ]
        batch = self.anthropic().messages.batches.create(requests=requests, extra_headers=FEATURE)
        self.message_batches.append(batch.id)

    def _defer(self, chance: random.Random) -> None:
        user = f"deferring-{secrets.token_hex(4)}"
        raw = self.openai().chat.completions.with_raw_response.create(
            model="gpt-4o-mini",
            max_tokens=40,
            messages=[{"role": "user", "content": f"Write 10 words about {user}."}],
            user=user,
            extra_headers={"x-purser-urgency": chance.choice(URGENCIES), **FEATURE},
        )
        self.jobs.append(raw.http_response.json()["id"])

    def _questions(self, name: str, chance: random.Random) -> list[str]:
        return [f"Write 10 words about {name} {number}." for number in range(chance.randint(1, self.lines))]
