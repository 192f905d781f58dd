"""Rate windows and concurrency slots: the counting behind `limits.py`, in Redis and in one process.

Invariant: `acquire` counts a call in every scope (tenant, key, user) or in none. A minute slides: the
minute before counts with the share of it that still lies within the last sixty seconds. Both
implementations compute the same thing, in Lua with the clock of Redis and in Python with the process's own.
"""

import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Literal

from redis.asyncio import Redis

from tenants.policy import RateLimits

WINDOW_SECONDS = 60
SLOT_SECONDS = 60  # a slot nobody renews for this long belonged to a process that is gone

Meter = Literal["requests", "tokens", "concurrency"]


@dataclass(frozen=True, slots=True)
class Scope:
    """One holder of limits: `name` is for people ("tenant acme"), `key` for the store."""

    kind: Literal["tenant", "key", "user"]
    name: str
    key: str
    limits: RateLimits


@dataclass(frozen=True, slots=True)
class Usage:
    """What one scope has used within the last minute, this call included if it was counted."""

    requests: float
    tokens: float
    concurrency: int


@dataclass(frozen=True, slots=True)
class Counted:
    """The call is counted in every scope; `window` is the minute it was counted in."""

    window: int
    elapsed_seconds: float
    usages: tuple[Usage, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing is counted: `scopes[index]` has no room on `meter`. `wait_seconds` is when there may be,
    negative when there never will."""

    index: int
    meter: Meter
    wait_seconds: float
    used: float


# KEYS: for each scope its window hash and its slot set. ARGV: slot id, tokens, slot seconds, then for each
# scope rpm, tpm, concurrency (-1: no limit). The hash holds the present minute's number (w), its requests and
# tokens (r, t) and those of the minute before (pr, pt). First every scope is checked, then every one counted.
ACQUIRE = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local window = math.floor(now / 60)
local elapsed = now - window * 60
local share = 1 - elapsed / 60
local slot, tokens, slot_seconds = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local scopes = #KEYS / 2
local seen = {}

local function wait(before, current, limit, amount)
    if amount > limit then return -1 end
    local room = limit - amount
    if current <= room then return 60 * (share - (room - current) / before) end
    return (60 - elapsed) + 60 * (1 - room / current)
end

for i = 1, scopes do
    local hash, slots = KEYS[2 * i - 1], KEYS[2 * i]
    local rpm, tpm, most = tonumber(ARGV[3 * i + 1]), tonumber(ARGV[3 * i + 2]), tonumber(ARGV[3 * i + 3])
    local old = redis.call('HMGET', hash, 'w', 'r', 't', 'pr', 'pt')
    local at = tonumber(old[1]) or -1
    local r, t, pr, pt = 0, 0, 0, 0
    if at == window then
        r, t, pr, pt = tonumber(old[2]), tonumber(old[3]), tonumber(old[4]), tonumber(old[5])
    elseif at == window - 1 then
        pr, pt = tonumber(old[2]), tonumber(old[3])
    end
    local busy = 0
    if most >= 0 then
        redis.call('ZREMRANGEBYSCORE', slots, '-inf', now)
        busy = redis.call('ZCARD', slots)
        if busy >= most then return {0, i, 3, '1', tostring(busy)} end
    end
    if rpm >= 0 and pr * share + r + 1 > rpm then
        return {0, i, 1, tostring(wait(pr, r, rpm, 1)), tostring(pr * share + r)}
    end
    if tpm >= 0 and pt * share + t + tokens > tpm then
        return {0, i, 2, tostring(wait(pt, t, tpm, tokens)), tostring(pt * share + t)}
    end
    seen[i] = {r + 1, t + tokens, pr, pt, busy}
end

local reply = {1, window, tostring(elapsed)}
for i = 1, scopes do
    local hash, slots, s = KEYS[2 * i - 1], KEYS[2 * i], seen[i]
    redis.call('HSET', hash, 'w', window, 'r', s[1], 't', s[2], 'pr', s[3], 'pt', s[4])
    redis.call('EXPIRE', hash, 125)
    if tonumber(ARGV[3 * i + 3]) >= 0 then
        redis.call('ZADD', slots, now + slot_seconds, slot)
        redis.call('EXPIRE', slots, slot_seconds + 5)
    end
    reply[#reply + 1] = tostring(s[3] * share + s[1])
    reply[#reply + 1] = tostring(s[4] * share + s[2])
    reply[#reply + 1] = s[5] + 1
end
return reply
"""

# KEYS: for each scope its window hash and its slot set. ARGV: the slot to free ('' for none), the minute the
# call was counted in, and the tokens to add or (below 0) give back.
SETTLE = """
local slot, counted_in, more = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
for i = 1, #KEYS, 2 do
    if slot ~= '' then redis.call('ZREM', KEYS[i + 1], slot) end
    if more ~= 0 then
        local old = redis.call('HMGET', KEYS[i], 'w', 't', 'pt')
        local at = tonumber(old[1])
        if at and (more > 0 or at == counted_in) then
            redis.call('HSET', KEYS[i], 't', math.max(0, tonumber(old[2]) + more))
        elseif at == counted_in + 1 then
            redis.call('HSET', KEYS[i], 'pt', math.max(0, tonumber(old[3]) + more))
        end
    end
end
"""

# KEYS: slot sets. ARGV: slot seconds, then how many slots of each set follow, then the slots.
RENEW = """
local now = tonumber(redis.call('TIME')[1])
local position = #KEYS + 2
for i = 1, #KEYS do
    for n = 1, tonumber(ARGV[i + 1]) do
        redis.call('ZADD', KEYS[i], 'XX', now + tonumber(ARGV[1]), ARGV[position])
        position = position + 1
    end
    redis.call('EXPIRE', KEYS[i], tonumber(ARGV[1]) + 5)
end
"""

_METERS: tuple[Meter, ...] = ("requests", "tokens", "concurrency")


class RedisWindows:
    """The windows all processes share. Each operation is one round trip."""

    def __init__(self, redis: Redis) -> None:
        self._acquire = redis.register_script(ACQUIRE)
        self._settle = redis.register_script(SETTLE)
        self._renew = redis.register_script(RENEW)

    async def acquire(self, scopes: tuple[Scope, ...], *, slot_id: str, tokens: int) -> Counted | Refused:
        names = [name for scope in scopes for name in (_window_key(scope), _slots_key(scope))]
        limits = [
            -1 if limit is None else limit
            for scope in scopes
            for limit in (scope.limits.rpm, scope.limits.tpm, scope.limits.concurrency)
        ]
        reply = await self._acquire(keys=names, args=[slot_id, tokens, SLOT_SECONDS, *limits])
        if reply[0] == 0:
            _, index, meter, wait_seconds, used = reply
            return Refused(index - 1, _METERS[meter - 1], float(wait_seconds), float(used))
        usages = tuple(
            Usage(float(reply[at]), float(reply[at + 1]), int(reply[at + 2]))
            for at in range(3, len(reply), 3)
        )
        return Counted(window=int(reply[1]), elapsed_seconds=float(reply[2]), usages=usages)

    async def settle(
        self, scopes: tuple[Scope, ...], *, window: int, more_tokens: int, slot_id: str = ""
    ) -> None:
        names = [name for scope in scopes for name in (_window_key(scope), _slots_key(scope))]
        await self._settle(keys=names, args=[slot_id, window, more_tokens])

    async def renew(self, slots: dict[str, list[str]]) -> None:
        """Keep slots alive, given by `slots_key`. All keys of one call belong to one tenant."""
        counts = [len(slot_ids) for slot_ids in slots.values()]
        members = [slot_id for slot_ids in slots.values() for slot_id in slot_ids]
        await self._renew(keys=list(slots), args=[SLOT_SECONDS, *counts, *members])


@dataclass(slots=True)
class _Local:
    window: int = -1
    requests: int = 0
    tokens: int = 0
    requests_before: int = 0
    tokens_before: int = 0
    slot_ids: set[str] = field(default_factory=set)

    def turn_to(self, window: int) -> None:
        if window == self.window:
            return
        follows = window == self.window + 1
        self.requests_before, self.tokens_before = (self.requests, self.tokens) if follows else (0, 0)
        self.window, self.requests, self.tokens = window, 0, 0


class ProcessWindows:
    """The same counting within one process, while there is no Redis. Takes microseconds, never awaits."""

    def __init__(self, *, max_scopes: int = 50_000) -> None:
        self._max_scopes = max_scopes
        self._scopes: OrderedDict[str, _Local] = OrderedDict()

    def acquire(self, scopes: tuple[Scope, ...], *, slot_id: str, tokens: int) -> Counted | Refused:
        now = time.time()
        window = int(now // WINDOW_SECONDS)
        elapsed = now - window * WINDOW_SECONDS
        share = 1 - elapsed / WINDOW_SECONDS
        locals_: list[_Local] = []
        for index, scope in enumerate(scopes):
            local = self._local(scope)
            local.turn_to(window)
            if refusal := _refusal(local, scope.limits, index=index, share=share, tokens=tokens):
                return refusal
            locals_.append(local)
        usages = []
        for scope, local in zip(scopes, locals_, strict=True):
            local.requests += 1
            local.tokens += tokens
            if scope.limits.concurrency is not None:
                local.slot_ids.add(slot_id)
            usages.append(
                Usage(
                    local.requests_before * share + local.requests,
                    local.tokens_before * share + local.tokens,
                    len(local.slot_ids),
                )
            )
        return Counted(window=window, elapsed_seconds=elapsed, usages=tuple(usages))

    def settle(self, scopes: tuple[Scope, ...], *, window: int, more_tokens: int, slot_id: str = "") -> None:
        for scope in scopes:
            local = self._scopes.get(scope.key)
            if local is None:
                continue
            local.slot_ids.discard(slot_id)
            if more_tokens > 0 or local.window == window:
                local.tokens = max(0, local.tokens + more_tokens)
            elif local.window == window + 1:
                local.tokens_before = max(0, local.tokens_before + more_tokens)

    def _local(self, scope: Scope) -> _Local:
        local = self._scopes.get(scope.key)
        if local is None:
            local = self._scopes[scope.key] = _Local()
            if len(self._scopes) > self._max_scopes:
                self._scopes.popitem(last=False)
        else:
            self._scopes.move_to_end(scope.key)
        return local


def slots_key(scope: Scope) -> str:
    """The name of the scope's slot set in Redis."""
    return _slots_key(scope)


def _refusal(local: _Local, limits: RateLimits, *, index: int, share: float, tokens: int) -> Refused | None:
    if limits.concurrency is not None and len(local.slot_ids) >= limits.concurrency:
        return Refused(index, "concurrency", 1.0, len(local.slot_ids))
    measured: tuple[tuple[Meter, int | None, int, int, int], ...] = (
        ("requests", limits.rpm, local.requests_before, local.requests, 1),
        ("tokens", limits.tpm, local.tokens_before, local.tokens, tokens),
    )
    for meter, limit, before, current, amount in measured:
        if limit is not None and before * share + current + amount > limit:
            wait = _wait(before, current, limit=limit, amount=amount, share=share)
            return Refused(index, meter, wait, before * share + current)
    return None


def _wait(before: int, current: int, *, limit: int, amount: int, share: float) -> float:
    if amount > limit:
        return -1.0
    room = limit - amount
    if current <= room:  # enough once more of the minute before has slid out
        return WINDOW_SECONDS * (share - (room - current) / before)
    return WINDOW_SECONDS * share + WINDOW_SECONDS * (1 - room / current)


def _window_key(scope: Scope) -> str:
    return f"purser:rate:{scope.key}"


def _slots_key(scope: Scope) -> str:
    return f"purser:slots:{scope.key}"
