"""Approximate (HNSW) indexes for the scopes that are too large for an exact search.

Invariant: an index covers exactly one scope of one tenant; it never finds another tenant's entries. There are at most
MOST_INDEXES, for the largest scopes. PostgreSQL's catalogue is the only record of them. A search that expects an index
that was dropped is only slower.
"""

import asyncio
import hashlib
from dataclasses import dataclass

import structlog
from django.db import connection
from psycopg import Error as DatabaseError
from psycopg import sql
from psycopg_pool import PoolTimeout

from caching.metrics import INDEXED
from caching.scope import AnswerScope
from config import resources

# An exact search takes 0.5 ms of CPU for 1,000 entries of MiniLM's length; an index takes 0.4 ms for any number. Below
# half of this size the index is dropped. For longer vectors fewer entries suffice, in proportion to their dimensions.
PROMOTE_FROM = 2_000
DEMOTE_BELOW = 1_000
USUAL_DIMENSIONS = 384
MOST_DIMENSIONS = 4_000  # pgvector indexes no longer halfvec
# The planner considers each of them in every search. Only its own scope writes to it.
MOST_INDEXES = 32
LEAST_PGVECTOR = (0, 8, 4)  # before, an index could lose entries to a vacuum or to a parallel build
REFRESH_SECONDS = 30.0
_PREFIX = "caching_near_"
_BUILD_MEMORY = "256MB"

_INDEXES = f"""
SELECT c.relname, obj_description(c.oid, 'pg_class'), i.indisvalid
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = 'caching_entry'::regclass AND c.relname LIKE '{_PREFIX}%%'
"""
# The size of a scope, as a number of entries of the usual length.
_SIZES = """
SELECT scope.tenant_id, scope.scope_digest, scope.entries * one.dimensions / %(usual)s AS size
FROM (SELECT tenant_id, scope_digest, count(*) AS entries FROM caching_entry
      GROUP BY tenant_id, scope_digest HAVING count(*) * %(most)s >= %(least)s * %(usual)s) AS scope
CROSS JOIN LATERAL (SELECT vector_dims(vector) AS dimensions FROM caching_entry AS e
                    WHERE e.tenant_id = scope.tenant_id AND e.scope_digest = scope.scope_digest LIMIT 1) AS one
WHERE scope.entries * one.dimensions >= %(least)s * %(usual)s
ORDER BY 3 DESC, 1, 2 LIMIT %(limit)s
"""
_DIMENSIONS = (
    "SELECT vector_dims(vector) FROM caching_entry WHERE tenant_id = %s AND scope_digest = %s LIMIT 1"
)
_CREATE = sql.SQL("""
CREATE INDEX CONCURRENTLY {name} ON caching_entry USING hnsw ((vector::halfvec({dimensions})) halfvec_ip_ops)
WHERE tenant_id = {tenant}::bigint AND scope_digest = {scope}::bytea
""")

# For one transaction: an existing index is used and searched until enough unexpired entries are found. ef_search 80
# gives a recall of .98.
SEARCH_SETTINGS = """
SELECT set_config('hnsw.iterative_scan', 'relaxed_order', true), set_config('hnsw.ef_search', '80', true),
       set_config('enable_sort', 'off', true), set_config('statement_timeout', %(milliseconds)s, true)
"""

log = structlog.get_logger("purser.cache")


@dataclass(frozen=True, slots=True)
class LargeScope:
    """A scope that is large enough for an index."""

    tenant_id: int
    digest: bytes

    @property
    def name(self) -> str:
        return index_name(self.tenant_id, self.digest)


def index_name(tenant_id: int, digest: bytes) -> str:
    """The name of a scope's index: a digest of tenant and scope."""
    return _PREFIX + hashlib.sha256(b"%d:%s" % (tenant_id, digest)).hexdigest()[:24]


_dimensions: dict[str, int] = {}


def dimensions_of(scope: AnswerScope) -> int | None:
    """The dimensions of the scope's index, as far as this process knows; None without an index."""
    if not _dimensions:
        return None
    return _dimensions.get(index_name(scope.tenant_id, scope.digest))


async def read_indexes() -> None:
    """Read which scopes have an index."""
    async with resources.db.connection() as pooled:
        cursor = await pooled.execute(_INDEXES.replace("%%", "%"))
        rows = await cursor.fetchall()
    _dimensions.clear()
    _dimensions.update({name: int(note) for name, note, is_valid in rows if is_valid and note})


@resources.service
async def refresh_loop() -> None:
    """Runs while the process serves: reads the indexes regularly."""
    while True:
        try:
            await read_indexes()
        except (DatabaseError, PoolTimeout, OSError) as error:
            log.debug("indexes are not known", kind=type(error).__name__)
        await asyncio.sleep(REFRESH_SECONDS)


def keep_indexes() -> tuple[int, int]:
    """Build missing indexes and drop those that are no longer worth it. Returns how many of each.

    Owner's connection, outside a transaction. Idempotent: an index that a crash left unfinished is built again.
    """
    if pgvector_version() < LEAST_PGVECTOR:
        return 0, 0
    with connection.cursor() as cursor:
        limits = {
            "least": DEMOTE_BELOW,
            "usual": USUAL_DIMENSIONS,
            "most": MOST_DIMENSIONS,
            "limit": MOST_INDEXES,
        }
        cursor.execute(_SIZES, limits)
        sizes = {LargeScope(tenant, bytes(digest)): size for tenant, digest, size in cursor.fetchall()}
        cursor.execute(_INDEXES)
        existing = {name: is_valid and bool(note) for name, note, is_valid in cursor.fetchall()}
        kept = {scope.name for scope in sizes}
        dropped = [name for name, is_whole in existing.items() if name not in kept or not is_whole]
        for name in dropped:
            cursor.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.Identifier(name)))
        whole = existing.keys() - set(dropped)
        missing = [scope for scope, size in sizes.items() if size >= PROMOTE_FROM and scope.name not in whole]
        for scope in missing:
            build(scope)
    INDEXED.set(len(whole) + len(missing))
    if dropped or missing:
        log.info("cache indexes changed", built=len(missing), dropped=len(dropped))
    return len(missing), len(dropped)


def pgvector_version() -> tuple[int, ...]:
    """The version of the extension in this database; zeros if it has none yet."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
        row = cursor.fetchone()
    return tuple(int(part) for part in row[0].split(".")[:3]) if row else (0, 0, 0)


def build(scope: LargeScope) -> None:
    """Build a scope's index while requests search and store. Owner's connection, outside a transaction."""
    with connection.cursor() as cursor:
        cursor.execute(_DIMENSIONS, (scope.tenant_id, scope.digest))
        if (row := cursor.fetchone()) is None:
            return
        cursor.execute("SELECT set_config('maintenance_work_mem', %s, false)", (_BUILD_MEMORY,))
        try:
            cursor.execute(
                _CREATE.format(
                    name=sql.Identifier(scope.name),
                    dimensions=sql.Literal(row[0]),
                    tenant=sql.Literal(scope.tenant_id),
                    scope=sql.Literal(scope.digest),
                )
            )
        finally:
            cursor.execute("RESET maintenance_work_mem")
        # the comment comes last: an index without a comment is incomplete
        cursor.execute(
            sql.SQL("COMMENT ON INDEX {} IS {}").format(sql.Identifier(scope.name), sql.Literal(str(row[0])))
        )
