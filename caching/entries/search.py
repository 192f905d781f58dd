"""Finds a scope's nearest entries in pgvector and reads their answers.

Invariant: a row leaves this module only if its tenant and its scope are the ones asked for, by SQL, by
row-level security, and by a last look at the row itself.
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

# Exact: every vector of the scope is compared; `nearest_sql` makes the approximate one of it. The vectors are of length 1,
# so the inner product is the cosine. Only of the nearest is the rest of the row read: a third of the time.
_NEAREST = """
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
    """The entry was evicted, or expired, since it was found."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One entry near the question, nearest first. The `keys` got the answer from a provider, its author's before the
    others, for the end users that `vouchers` stand for.

    Entries of one `group` were found to have the same answer.
    """

    entry_id: int
    question: str
    similarity: float
    keys: tuple[int, ...] = ()
    vouchers: tuple[int, ...] = ()
    group: bytes = b""

    def is_open_to(self, asker: Asker | None, *, confirmations: int) -> bool:
        """Whether it may be served to an asker: who vouches for the answer, or one whom enough others vouch for.

        One end user alone could have planted an answer near everybody's questions, and so could one key that invents
        users: it takes as many users, and for another key as many keys. What nobody stored is an operator's.
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
    parameters = _scope_parameters(scope) | {"vector": literal(vector), "limit": limit}
    dimensions = near_indexes.dimensions_of(scope)
    prepare = near_indexes.SEARCH_SETTINGS if dimensions else _LIMIT_TIME
    async with connection.pipeline():
        await connection.execute(prepare, {"milliseconds": str(STATEMENT_TIMEOUT_MS)})
        # Planned anew each time where an index may be used: it is chosen by the scope's own values.
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
            # an entry of before there were groups is one of its own
            bytes(row[8]) or row[0].to_bytes(8),
        )
        for row in rows
    ]
    neighbours.sort(key=lambda near: -near.similarity)  # neither an index nor the join keeps the order
    known = await learnt.fetchone()
    return neighbours, ScopeState(*known) if known else ScopeState()


def nearest_sql(dimensions: int | None) -> LiteralString:
    """The search: by the scope's own approximate index where it has one for vectors of so many dimensions, else exact."""
    if dimensions is None:
        return _NEAREST
    expression = f"(vector::halfvec({int(dimensions)})) <#> %(vector)s::halfvec({int(dimensions)})"
    return _NEAREST.replace("vector <#> %(vector)s::halfvec", expression)  # type: ignore[return-value]


async def answer_of(connection: AsyncConnection[Any], scope: AnswerScope, entry_id: int) -> CachedAnswer:
    """An entry's answer; raises EntryGone, or UnreadableAnswer."""
    cursor = await connection.execute(_ANSWER, _scope_parameters(scope) | {"ids": [entry_id]})
    row = await cursor.fetchone()
    if row is None or not _belongs(row[0], row[1], scope):
        raise EntryGone(entry_id)
    return unpack(bytes(row[2]))


async def read_answers(scope: AnswerScope, entry_ids: Sequence[int]) -> dict[int, CachedAnswer]:
    """The answers of those entries that are still there, on a connection of its own; raises UnreadableAnswer."""
    async with tenant_connection(scope.tenant_id) as connection:
        cursor = await connection.execute(_ANSWER, _scope_parameters(scope) | {"ids": list(entry_ids)})
        rows = await cursor.fetchall()
    return {row[3]: unpack(bytes(row[2])) for row in rows if _belongs(row[0], row[1], scope)}


def literal(vector: Vector) -> str:
    """A vector as pgvector reads it: a JSON list of numbers."""
    return orjson.dumps(vector, option=orjson.OPT_SERIALIZE_NUMPY).decode()


def _scope_parameters(scope: AnswerScope) -> dict[str, Any]:
    return {"tenant": scope.tenant_id, "scope": scope.digest}


def _belongs(tenant_id: int, scope_digest: bytes, scope: AnswerScope) -> bool:
    if tenant_id == scope.tenant_id and bytes(scope_digest) == scope.digest:
        return True
    FAILURES.labels("pgvector", "foreign_row").inc()
    log.error("a row of another scope was found and dropped", tenant_id=scope.tenant_id)
    return False
