"""The progress bar of `manage.py batch`, on standard error.

Invariant: without a terminal it is a line for each change, and not more often than every ten seconds.
"""

import sys
import time
from types import TracebackType
from typing import Final

from openai.types import Batch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

EVERY_SECONDS: Final = 10.0


class BatchBar:
    """Shows how many lines of a batch are over."""

    def __init__(self) -> None:
        console = Console(file=sys.stderr)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[failed]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=None, failed="")
        self._is_plain = not console.is_terminal
        self._shown, self._shown_at = "", 0.0

    def __enter__(self) -> "BatchBar":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, batch: Batch) -> None:
        """Have the bar show the batch as it is."""
        counts = batch.request_counts
        total, failed = (counts.total, counts.failed) if counts else (0, 0)
        over = counts.completed + failed if counts else 0
        words = f"{failed} failed" if failed else ""
        self._progress.update(
            self._task, description=batch.status, total=total or None, completed=over, failed=words
        )
        if self._is_plain:
            self._print(f"{batch.status}: {over} of {total} lines are over{', ' + words if words else ''}")

    def _print(self, line: str) -> None:
        now = time.monotonic()
        is_status_new = line.partition(":")[0] != self._shown.partition(":")[0]
        if line != self._shown and (is_status_new or now - self._shown_at >= EVERY_SECONDS):
            print(line, file=sys.stderr, flush=True)
            self._shown, self._shown_at = line, now
