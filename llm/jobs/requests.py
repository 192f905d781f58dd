"""A tenant's jobs, as the API shows them, waits for them and cancels them.

Invariant: every statement runs inside the tenant's connection and names the tenant; none is held while a client waits. A
request only writes down what is wanted; the driver gives holds back and ends batches.
"""

import asyncio
from collections import Counter
from datetime import UTC, datetime
from typing import Any, Final

from psycopg.rows import dict_row

from llm.calls.job_objects import COLUMNS, OVER
from llm.errors import InvalidRequest, NotFound
from tenants.pages import page
from tenants.rls import tenant_connection

LONGEST_WAIT_SECONDS: Final = 60
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.25, 2.0
# clients that wait in one process; further ones get the job as it is
MOST_WAITING, MOST_OF_A_TENANT = 256, 64

_OF_CLIENTS: Final = "tenant_id = %(tenant)s AND status <> 'accepting' AND NOT is_refresh"
FIND: Final = f"SELECT {COLUMNS} FROM llm_deferredjob WHERE {_OF_CLIENTS} AND public_id = %(public_id)s"
STATUS: Final = f"SELECT status FROM llm_deferredjob WHERE {_OF_CLIENTS} AND public_id = %(public_id)s"
LIST: Final = f"""
SELECT {COLUMNS.replace("response,", "NULL::jsonb AS response,")} FROM llm_deferredjob
WHERE {_OF_CLIENTS} AND (%(status)s = '' OR status = %(status)s)
  AND (%(after)s = '' OR id {{beyond}} (
      SELECT id FROM llm_deferredjob WHERE tenant_id = %(tenant)s AND public_id = %(after)s))
ORDER BY id {{order}} LIMIT %(limit)s
"""
# what runs is only asked to end: its batch may still answer it, and is paid then
CANCEL: Final = """
UPDATE llm_deferredjob
SET cancel_asked_at = coalesce(cancel_asked_at, %(now)s),
    status = CASE status WHEN 'queued' THEN 'cancelled' ELSE status END,
    finished_at = CASE status WHEN 'queued' THEN %(now)s ELSE finished_at END,
    body = CASE status WHEN 'queued' THEN '{}' ELSE body END
WHERE tenant_id = %(tenant)s AND public_id = %(public_id)s AND status IN ('queued', 'running')
"""

_waiting: Counter[int] = Counter()


async def find_job(tenant_id: int, *, public_id: str) -> dict[str, Any]:
    """A job's row, or NotFound."""
    row = await _one(tenant_id, FIND, public_id)
    if row is None:
        raise _no_job(public_id)
    return row


async def wait_for_job(tenant_id: int, *, public_id: str, seconds: float) -> dict[str, Any]:
    """A job's row as soon as it is over, or after so many seconds as it is then. Raises NotFound."""
    if seconds <= 0 or _waiting[tenant_id] >= MOST_OF_A_TENANT or _waiting.total() >= MOST_WAITING:
        return await find_job(tenant_id, public_id=public_id)
    _waiting[tenant_id] += 1
    try:
        async with asyncio.timeout(seconds):
            await _until_over(tenant_id, public_id)
    except TimeoutError:
        pass
    finally:
        _waiting[tenant_id] -= 1
        if not _waiting[tenant_id]:
            del _waiting[tenant_id]
    return await find_job(tenant_id, public_id=public_id)


async def list_jobs(
    tenant_id: int, *, after: str, limit: int, is_ascending: bool = False, status: str = ""
) -> tuple[list[dict[str, Any]], bool]:
    """A page of jobs after the one named, without their answers, and whether more follow."""
    return await page(
        tenant_id, LIST, {"status": status}, after=after, limit=limit, is_ascending=is_ascending
    )


async def cancel_job(tenant_id: int, *, public_id: str) -> dict[str, Any]:
    """Cancel a job that waits, ask one that runs to end, and return its row; InvalidRequest if it is over, NotFound."""
    before = await find_job(tenant_id, public_id=public_id)
    async with tenant_connection(tenant_id) as connection:
        parameters = {"tenant": tenant_id, "public_id": public_id, "now": datetime.now(UTC)}
        cursor = await connection.execute(CANCEL, parameters)
        if cursor.rowcount == 0 and before["status"] != "cancelled":
            raise InvalidRequest(f"The job is {before['status']} and cannot be cancelled.", param="job_id")
    return await find_job(tenant_id, public_id=public_id)


async def _until_over(tenant_id: int, public_id: str) -> None:
    pause = FIRST_PAUSE_SECONDS
    while True:
        row = await _one(tenant_id, STATUS, public_id)
        if row is None or row["status"] in OVER:
            return
        await asyncio.sleep(pause)
        pause = min(pause * 1.3, LONGEST_PAUSE_SECONDS)


async def _one(tenant_id: int, statement: str, public_id: str) -> dict[str, Any] | None:
    async with tenant_connection(tenant_id) as connection:
        cursor = connection.cursor(row_factory=dict_row)
        await cursor.execute(statement, {"tenant": tenant_id, "public_id": public_id})
        return await cursor.fetchone()


def _no_job(public_id: str) -> NotFound:
    return NotFound(f"There is no job '{public_id}'.", param="job_id")
