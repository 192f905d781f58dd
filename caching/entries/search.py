"""Finds a scope's nearest entries in pgvector, and reads their answers.

Invariant: a row is returned only if it belongs to the requested tenant and scope. SQL, row-level security and a final
check of the row ensure it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import orjson
import structlog
from django.conf import settings
from psycopg import AsyncConnection

from caching.answers import CachedAnswer, unpack
from caching.embedders.base import Vector
from caching.entries import near_indexes
from caching.metrics import FAILURES
from caching.scope import AnswerScope, Asker
from caching.scoring.scope_state import ScopeState
from tenants.rls import tenant_connection

CANDIDATES = 10
STATEMENT_TIMEOUT_MS = 60 * settings.CACHE_BUDGET_SCALE

log = structlog.get_logger("purser.cache")

_LIMIT_TIME = "SELECT set_config('statement_timeout', %(milliseconds)s, true)"

# Exact search: it compares every vector of the scope. `nearest_sql` derives the approximate search from it. The vectors
# have length 1: the inner product is the cosine. Other columns are read only for the nearest rows: a third of the time.
NEAREST = """
SELECT entry.id, entry.tenant_id, entry.scope_digest, entry.question, -near.distance,
    entry.key_id, entry.confirmed_by, entry.vouchers, entry.answer_group
FROM (
    SELECT id, vector <#> %(vector)s::halfvec AS distance FROM caching_entry
    WHERE tenant_id = %(tenant)s AND scope_digest = %(scope)s AND expires_at > now()
    ORDER BY distance LIMIT %(limit)s) near
JOIN caching_entry entry ON entry.tenant_id = %(tenant)s AND entry.id = near.id
"""

_THRESHOLD = """
SELECT threshold, max_error_rate, checked_share, updated_at FROM caching_scope
WHERE tenant_id = %(tenant)s AND scope_digest = %(scope)s
"""

_ANSWER = """
SELECT tenant_id, scope_digest, answer, id FROM caching_entry
WHERE tenant_id = %(tenant)s AND scope_digest = %(scope)s AND id = ANY (%(ids)s::bigint[]) AND expires_at > now()
"""


class EntryGone(LookupError):
    """The entry was evicted or has expired since it was found."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One entry near the question.

    `keys` are the API keys that got this answer from a provider, the author's first. `vouchers` are digests of the end
    users that got it. Entries of one `group` have the same answer.
    """

    entry_id: int
    question: str
    similarity: float
    keys: tuple[int, ...] = ()
    vouchers: tuple[int, ...] = ()
    group: bytes = b""

    def is_open_to(self, asker: Asker | None, *, confirmations: int) -> bool:
        """Whether the entry may be served to this asker: one who got the answer, or anyone once enough others got it.

        A single end user could plant an answer near other users' questions. So could a single key that invents users.
        Therefore it takes `confirmations` users, and for another key as many keys. An entry without vouchers comes
        from an operator.
        """
        if not self.vouchers:
            return True
        if asker is None:
            return len(self.keys) >= confirmations
        if asker.voucher in self.vouchers:
            return True
        has_enough_keys = asker.key_id in self.keys or len(self.keys) >= confirmations
        return len(self.vouchers) >= confirmations and has_enough_keys


async def nearest(
    connection: AsyncConnection[Any], scope: AnswerScope, vector: Vector, *, limit: int = CANDIDATES
) -> tuple[list[Neighbour], ScopeState]:
    """The scope's nearest entries and what was learnt about it, in one round trip."""
    parameters = scope_parameters(scope) | {"vector": literal(vector), "limit": limit}
    dimensions = near_indexes.dimensions_of(scope)
    prepare = near_indexes.SEARCH_SETTINGS if dimensions else _LIMIT_TIME
    async with connection.pipeline():
        await connection.execute(prepare, {"milliseconds": str(STATEMENT_TIMEOUT_MS)})
        # Planned each time where an index may be used: the planner chooses it by the scope's values.
        found = await connection.execute(
            nearest_sql(dimensions), parameters, prepare=False if dimensions else None
        )
        learnt = await connection.execute(_THRESHOLD, parameters)
    rows = [row for row in await found.fetchall() if _belongs(row[1], row[2], scope)]
    neighbours = [
        Neighbour(
            row[0],
            row[3],
            max(-1.0, min(1.0, row[4])),
            () if row[5] is None else (row[5], *row[6]),
            tuple(row[7]),
            # an entry from before there were groups is a group of its own
            bytes(row[8]) or row[0].to_bytes(8),
        )
        for row in rows
    ]
    neighbours.sort(key=lambda near: -near.similarity)  # neither an index nor the join keeps the order
    known = await learnt.fetchone()
    return neighbours, ScopeState(*known) if known else ScopeState()


def nearest_sql(dimensions: int | None) -> LiteralString:
    """The search: approximate if the scope has an index for vectors of this many dimensions, otherwise exact."""
    if dimensions is None:
        return NEAREST
    expression = f"(vector::halfvec({int(dimensions)})) <#> %(vector)s::halfvec({int(dimensions)})"
    return NEAREST.replace("vector <#> %(vector)s::halfvec", expression)


async def answer_of(connection: AsyncConnection[Any], scope: AnswerScope, entry_id: int) -> CachedAnswer:
    """An entry's answer; raises EntryGone, or UnreadableAnswer."""
    cursor = await connection.execute(_ANSWER, scope_parameters(scope) | {"ids": [entry_id]})
    row = await cursor.fetchone()
    if row is None or not _belongs(row[0], row[1], scope):
        raise EntryGone(entry_id)
    return unpack(bytes(row[2]))


async def read_answers(scope: AnswerScope, entry_ids: Sequence[int]) -> dict[int, CachedAnswer]:
    """The answers of the entries that still exist, on a connection of its own. Raises UnreadableAnswer."""
    async with tenant_connection(scope.tenant_id) as connection:
        cursor = await connection.execute(_ANSWER, scope_parameters(scope) | {"ids": list(entry_ids)})
        rows = await cursor.fetchall()
    return {row[3]: unpack(bytes(row[2])) for row in rows if _belongs(row[0], row[1], scope)}


def literal(vector: Vector) -> str:
    """A vector as pgvector reads it: a JSON list of numbers."""
    return orjson.dumps(vector, option=orjson.OPT_SERIALIZE_NUMPY).decode()


def scope_parameters(scope: AnswerScope) -> dict[str, Any]:
    return {"tenant": scope.tenant_id, "scope": scope.digest}


def _belongs(tenant_id: int, scope_digest: bytes, scope: AnswerScope) -> bool:
    if tenant_id == scope.tenant_id and bytes(scope_digest) == scope.digest:
        return True
    FAILURES.labels("pgvector", "foreign_row").inc()
    log.error("a row of another scope was found and dropped", tenant_id=scope.tenant_id)
    return False
