"""Notes the questions that are asked again, where a tenant wants their answers bought anew before they expire.

Invariant: noting never waits and never fails a request, and a crash loses at most FLUSH_SECONDS of it. What is asked is stored
encrypted; no more of it, and no larger, than the limits here and the tenant's policy say.
"""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson
import structlog
from psycopg import Error as DatabaseError
from psycopg_pool import PoolTimeout

from config import resources
from llm.calls.call import Call
from tenants.rls import tenant_connection
from tenants.secrets import encrypt

FLUSH_SECONDS: Final = 10.0
MOST_NOTED: Final = 2_000  # in one process between two flushes
LARGEST_BYTES: Final = 64 * 1024

COUNT: Final = """
UPDATE llm_askedquestion AS known
SET hits = known.hits + noted.hits, expires_at = greatest(known.expires_at, noted.expires_at)
FROM unnest(%(keys)s::text[], %(hits)s::int[], %(expire)s::timestamptz[]) AS noted (exact_key, hits, expires_at)
WHERE known.tenant_id = %(tenant)s AND known.exact_key = noted.exact_key
RETURNING known.exact_key
"""
KEEP: Final = """
INSERT INTO llm_askedquestion (tenant_id, exact_key, question, hits, expires_at, noted_at)
SELECT %(tenant)s, noted.* FROM (
    SELECT exact_key, question, hits, expires_at, now()
    FROM unnest(%(keys)s::text[], %(questions)s::text[], %(hits)s::int[], %(expire)s::timestamptz[])
        AS n (exact_key, question, hits, expires_at)
    ORDER BY hits DESC
    LIMIT greatest(0, %(most)s - (SELECT count(*) FROM llm_askedquestion WHERE tenant_id = %(tenant)s))) AS noted
ON CONFLICT DO NOTHING
"""

log = structlog.get_logger("purser.cache")


@dataclass(slots=True)
class _Noted:
    question: dict[str, Any]
    most: int
    expires_at: datetime
    hits: int = 1


_noted: dict[tuple[int, str], _Noted] = {}


def note(call: Call, *, expires_at: datetime) -> None:
    """A call was answered from the exact cache, by an answer that expires then."""
    policy = call.policy.refresh
    if not policy.enabled or call.exact_key is None or not call.wire.is_chat or call.reserve is not None:
        return  # a deferred call's body may have been shortened since
    key = call.principal.tenant_id, call.exact_key.name
    if (known := _noted.get(key)) is not None:
        known.hits += 1
        known.expires_at = max(known.expires_at, expires_at)
    elif len(_noted) < MOST_NOTED and len(call.source.raw) <= LARGEST_BYTES and _may_be_kept(call):
        _noted[key] = _Noted(_question(call), policy.max_questions, expires_at)


async def flush() -> None:
    """Write down what was noted. While the database is away it is lost: only savings are."""
    if not _noted:
        return
    gathered = dict(_noted)
    _noted.clear()
    for tenant_id in {tenant_id for tenant_id, _ in gathered}:
        its = {name: noted for (owner, name), noted in gathered.items() if owner == tenant_id}
        try:
            await _write(tenant_id, its)
        except (DatabaseError, PoolTimeout, OSError) as error:
            log.warning("questions_not_noted", kind=type(error).__name__)


@resources.service
async def flush_loop() -> None:
    """Runs while the process serves, and once more at its end."""
    try:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await flush()
    finally:
        await flush()


async def _write(tenant_id: int, noted: dict[str, _Noted]) -> None:
    def columns(names: list[str]) -> dict[str, Any]:
        return {
            "tenant": tenant_id,
            "keys": names,
            "hits": [noted[name].hits for name in names],
            "expire": [noted[name].expires_at for name in names],
            "most": max(one.most for one in noted.values()),
        }

    async with tenant_connection(tenant_id) as connection:
        known = await (await connection.execute(COUNT, columns(sorted(noted)))).fetchall()
    new = sorted(noted.keys() - {row[0] for row in known})
    if not new:
        return
    questions = await asyncio.to_thread(lambda: [_sealed(noted[name].question) for name in new])
    async with tenant_connection(tenant_id) as connection:
        await connection.execute(KEEP, {**columns(new), "questions": questions})


def _sealed(question: dict[str, Any]) -> str:
    return encrypt(orjson.dumps(question).decode())


def _may_be_kept(call: Call) -> bool:
    """Not what only one user may see, unless its key was named for that."""
    refresh = call.policy.refresh
    return call.policy.cache.share != "user" or call.principal.key_name in refresh.private_keys


def _question(call: Call) -> dict[str, Any]:
    """All that it takes to ask it again, with the same name in the exact cache."""
    headers, is_anybodys = call.headers, call.policy.cache.share in ("tenant", "key")
    return {
        "endpoint": call.endpoint,
        "model": call.facts.model,
        "body": call.body,
        "key_id": call.principal.key_id,
        "user": "" if is_anybodys else call.user,
        "tier": headers.tier,
        "compress": headers.compress,
        "prompt_version": headers.prompt_version,
        "passed_on": dict(call.passed_on),
        "asked_at": datetime.now(UTC),
    }
