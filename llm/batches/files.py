"""The files of a tenant, as the files API shows them.

Invariant: every statement runs inside the tenant's connection and names the tenant; a foreign or deleted file
is a 404.
"""

import secrets
from datetime import UTC, datetime
from typing import Any, Final

from psycopg.rows import dict_row

from llm.errors import InvalidRequest, NotFound
from tenants.errors import QuotaExceeded
from tenants.policy import Quotas
from tenants.rls import tenant_connection

MAX_FILE_BYTES: Final = 100 * 1024 * 1024
# the lines of a batch that came without a file: no file of its client
MESSAGES_PURPOSE: Final = "message_batch"
PURPOSES: Final = ("batch", "assistants", "fine-tune", "vision", "user_data", "evals")

_COLUMNS: Final = "public_id, purpose, filename, bytes, created_at"

INSERT: Final = f"""
INSERT INTO llm_storedfile (public_id, tenant_id, key_id, purpose, filename, bytes, content, created_at)
VALUES (%(public_id)s, %(tenant)s, %(key)s, %(purpose)s, %(filename)s, %(bytes)s, %(content)s, %(now)s)
RETURNING {_COLUMNS}
"""
LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended('llm_storedfile', %s::bigint))"
USED: Final = """
SELECT count(*), coalesce(sum(bytes), 0)::bigint FROM llm_storedfile WHERE tenant_id = %s AND deleted_at IS NULL
"""
FIND: Final = f"""
SELECT {_COLUMNS} FROM llm_storedfile
WHERE tenant_id = %(tenant)s AND public_id = %(public_id)s AND deleted_at IS NULL
"""
CONTENT: Final = """
SELECT filename, content FROM llm_storedfile
WHERE tenant_id = %(tenant)s AND public_id = %(public_id)s AND deleted_at IS NULL
"""
LIST: Final = f"""
SELECT {_COLUMNS} FROM llm_storedfile
WHERE tenant_id = %(tenant)s AND deleted_at IS NULL AND purpose <> '{MESSAGES_PURPOSE}'
  AND (%(purpose)s = '' OR purpose = %(purpose)s)
  AND (%(after)s = '' OR id {{beyond}} (
      SELECT id FROM llm_storedfile WHERE tenant_id = %(tenant)s AND public_id = %(after)s))
ORDER BY id {{order}} LIMIT %(limit)s
"""
# what a batch still has to read stays until it has read it; the nightly pruning erases it then
DELETE: Final = """
UPDATE llm_storedfile AS file SET deleted_at = %(now)s, content = CASE WHEN EXISTS (
    SELECT FROM llm_batch WHERE tenant_id = %(tenant)s AND input_file_id = file.id AND status = 'validating'
) THEN content ELSE ''::bytea END
WHERE tenant_id = %(tenant)s AND public_id = %(public_id)s AND deleted_at IS NULL
"""


def new_file_id() -> str:
    return f"file-{secrets.token_hex(12)}"


async def store_file(
    tenant_id: int, *, key_id: int, purpose: str, filename: str, content: bytes, quotas: Quotas
) -> dict[str, Any]:
    """Keep a file and return its object. Raises InvalidRequest for a batch's file without a line, QuotaExceeded."""
    if purpose == "batch" and not content.strip():
        raise InvalidRequest("The file is empty.", param="file")
    async with tenant_connection(tenant_id) as connection:
        await connection.execute(LOCK, (tenant_id,))  # so that parallel uploads are counted one after another
        [count, size] = await (await connection.execute(USED, (tenant_id,))).fetchone() or (0, 0)
        if count >= quotas.files:
            raise QuotaExceeded(
                f"The tenant has {count} files, the most it may have; delete some.", param="file"
            )
        if size + len(content) > quotas.file_bytes:
            raise QuotaExceeded(
                f"The tenant's files take {size} bytes of the {quotas.file_bytes} that they may; delete some.",
                param="file",
            )
        cursor = connection.cursor(row_factory=dict_row)
        await cursor.execute(
            INSERT,
            {
                "public_id": new_file_id(),
                "tenant": tenant_id,
                "key": key_id,
                "purpose": purpose,
                "filename": filename[:255] or "file",
                "bytes": len(content),
                "content": content,
                "now": datetime.now(UTC),
            },
        )
        row = await cursor.fetchone()
    assert row is not None
    return file_object(row)


async def find_file(tenant_id: int, *, public_id: str) -> dict[str, Any]:
    """A file's object, or NotFound."""
    async with tenant_connection(tenant_id) as connection:
        cursor = connection.cursor(row_factory=dict_row)
        await cursor.execute(FIND, {"tenant": tenant_id, "public_id": public_id})
        row = await cursor.fetchone()
    if row is None:
        raise no_file(public_id)
    return file_object(row)


async def read_file(tenant_id: int, *, public_id: str) -> tuple[str, bytes]:
    """A file's name and content, or NotFound."""
    async with tenant_connection(tenant_id) as connection:
        cursor = await connection.execute(CONTENT, {"tenant": tenant_id, "public_id": public_id})
        row = await cursor.fetchone()
    if row is None:
        raise no_file(public_id)
    return row[0], bytes(row[1])


async def list_files(
    tenant_id: int, *, purpose: str, after: str, limit: int, is_ascending: bool
) -> tuple[list[dict[str, Any]], bool]:
    """A page of file objects after the one named, and whether more follow."""
    statement = LIST.format(beyond=">" if is_ascending else "<", order="ASC" if is_ascending else "DESC")
    parameters = {"tenant": tenant_id, "purpose": purpose, "after": after, "limit": limit + 1}
    async with tenant_connection(tenant_id) as connection:
        cursor = connection.cursor(row_factory=dict_row)
        await cursor.execute(statement, parameters)
        rows = await cursor.fetchall()
    return [file_object(row) for row in rows[:limit]], len(rows) > limit


async def delete_file(tenant_id: int, *, public_id: str) -> None:
    """Delete a file and its content, or raise NotFound."""
    async with tenant_connection(tenant_id) as connection:
        parameters = {"tenant": tenant_id, "public_id": public_id, "now": datetime.now(UTC)}
        cursor = await connection.execute(DELETE, parameters)
        if cursor.rowcount == 0:
            raise no_file(public_id)


def file_object(row: dict[str, Any]) -> dict[str, Any]:
    """A file as the API shows it: `views.schemas.batches.FileObject`."""
    return {
        "id": row["public_id"],
        "object": "file",
        "bytes": row["bytes"],
        "created_at": int(row["created_at"].timestamp()),
        "filename": row["filename"],
        "purpose": row["purpose"],
        "status": "processed",
        "expires_at": None,
        "status_details": None,
    }


def no_file(public_id: str) -> NotFound:
    return NotFound(f"There is no file '{public_id}'.", param="file_id")
