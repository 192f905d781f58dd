"""Chat completions that a client asked to have stored: kept, found again, listed, deleted.

Invariant: every statement runs inside the tenant's connection and names the tenant; what is not there is a 404. A copy
that cannot be kept, or that the tenant has no room for, does not fail the answer: the receipt says why it is not there. A page
of a list is bounded in bytes, and reads no question.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson
import structlog
from psycopg.rows import dict_row

from config.database import storable
from llm.errors import NotFound
from llm.wire import Body
from tenants.pages import page
from tenants.policy import Quotas
from tenants.rls import tenant_connection

PAGE_BYTES: Final = 4 * 1024 * 1024  # of answers; a larger one is a page by itself

_COLUMNS: Final = "public_id, asked, answer, metadata"
# octet_length reads no text that is stored apart
USED: Final = """
SELECT count(*), coalesce(sum(octet_length(asked) + octet_length(answer)), 0)::bigint
FROM llm_storedchat WHERE tenant_id = %s
"""
INSERT: Final = """
INSERT INTO llm_storedchat (tenant_id, public_id, model, asked, answer, metadata, created_at)
VALUES (%(tenant)s, %(public_id)s, %(model)s, %(asked)s, %(answer)s, %(metadata)s, %(now)s)
ON CONFLICT (tenant_id, public_id) DO NOTHING
"""
FIND: Final = (
    f"SELECT {_COLUMNS} FROM llm_storedchat WHERE tenant_id = %(tenant)s AND public_id = %(public_id)s"
)
LIST: Final = """
SELECT answer, metadata, found FROM (
SELECT id, answer, metadata, count(*) OVER () AS found, row_number() OVER by_age AS number,
       sum(octet_length(answer)) OVER by_age AS bytes
FROM (SELECT id, answer, metadata FROM llm_storedchat
WHERE tenant_id = %(tenant)s AND (%(model)s = '' OR model = %(model)s) AND metadata @> %(metadata)s::jsonb
  AND (%(after)s = '' OR id {beyond} (
      SELECT id FROM llm_storedchat WHERE tenant_id = %(tenant)s AND public_id = %(after)s))
ORDER BY id {order} LIMIT %(limit)s) AS wanted WINDOW by_age AS (ORDER BY id {order})
) AS page WHERE number = 1 OR bytes <= %(most_bytes)s ORDER BY id {order}
"""
UPDATE: Final = f"""
UPDATE llm_storedchat SET metadata = %(metadata)s WHERE tenant_id = %(tenant)s AND public_id = %(public_id)s
RETURNING {_COLUMNS}
"""
DELETE: Final = "DELETE FROM llm_storedchat WHERE tenant_id = %(tenant)s AND public_id = %(public_id)s"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class StoredChat:
    """A chat completion that was kept, and the messages that led to it."""

    asked: list[Body]
    answer: Body


@dataclass(frozen=True, slots=True)
class Usage:
    """How much a tenant keeps."""

    chats: int
    size_bytes: int


async def insert(
    tenant_id: int, *, model: str, asked: bytes, answer: bytes, public_id: str, metadata: Any, quotas: Quotas
) -> Usage | None:
    """Keep an answer; what the tenant keeps already where its quotas have no room for one more."""
    async with tenant_connection(tenant_id) as connection:
        used = await connection.execute(USED, (tenant_id,))
        [count, size] = await used.fetchone() or (0, 0)
        if count >= quotas.chats or size + len(asked) + len(answer) > quotas.chat_bytes:
            return Usage(count, size)
        await connection.execute(
            INSERT,
            {
                "tenant": tenant_id,
                "public_id": storable.text(public_id)[:128],
                "model": model,
                "asked": asked,
                "answer": answer,
                "metadata": storable.json_text(metadata if isinstance(metadata, dict) else {}),
                "now": datetime.now(UTC),
            },
        )
    return None


async def find(tenant_id: int, public_id: str) -> StoredChat:
    """The chat completion of this id, or NotFound."""
    return await _one(tenant_id, public_id, FIND)


async def set_metadata(tenant_id: int, public_id: str, *, metadata: Mapping[str, str]) -> StoredChat:
    """The chat completion with this metadata from now on, or NotFound."""
    return await _one(tenant_id, public_id, UPDATE, metadata=storable.json_text(dict(metadata)))


async def delete(tenant_id: int, public_id: str) -> None:
    """Forget a chat completion, or NotFound."""
    async with tenant_connection(tenant_id) as connection:
        cursor = await connection.execute(DELETE, {"tenant": tenant_id, "public_id": public_id})
        if not cursor.rowcount:
            raise not_stored(public_id)


async def list_chats(
    tenant_id: int, *, model: str, metadata: Mapping[str, str], after: str, limit: int, is_ascending: bool
) -> tuple[list[Body], bool]:
    """A page of answers after the one named, and whether more follow: fewer than `limit` where they are long."""
    wanted = {"model": model, "metadata": storable.json_text(dict(metadata)), "most_bytes": PAGE_BYTES}
    rows, has_more = await page(tenant_id, LIST, wanted, after=after, limit=limit, is_ascending=is_ascending)
    return [_answer(row) for row in rows], has_more or (bool(rows) and rows[0]["found"] > len(rows))


def not_stored(public_id: str) -> NotFound:
    return NotFound(f"There is no stored chat completion '{public_id}'.", param="id")


async def _one(tenant_id: int, public_id: str, statement: str, **more: Any) -> StoredChat:
    async with tenant_connection(tenant_id) as connection:
        cursor = connection.cursor(row_factory=dict_row)
        await cursor.execute(statement, {"tenant": tenant_id, "public_id": public_id, **more})
        row = await cursor.fetchone()
    if row is None:
        raise not_stored(public_id)
    return _stored(row)


def _stored(row: dict[str, Any]) -> StoredChat:
    return StoredChat(orjson.loads(bytes(row["asked"])), _answer(row))


def _answer(row: dict[str, Any]) -> Body:
    return {**orjson.loads(bytes(row["answer"])), "metadata": row["metadata"]}
