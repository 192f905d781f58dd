"""The lines of a provider's results, read though they are odd.

Invariant: one line that cannot be read keeps no other from being settled; what is an error with status 200 is an error.
"""

from collections.abc import Iterator
from typing import IO, Any

import structlog

from billing.usage.reading import reported_usage
from llm.providers.kinds.batch_files import rows_of
from llm.wire.error_bodies import error_in
from llm.wire.texts.json_texts import Unreadable, is_too_deep, read_plain, without_depths

log = structlog.get_logger(__name__)


def lines_in(file: IO[bytes]) -> Iterator[dict[str, Any]]:
    """Each line's object; a line that has none is left out, and its request ends as one that was not answered."""
    for raw in rows_of(file):
        if not raw.strip():
            continue
        try:
            line = read_plain(raw)
        except Unreadable:
            line = None
        if isinstance(line, dict):
            yield without_depths(line) if is_too_deep(line, raw) else line
        else:
            log.warning("batch_result_unreadable", bytes=len(raw))


def error_in_answer(body: dict[str, Any]) -> dict[str, Any] | None:
    """The error in place of an answer, unless it reports usage: that is billed like any answer."""
    return None if reported_usage(body) else error_in(body)
