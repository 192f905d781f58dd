"""The files of a tenant, as the files API shows them.

Invariant: every statement runs inside the tenant's connection and names the tenant; a foreign or deleted file, and one that is
still arriving, is a 404. What arrives counts against the tenant's quotas before it is there.
"""

import asyncio
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from psycopg.rows import dict_row

from llm.errors import NotFound
from tenants import contents
from tenants.errors import QuotaExceeded
from tenants.pages import page
from tenants.policy import Quotas
from tenants.rls import tenant_connection

MAX_FILE_BYTES: Final = 200 * 1024 * 1024
# the lines of a batch that came without a file: no file of its client
MESSAGES_PURPOSE: Final = "message_batch"
PURPOSES: Final = ("batch", "assistants", "fine-tune", "vision", "user_data", "evals")

_COLUMNS: Final = "public_id, purpose, filename, bytes, created_at, status, report"
_THERE: Final = "tenant_id = %(tenant)s AND deleted_at IS NULL AND status <> 'arriving'"

LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended('llm_storedfile', %s::bigint))"
USED: Final = """
SELECT count(*), coalesce(sum(bytes), 0)::bigint FROM llm_storedfile
WHERE tenant_id = %s AND deleted_at IS NULL AND public_id <> %s
"""
RESERVE: Final = """
INSERT INTO llm_storedfile (public_id, tenant_id, key_id, purpose, filename, bytes, status, location, problems, created_at)
VALUES (%(public_id)s, %(tenant)s, %(key)s, %(purpose)s, %(filename)s, %(bytes)s, 'arriving', %(location)s, '[]', %(now)s)
ON CONFLICT (public_id) DO UPDATE SET bytes = excluded.bytes
"""
KEEP: Final = f"""
UPDATE llm_storedfile
SET status = %(status)s, purpose = %(purpose)s, bytes = %(bytes)s, report = %(report)s, problems = %(problems)s
WHERE tenant_id = %(tenant)s AND public_id = %(public_id)s AND status = 'arriving' AND deleted_at IS NULL
RETURNING {_COLUMNS}, problems
"""
FIND: Final = f"SELECT {_COLUMNS}, problems FROM llm_storedfile WHERE {_THERE} AND public_id = %(public_id)s"
CONTENT: Final = f"SELECT location, bytes FROM llm_storedfile WHERE {_THERE} AND public_id = %(public_id)s"
LIST: Final = f"""
SELECT {_COLUMNS} FROM llm_storedfile
WHERE {_THERE} AND purpose <> '{MESSAGES_PURPOSE}'
  AND (%(purpose)s = '' OR purpose = %(purpose)s)
  AND (%(after)s = '' OR id {{beyond}} (
      SELECT id FROM llm_storedfile WHERE tenant_id = %(tenant)s AND public_id = %(after)s))
ORDER BY id {{order}} LIMIT %(limit)s
"""
DELETE: Final = f"""
UPDATE llm_storedfile SET deleted_at = %(now)s WHERE {_THERE} AND public_id = %(public_id)s RETURNING id, location
"""
ABANDON: Final = """
UPDATE llm_storedfile SET deleted_at = %(now)s, bytes = 0
WHERE tenant_id = %(tenant)s AND public_id = %(public_id)s AND status = 'arriving'
"""
# what a batch still has to read stays until it has read it; the sweep removes it then
IS_NEEDED: Final = """
SELECT EXISTS (SELECT FROM llm_batch WHERE tenant_id = %(tenant)s AND input_file_id = %(id)s AND status = 'validating')
"""
EMPTY: Final = """
UPDATE llm_storedfile SET location = ''
WHERE tenant_id = %(tenant)s AND location = %(location)s AND deleted_at IS NOT NULL
"""


def new_file_id() -> str:
    return f"file-{secrets.token_hex(12)}"


@dataclass(slots=True, kw_only=True)
class Place:
    """The place of a file that arrives: within the tenant's quotas, or not at all."""

    STEP_BYTES = 16 * 1024 * 1024  # kept free ahead of what has come

    tenant_id: int
    key_id: int
    quotas: Quotas
    public_id: str
    location: str
    bytes: int = -1
    saving: "asyncio.Future[None] | None" = None

    @classmethod
    def of(cls, tenant_id: int, *, key_id: int, quotas: Quotas) -> "Place":
        return cls(
            tenant_id=tenant_id,
            key_id=key_id,
            quotas=quotas,
            public_id=new_file_id(),
            location=contents.new_location(tenant_id),
        )

    async def cover(self, size: int, *, filename: str = "") -> None:
        """See that so many bytes have their place. Raises QuotaExceeded; parallel uploads pass it one after another."""
        if size <= self.bytes:
            return
        async with tenant_connection(self.tenant_id) as connection:
            await connection.execute(LOCK, (self.tenant_id,))
            cursor = await connection.execute(USED, (self.tenant_id, self.public_id))
            [count, used] = await cursor.fetchone() or (0, 0)
            if count >= self.quotas.files:
                raise QuotaExceeded(
                    f"The tenant has {count} files, the most it may have; delete some.", param="file"
                )
            if used + size > self.quotas.file_bytes:
                raise QuotaExceeded(
                    f"The tenant's files take {used} bytes of the {self.quotas.file_bytes} that they may; delete some.",
                    param="file",
                )
            room = min(size + self.STEP_BYTES, self.quotas.file_bytes - used) if size else 0
            await connection.execute(
                RESERVE,
                {
                    "public_id": self.public_id,
                    "tenant": self.tenant_id,
                    "key": self.key_id,
                    "purpose": "",
                    "filename": filename[:255] or "file",
                    "bytes": room,
                    "location": self.location,
                    "now": datetime.now(UTC),
                },
            )
        self.bytes = room

    async def keep(
        self, *, purpose: str, size: int, report: dict[str, Any] | None, problems: list[dict[str, Any]]
    ) -> dict[str, Any]:
        """The file's object, now that its content is in the storage. Raises NotFound where it was swept meanwhile."""
        async with tenant_connection(self.tenant_id) as connection:
            cursor = connection.cursor(row_factory=dict_row)
            await cursor.execute(
                KEEP,
                {
                    "tenant": self.tenant_id,
                    "public_id": self.public_id,
                    "purpose": purpose,
                    "status": "error" if problems else "processed",
                    "bytes": size,
                    "report": None if report is None else orjson.dumps(report).decode(),
                    "problems": orjson.dumps(problems).decode(),
                },
            )
            row = await cursor.fetchone()
        if row is None:
            raise no_file(self.public_id)
        return file_object(row)

    async def abandon(self) -> None:
        """Give the place back, with what may be in the storage already."""
        if self.saving is not None:
            await asyncio.wait({self.saving})
        async with tenant_connection(self.tenant_id) as connection:
            parameters = {"tenant": self.tenant_id, "public_id": self.public_id, "now": datetime.now(UTC)}
            cursor = await connection.execute(ABANDON, parameters)
        if cursor.rowcount:  # else it was kept just before
            await _remove(self.tenant_id, self.location)


async def find_file(tenant_id: int, *, public_id: str) -> dict[str, Any]:
    """A file's object, or NotFound."""
    async with tenant_connection(tenant_id) as connection:
        cursor = connection.cursor(row_factory=dict_row)
        await cursor.execute(FIND, {"tenant": tenant_id, "public_id": public_id})
        row = await cursor.fetchone()
    if row is None:
        raise no_file(public_id)
    return file_object(row)


async def location_of(tenant_id: int, *, public_id: str) -> tuple[str, int]:
    """Where a file's content is, and its bytes; or NotFound."""
    async with tenant_connection(tenant_id) as connection:
        cursor = await connection.execute(CONTENT, {"tenant": tenant_id, "public_id": public_id})
        row = await cursor.fetchone()
    if row is None or not row[0]:
        raise no_file(public_id)
    return row[0], row[1]


async def list_files(
    tenant_id: int, *, purpose: str, after: str, limit: int, is_ascending: bool
) -> tuple[list[dict[str, Any]], bool]:
    """A page of file objects after the one named, without their problems, and whether more follow."""
    rows, has_more = await page(
        tenant_id, LIST, {"purpose": purpose}, after=after, limit=limit, is_ascending=is_ascending
    )
    return [file_object(row) for row in rows], has_more


async def delete_file(tenant_id: int, *, public_id: str) -> None:
    """Delete a file and its content, or raise NotFound."""
    parameters = {"tenant": tenant_id, "public_id": public_id, "now": datetime.now(UTC)}
    async with tenant_connection(tenant_id) as connection:
        row = await (await connection.execute(DELETE, parameters)).fetchone()
        if row is None:
            raise no_file(public_id)
        # after the row is locked: a batch that begins now does not find the file any more
        cursor = await connection.execute(IS_NEEDED, {"tenant": tenant_id, "id": row[0]})
        [is_needed] = await cursor.fetchone() or (False,)
    if not is_needed:
        await _remove(tenant_id, row[1])


async def _remove(tenant_id: int, location: str) -> None:
    """Remove a content that nobody needs any more; its row forgets it afterwards."""
    if not location:
        return
    await contents.in_thread(lambda: contents.remove(tenant_id, location))
    async with tenant_connection(tenant_id) as connection:
        await connection.execute(EMPTY, {"tenant": tenant_id, "location": location})


def file_object(row: dict[str, Any]) -> dict[str, Any]:
    """A file as the API shows it (`views.schemas.batches.FileObject`), with what its lines are in `purser`."""
    shown = {
        "id": row["public_id"],
        "object": "file",
        "bytes": row["bytes"],
        "created_at": int(row["created_at"].timestamp()),
        "filename": row["filename"],
        "purpose": row["purpose"],
        "status": row["status"],
        "expires_at": None,
        "status_details": None,
    }
    if report := row["report"]:
        shown["status_details"] = report["details"] or None
        shown["purser"] = {name: report[name] for name in ("lines", "bytes", "models", "problem_count")}
        if "problems" in row:
            shown["purser"]["problems"] = row["problems"]
    return shown


def no_file(public_id: str) -> NotFound:
    return NotFound(f"There is no file '{public_id}'.", param="file_id")
