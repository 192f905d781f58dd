"""Writes the log of requests: one row for each, in groups, after the answer is out.

Invariant: a request is logged once; a log that cannot be written is counted and dropped, and never delays
or fails an answer. Money does not depend on it.
"""

import re
from typing import Any

import orjson
import structlog

from billing.group_commit import GroupCommit
from config import resources

log = structlog.get_logger(__name__)

# behind an even number of backslashes: an escape, not a text about one
_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
INSERT = "SELECT llm_log_requests(%s::jsonb)"


async def write(row: dict[str, Any]) -> None:
    """Log one request; keys are the columns of RequestLog."""
    try:
        await _group.submit(row)
    except Exception as error:  # a lost log line must not reach the client
        log.warning("request_log_failed", error=type(error).__name__)


async def _insert(rows: list[dict[str, Any]]) -> list[Exception | None]:
    async with resources.db.connection() as connection:
        await connection.execute(INSERT, (_without_nul(orjson.dumps(rows, default=str).decode()),))
    return [None] * len(rows)


def _without_nul(text: str) -> str:
    """PostgreSQL keeps no NUL; one in a prompt that a receipt quotes must not cost a whole group its rows."""
    return _NUL.sub(r"\1\\ufffd", text) if "\\u0000" in text else text


_group: GroupCommit[dict[str, Any], None] = GroupCommit(_insert)
