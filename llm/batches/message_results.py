"""The results of a message batch, a line each, in the words of Anthropic's API.

Invariant: every request of the batch has exactly one result.
"""

from collections.abc import AsyncGenerator
from typing import Any, Final

import orjson
from psycopg.rows import dict_row

from tenants.rls import tenant_connection

ITEMS: Final = """
SELECT item.line, item.custom_id, item.status, item.response, item.error, batch.errors AS refusal
FROM llm_batchitem AS item JOIN llm_batch AS batch ON batch.id = item.batch_id
WHERE item.tenant_id = %(tenant)s AND item.batch_id = %(batch)s AND item.line > %(after)s
ORDER BY item.line LIMIT %(limit)s
"""
PAGE_LINES: Final = 100  # read at a time


async def read_results(tenant_id: int, *, batch_id: int) -> AsyncGenerator[bytes, None]:
    """The results of a batch that has ended, as JSON lines in the order of the requests, a page at a time."""
    parameters = {"tenant": tenant_id, "batch": batch_id, "after": -1, "limit": PAGE_LINES}
    while True:
        async with tenant_connection(tenant_id) as connection:
            cursor = connection.cursor(row_factory=dict_row)
            await cursor.execute(ITEMS, parameters)
            rows = await cursor.fetchall()
        if not rows:
            return
        parameters["after"] = rows[-1]["line"]
        yield b"".join(
            orjson.dumps({"custom_id": row["custom_id"], "result": _result(row)}) + b"\n" for row in rows
        )


def _result(row: dict[str, Any]) -> dict[str, Any]:
    """A line's `result` in Anthropic's words: its `type`, with the `message` or the `error`."""
    if row["status"] == "completed":
        return {"type": "succeeded", "message": row["response"]}
    if row["refusal"]:
        return _errored(row["refusal"][0])
    if row["status"] == "failed":
        return _errored(row["error"])
    return {"type": "expired" if row["status"] == "expired" else "canceled"}


def _errored(error: dict[str, Any]) -> dict[str, Any]:
    inner = {"type": "invalid_request_error", "message": error["message"], "code": error["code"]}
    return {"type": "errored", "error": {"type": "error", "error": inner, "request_id": None}}
