"""The exact cache: an identical request gets the same answer, from Redis.

Invariant: an entry answers only the request whose digest it carries; this is checked again after reading. While Redis
is away, every look-up is an immediate miss. Redis may lose everything at any time: only savings are lost.
"""

import hashlib
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import structlog
from redis.exceptions import RedisError

from caching.answers import CachedAnswer, UnreadableAnswer, pack, unpack
from caching.circuit import Circuit, Unavailable
from caching.eligibility import MAX_TEMPERATURE
from caching.figures.counts import record
from caching.metrics import EVICTED, STORED
from caching.scope import Fingerprint, Origin, fingerprint_of
from config import resources
from config.redis_link import Word
from config.values import value_type

# How long a request waits for a Redis that does not answer. After three slow calls the circuit opens. A Redis that
# refuses connections costs a millisecond, once. Writes run in the background and may take longer.
LEAST_TIMEOUT_SECONDS, TIMEOUT_SECONDS = 0.005, 0.03
WRITE_TIMEOUT_SECONDS = 1.0
MAX_STORED_BYTES = 1_000_000
_DIGEST_BYTES = 16

log = structlog.get_logger("purser.cache")


async def ping() -> None:
    await resources.redis_link.ping()


circuit = Circuit(
    "redis",
    timeout_seconds=TIMEOUT_SECONDS,
    least_seconds=LEAST_TIMEOUT_SECONDS,
    probe=ping,
    outages=(RedisError, OSError),
    slow_calls_allowed=3,
)


@value_type
class ExactKey:
    """The Redis key of one request's answer, and its tenant."""

    tenant_id: int
    name: str


def why_not(body: Mapping[str, Any], *, max_temperature: float = MAX_TEMPERATURE) -> str:
    """Why a request's answer must not be reused, as a stable word; empty when it may be.

    A request without a temperature may be answered. A temperature above `max_temperature`, or several answers at once,
    asks for sampling.
    """
    temperature = body.get("temperature")
    if isinstance(temperature, int | float) and temperature > max_temperature:
        return "sampled"
    choices = body.get("n")
    return "several_answers" if isinstance(choices, int) and choices > 1 else ""


def key(body: Mapping[str, Any], *, origin: Origin, fingerprint: Fingerprint | None = None) -> ExactKey:
    """The key of this request's answer. Its body's fingerprint may be known.

    One hash tag per tenant keeps a tenant's keys together in a cluster.
    """
    parts = (
        origin.circle,
        origin.endpoint,
        origin.route,
        origin.prompt_version,
        origin.epoch,
        origin.features,
        (fingerprint or fingerprint_of(body)).whole,
    )
    joined = b"".join(b"%d:%s," % (len(part.encode()), part.encode()) for part in parts)
    digest = hashlib.sha256(joined).hexdigest()
    return ExactKey(origin.tenant_id, f"{_prefix(origin.tenant_id, origin.route)}{digest}")


async def get(key: ExactKey) -> CachedAnswer | None:
    """The answer stored under `key`; None if there is none or Redis is away. Never raises."""
    answer, _ = await get_or(key, lambda seconds: _read(key.name, seconds))
    return answer


async def peek(key: ExactKey) -> CachedAnswer | None:
    """Like `get`, for work in the background: it is no look-up of a request, and is not counted as one. Never raises."""
    answer, _ = await get_or(key, lambda seconds: _read(key.name, seconds), is_counted=False)
    return answer


async def get_or(
    key: ExactKey, read: Callable[[float], Coroutine[Any, Any, bytes | bool]], *, is_counted: bool = True
) -> tuple[CachedAnswer | None, bool]:
    """Like `get`, with a command that returns a flag where there is no answer; the flag is true if Redis is away."""
    answer, said, reason = await _find(key.name, read)
    if is_counted:
        record(key.tenant_id, cache="exact", outcome="miss" if answer is None else "hit", reason=reason)
    return answer, said


def record_shared(key: ExactKey) -> None:
    """Count an answer that came from an equal request in progress."""
    record(key.tenant_id, cache="exact", outcome="hit", reason="in_flight")


async def exists(name: str) -> bool:
    """Whether a key exists; false if Redis is away. Never raises."""
    try:
        return bool(
            await circuit.call_timed(
                lambda seconds: _call("EXISTS", name, timeout_seconds=seconds),
                timeout_seconds=WRITE_TIMEOUT_SECONDS,
            )
        )
    except Unavailable:
        return False


async def write(work: Callable[[float], Coroutine[Any, Any, object]]) -> bool:
    """Do something in Redis in the background, within these seconds. Returns whether it was done. Never raises."""
    try:
        await circuit.call_timed(work, timeout_seconds=WRITE_TIMEOUT_SECONDS)
    except Unavailable:
        return False
    return True


async def put(key: ExactKey, answer: CachedAnswer, *, ttl_seconds: int) -> bool:
    """Store a complete answer; False when it was not stored. Never raises. Call it in the background."""
    packed = packed_for(key, answer)
    is_kept = bool(packed) and await write(
        lambda seconds: _call("SET", key.name, packed, "EX", ttl_seconds, timeout_seconds=seconds)
    )
    STORED.add("exact", amount=is_kept)
    return is_kept


def packed_for(key: ExactKey, answer: CachedAnswer) -> bytes:
    """The answer as it is stored under its key; empty if it is too large."""
    packed = _mark(key.name) + pack(answer)
    return packed if len(packed) <= MAX_STORED_BYTES else b""


async def forget(tenant_id: int, name: str) -> None:
    """Remove one entry of the tenant. Never raises: a Redis that is away loses its entries anyway."""
    if not name.startswith(_tenant_prefix(tenant_id)):
        return
    EVICTED.labels("complaint_exact").inc(
        await write(lambda seconds: _call("UNLINK", name, timeout_seconds=seconds))
    )


async def purge(tenant_id: int, *, route: str | None = None) -> int:
    """Remove a tenant's entries, or those of one requested model. Scans: for operators, not for requests."""
    pattern = tenant_pattern(tenant_id) if route is None else _prefix(tenant_id, route) + "*"
    removed = 0
    batch: list[bytes] = []
    async for found in resources.redis.scan_iter(match=pattern, count=500):
        batch.append(found)
        if len(batch) == 500:
            removed += await resources.redis.unlink(*batch)
            batch.clear()
    if batch:
        removed += await resources.redis.unlink(*batch)
    EVICTED.labels("purged_exact").inc(removed)
    return removed


def tenant_pattern(tenant_id: int) -> str:
    """The glob of all of a tenant's keys."""
    return f"{_tenant_prefix(tenant_id)}*"


async def _find(
    name: str, read: Callable[[float], Coroutine[Any, Any, bytes | bool]]
) -> tuple[CachedAnswer | None, bool, str]:
    try:
        stored = await circuit.call_timed(read)
    except Unavailable:
        return None, True, "unavailable"
    if isinstance(stored, bool):
        return None, stored, ""
    if stored[:_DIGEST_BYTES] != _mark(name):
        log.error("exact cache answered with another entry")
        return None, True, "foreign"
    try:
        return unpack(stored[_DIGEST_BYTES:]), False, ""
    except UnreadableAnswer:
        return None, True, "unreadable"


async def _read(name: str, seconds: float) -> bytes | bool:
    stored = await _call("GET", name, timeout_seconds=seconds)
    return stored if isinstance(stored, bytes) else True


async def _call(*words: Word, timeout_seconds: float) -> Any:
    return await resources.redis_link.call(*words, timeout_seconds=timeout_seconds)


def _tenant_prefix(tenant_id: int) -> str:
    return f"purser:{{t{tenant_id}}}:exact:"


def _prefix(tenant_id: int, route: str) -> str:
    return f"{_tenant_prefix(tenant_id)}{hashlib.sha256(route.encode()).hexdigest()[:8]}:"


def _mark(key: str) -> bytes:
    """A digest that is stored with the answer: the last check against an answer of another key."""
    return hashlib.sha256(key.encode()).digest()[:_DIGEST_BYTES]
