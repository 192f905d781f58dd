"""Approximate indexes of the scopes that have grown too large to be compared whole.

Invariant: an index covers one scope of one tenant and nothing else, so that it never finds what belongs to somebody
else; there are at most MOST_INDEXES of them, for the largest scopes. What PostgreSQL has is the truth: no table of ours
says which there are, and a search that expects one that is gone is only slower.
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

# An exact search takes PostgreSQL 0.5 ms of CPU for 1,000 entries of MiniLM's length, an index 0.4 ms for any number;
# below half of this the index goes. Of longer vectors fewer do, in proportion: the time goes by the numbers that are read.
PROMOTE_FROM = 2_000
DEMOTE_BELOW = 1_000
USUAL_DIMENSIONS = 384
MOST_DIMENSIONS = 4_000  # pgvector indexes no longer halfvec
# Each is planned with in every search, and written to by nobody but its own scope.
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
# How many entries of the usual length a scope is as large as.
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

# In a transaction: an index that exists is used, it is searched until enough entries that live still are found, and it
# looks at as many at a time as a recall of .98 takes.
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
    """The index of a scope: its name says no more than which scope it is."""
    return _PREFIX + hashlib.sha256(b"%d:%s" % (tenant_id, digest)).hexdigest()[:24]


_dimensions: dict[str, int] = {}


def dimensions_of(scope: AnswerScope) -> int | None:
    """How long the vectors in the scope's index are, as far as this process knows; None without one."""
    if not _dimensions:
        return None
    return _dimensions.get(index_name(scope.tenant_id, scope.digest))


async def read_indexes() -> None:
    """Learn which scopes have an index."""
    async with resources.db.connection() as pooled:
        cursor = await pooled.execute(_INDEXES.replace("%%", "%"))
        rows = await cursor.fetchall()
    _dimensions.clear()
    _dimensions.update({name: int(note) for name, note, is_valid in rows if is_valid and note})


@resources.service
async def refresh_loop() -> None:
    """Runs as long as the process serves."""
    while True:
        try:
            await read_indexes()
        except (DatabaseError, PoolTimeout, OSError) as error:
            log.debug("indexes are not known", kind=type(error).__name__)
        await asyncio.sleep(REFRESH_SECONDS)


def keep_indexes() -> tuple[int, int]:
    """Build what the largest scopes lack and drop what is not worth it any more; how many of each. Owner's connection,
    outside a transaction. Idempotent: an index that a crash left unfinished is built anew."""
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
    """Of the extension as this database has it; zeros where it has none yet."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
        row = cursor.fetchone()
    return tuple(int(part) for part in row[0].split(".")[:3]) if row else (0, 0, 0)


def build(scope: LargeScope) -> None:
    """Build a scope's index beside those who search and store. Owner's connection, outside a transaction."""
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
        # the comment comes last: an index without one is not whole
        cursor.execute(
            sql.SQL("COMMENT ON INDEX {} IS {}").format(sql.Identifier(scope.name), sql.Literal(str(row[0])))
        )
