"""Writes the log of requests: one row for each, in the ledger's groups, after the answer is out.

Invariant: a request is logged once; a log that cannot be written is counted and dropped, and never delays
or fails an answer. Money does not depend on it.
"""

from typing import Any

import structlog

from billing.ledger.ledger_group import Kind, Outcome, Part
from config import resources
from config.database import storable

log = structlog.get_logger(__name__)

INSERT = "llm_log_requests"
FIRST = f"SELECT {INSERT}('[]')"


class NotLogged(Exception):
    """PostgreSQL does not take the row."""


async def write(row: dict[str, Any]) -> None:
    """Log one request; keys are the columns of RequestLog."""
    try:
        await ROWS.submit(row)
    except Exception as error:  # a lost log line must not reach the client
        log.warning("request_log_failed", error=type(error).__name__)


async def _write(rows: list[dict[str, Any]]) -> Part[None]:
    def read(outcome: Outcome) -> list[Exception | None]:
        failed = outcome.columns[INSERT]
        return [NotLogged() if number in failed else None for number in range(1, len(rows) + 1)]

    return Part((storable.json_text(rows, default=str),), read)


resources.first_statement(FIRST)
ROWS: Kind[dict[str, Any], None] = Kind(
    (("p_rows", "jsonb"),), (INSERT,), _write, function=INSERT, rides=True
)
