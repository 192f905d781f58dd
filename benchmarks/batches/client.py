"""A tenant's way to batches and deferred calls, through OpenAI's SDK.

Invariant: every question is asked once, so that no answer comes from another's.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai

from benchmarks.batches.site import MODEL, OTHERS_MODEL, Site

ENDPOINT = "/v1/chat/completions"
OVER = ("completed", "failed", "expired", "cancelled")
PATIENCE_SECONDS = 3600
FILLER = "the quick brown fox jumps over the lazy dog and then rests "


@dataclass(frozen=True)
class Client:
    """One tenant."""

    site: Site
    tenant: int

    @property
    def model(self) -> str:
        return OTHERS_MODEL if self.tenant else MODEL

    @property
    def sdk(self) -> openai.OpenAI:
        return openai.OpenAI(
            base_url=f"{self.site.base_url}/v1",
            api_key=self.site.keys[self.tenant],
            max_retries=2,
            timeout=1200,
        )

    def write(self, name: str, *, lines: int, line_bytes: int) -> Path:
        """A file of so many lines."""
        path = self.site.home / f"{name}.jsonl"
        with path.open("w") as file:
            file.writelines(f"{json.dumps(line)}\n" for line in self._lines(name, lines, line_bytes))
        return path

    def submit(self, path: Path) -> tuple[str, float]:
        """Upload a file and create its batch: its id, and the seconds the upload took."""
        began = time.monotonic()
        with path.open("rb") as file:
            uploaded = self.sdk.files.create(file=(path.name, file), purpose="batch")
        seconds = time.monotonic() - began
        batch = self.sdk.batches.create(input_file_id=uploaded.id, endpoint=ENDPOINT, completion_window="24h")
        return batch.id, seconds

    def wait(self, batch_id: str, *, pause_seconds: float = 0.1) -> Any:
        """The batch when it is over."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            batch = self.sdk.batches.retrieve(batch_id)
            if batch.status in OVER:
                return batch
            time.sleep(pause_seconds)
        raise SystemExit(f"batch {batch_id} is not over after {PATIENCE_SECONDS} s")

    def seconds_for(self, path: Path) -> float:
        """From the upload of a file to its answers."""
        began = time.monotonic()
        batch = self.wait(self.submit(path)[0])
        if batch.status != "completed" or batch.request_counts.failed:
            raise SystemExit(f"the batch ended as {batch}")
        return time.monotonic() - began

    def defer(self, text: str, *, urgency: str) -> str:
        """Defer a call; the job's id."""
        raw = self.sdk.chat.completions.with_raw_response.create(
            model=self.model,
            max_tokens=20,
            messages=[{"role": "user", "content": text}],
            extra_headers={"x-purser-urgency": urgency},
        )
        return str(raw.http_response.json()["id"])

    def wait_for_job(self, job_id: str) -> dict[str, Any]:
        """A deferred call when it is over."""
        while True:
            job: dict[str, Any] = self.sdk.get(f"/jobs/{job_id}?wait=10", cast_to=object)  # type: ignore[assignment]
            if job["status"] in ("completed", "failed", "cancelled"):
                return job

    def _lines(self, name: str, count: int, line_bytes: int) -> Iterator[dict[str, Any]]:
        for number in range(count):
            question = f"Write 10 words about {name} {number}. "
            body = {
                "model": self.model,
                "max_tokens": 40,
                "messages": [{"role": "user", "content": question + FILLER * (line_bytes // len(FILLER))}],
            }
            yield {"custom_id": f"{name}-{number}", "method": "POST", "url": ENDPOINT, "body": body}
