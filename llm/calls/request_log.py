"""Writes the log of requests: one row for each, in groups, after the answer is out.

Invariant: a request is logged once; a log that cannot be written is counted and dropped, and never delays
or fails an answer. Money does not depend on it.
"""

from typing import Any

import structlog

from billing.ledger.group_commit import GroupCommit
from config import resources
from config.database import storable

log = structlog.get_logger(__name__)

INSERT = "SELECT llm_log_requests(%s::jsonb)"


async def write(row: dict[str, Any]) -> None:
    """Log one request; keys are the columns of RequestLog."""
    try:
        await _group.submit(row)
    except Exception as error:  # a lost log line must not reach the client
        log.warning("request_log_failed", error=type(error).__name__)


async def _insert(rows: list[dict[str, Any]]) -> list[Exception | None]:
    async with resources.db.connection() as connection:
        await connection.execute(INSERT, (storable.json_text(rows, default=str),))
    return [None] * len(rows)


_group: GroupCommit[dict[str, Any], None] = GroupCommit(_insert)
