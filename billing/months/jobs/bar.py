"""How far a command is, on a terminal.

Invariant: nothing is written where nobody looks: a log or a pipe gets no bar.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final

from billing.months.closing import Watcher
from billing.months.parts import DetailLine, MonthReport, Streamed

SHOWN_EACH: Final = 1000  # lines
WIDTH: Final = 30


class Bar(Watcher):
    """The bar of one command; `out` is a command's `stderr`."""

    def __init__(self, out: Any) -> None:
        self._out, self._is_seen, self._width = out, bool(out.isatty()), 0

    def told(self, step: str) -> None:
        """Show what is done now."""
        self._show(step)

    def watched(self, label: str, report: MonthReport) -> MonthReport:
        """The report, whose lines move the bar when they are read."""
        if not self._is_seen or not report.detail:
            return report
        return replace(
            report, detail=counted(report.detail, lambda done: self._move(label, done, len(report.detail)))
        )

    def end(self) -> None:
        """Leave the line empty."""
        self._show("")

    def _move(self, label: str, done: int, total: int) -> None:
        filled = WIDTH * done // max(total, 1)
        self._show(f"{label}  [{'#' * filled}{'.' * (WIDTH - filled)}] {done:,} of {total:,} lines")

    def _show(self, text: str) -> None:
        if self._is_seen:
            self._out.write(f"\r{text:{self._width}}", ending="")
            self._out.flush()
            self._width = len(text)


def counted(lines: Any, tell: Callable[[int], None]) -> Streamed[DetailLine]:
    """Lines, of which `tell` hears how many were read, now and then and at the end."""

    def read() -> Iterator[DetailLine]:
        for number, line in enumerate(lines, 1):
            if not number % SHOWN_EACH:
                tell(number)
            yield line
        tell(len(lines))

    return Streamed(read, count=len(lines), sums={})
