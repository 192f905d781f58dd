"""Log lines of facts that we made ourselves, written together: the cheap way for the one line that every call has.

Invariant: a line is one JSON object, as those of `config.logs` are, and is written within a second. No part of it comes from a
client or a provider, so that none has to be searched for secrets; what may come from one goes through `config.logs`.
"""

import logging
import sys
from contextlib import suppress
from datetime import UTC, datetime

import orjson

from config.write_behind import write_behind

_lines: list[bytes] = []


def info(event: str, *, logger: str, **facts: str | int | None) -> None:
    """Log an event with its facts, at the level of information."""
    if logging.getLogger(logger).isEnabledFor(logging.INFO):
        about = {"event": event, "level": "info", "logger": logger, "timestamp": datetime.now(UTC)}
        _lines.append(orjson.dumps(facts | about, option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE))


@write_behind
def _write() -> None:
    if _lines:
        text = b"".join(_lines).decode()
        _lines.clear()
        with suppress(OSError, ValueError):  # nobody reads them any more
            sys.stderr.write(text)
            sys.stderr.flush()
