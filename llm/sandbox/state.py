"""Owns the whole state of one sandbox process.

Invariant: a reset puts everything but the process's identity back to how it started.
"""

import random
import time
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from llm.sandbox.calls import CallLog
from llm.sandbox.errors import ProviderError
from llm.sandbox.faults import FaultQueue
from llm.sandbox.ids import Identifiers
from llm.sandbox.prompt import Prompt
from llm.sandbox.prompt_cache import PromptCache

CALL_CAPACITY = 200_000
STORED_CAPACITY = 10_000
ANSWER_CAPACITY = 100_000


@dataclass(frozen=True, slots=True)
class Settings:
    """What `POST /control/settings` can change while the sandbox runs."""

    latency_ms: float = 0.0  # until the first byte of an answer
    tokens_per_second: float = 0.0  # 0: as fast as it goes
    batch_delay_s: float = 0.5
    allow_any_model: bool = True
    requests_per_minute: int = 0  # per key; 0: no limit
    concurrency: int = 0  # per key; 0: no limit
    cache_ttl_s: float = 300.0
    booked_after_s: float = 0.0  # seconds from a call's end until the cost reports have it


class InvalidSetting(ValueError):
    """A setting that does not exist or has the wrong type; the text says which."""


class Sandbox:
    """Everything the endpoints share."""

    def __init__(
        self, *, settings: Settings | None = None, seed: int | None = None, log: Path | None = None
    ) -> None:
        self.initial_settings = settings or Settings()
        self.settings = self.initial_settings
        self.started_at = time.time()
        self.ids = Identifiers(seed=seed)
        self.calls = CallLog(capacity=CALL_CAPACITY, path=log)
        self.faults = FaultQueue(chance=random.Random(seed))
        self.prompt_cache = PromptCache()
        self.files: dict[str, Any] = {}
        self.batches: dict[str, Any] = {}
        self.message_batches: dict[str, Any] = {}
        self.responses: dict[str, Any] = {}
        self.answers: dict[str, str] = {}  # by the question, byte for byte
        self.running: Counter[str] = Counter()  # calls in flight per key
        self._minute: tuple[int, Counter[str]] = (0, Counter())

    def change_settings(self, changes: Any) -> dict[str, Any]:
        """Apply `POST /control/settings`; raises InvalidSetting and then changes nothing."""
        if not isinstance(changes, dict):
            raise InvalidSetting("settings are an object")
        current = asdict(self.settings)
        for name, value in changes.items():
            if name not in current:
                raise InvalidSetting(f"unknown setting {name!r}; there are {', '.join(current)}")
            expected = (bool,) if isinstance(current[name], bool) else (int, float)
            if not isinstance(value, expected) or (expected != (bool,) and isinstance(value, bool)):
                raise InvalidSetting(f"setting {name!r} has the wrong type")
        self.settings = replace(self.settings, **changes)
        return asdict(self.settings)

    def learn_answers(self, answers: Any) -> int:
        """Take what `POST /control/answers` says the models answer; how many are known. Raises InvalidSetting."""
        if not isinstance(answers, dict) or not all(
            isinstance(text, str) and text for text in answers.values()
        ):
            raise InvalidSetting("answers are an object: each question with the text of its answer")
        if len(self.answers | answers) > ANSWER_CAPACITY:
            raise InvalidSetting(f"there is room for {ANSWER_CAPACITY} answers")
        self.answers |= answers
        return len(self.answers)

    def knowing(self, prompt: Prompt) -> Prompt:
        """The prompt with the answer that was ordered for its question, if one was."""
        known = self.answers.get(prompt.question) if self.answers else None
        return replace(prompt, known_answer=known) if known else prompt

    def reset(self, wanted: dict[str, Any]) -> None:
        """Forget the calls and faults that match; everything when nothing is asked for."""
        self.calls.forget({name: str(value) for name, value in wanted.items()})
        self.faults.forget(wanted)
        if wanted:
            return
        for batch in (*self.batches.values(), *self.message_batches.values()):
            batch.task.cancel()
        self.settings = self.initial_settings
        self.prompt_cache = PromptCache()
        for store in (self.files, self.batches, self.message_batches, self.responses, self.answers):
            store.clear()
        self._minute = (0, Counter())

    def count_request(self, key: str) -> int:
        """Count a request of the key and return how many this minute had; raises 429 over a limit."""
        minute = int(time.time() // 60)
        if self._minute[0] != minute:
            self._minute = (minute, Counter())
        self._minute[1][key] += 1
        requests = self._minute[1][key]
        limit, parallel = self.settings.requests_per_minute, self.settings.concurrency
        if limit and requests > limit:
            raise ProviderError(429, retry_after=60 - time.time() % 60)
        if parallel and self.running[key] > parallel:
            raise ProviderError(429, "Too many concurrent requests.", retry_after=0.2)
        return requests
