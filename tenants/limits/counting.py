"""Rate windows and concurrency slots: the counting for `limiting`, in Redis and in one process.

Invariant: `acquire` counts a call in every scope (tenant, key, user) or in none. The window is a sliding minute in
slices of five seconds. The twelve newest slices count fully; the one before counts with the share that is still within
the last sixty seconds. No call is refused for usage of more than 65 seconds ago. Both implementations compute the same:
in Lua with the clock of Redis, in Python with the clock of the process.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from config.redis_link import ANSWER_SECONDS, RedisLink, Script
from config.values import value_type
from tenants.limits.leases import places_of
from tenants.policy import RateLimits

SLICE_SECONDS: Final = 5
SLICES: Final = 60 // SLICE_SECONDS + 1  # the last of them partly
SLOT_SECONDS: Final = 60  # a slot that was not renewed for this long belonged to a dead process
_ROUNDING: Final = 1e-6  # a reported wait must be long enough

Meter = Literal["requests", "tokens", "concurrency"]


@value_type
class LimitScope:
    """One holder of limits: `name` is for people ("tenant acme"), `key` for the store."""

    kind: Literal["tenant", "key", "user"]
    name: str
    key: str
    limits: RateLimits


@value_type
class Usage:
    """What one scope has used within the last minute, including this call if it was counted."""

    requests: float
    tokens: float
    concurrency: int


@value_type
class Counted:
    """The call is counted in every scope, in the slice with this number. It leaves the window in `reset_seconds`.

    The calls to come at `places` are counted with it, and in the usages.
    """

    slice: int
    reset_seconds: float
    usages: tuple[Usage, ...]
    slot_id: str
    places: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing is counted: `scopes[index]` is at its limit of `meter`. Retry after `wait_seconds`; negative: never."""

    index: int
    meter: Meter
    wait_seconds: float
    used: float


@value_type
class Change:
    """The change at the end of a call: tokens and requests to add to the slice (or to subtract), and the slot to free."""

    slice: int
    tokens: int
    requests: int = 0
    slot_id: str = ""


# The usage of a scope, as JSON: the number of its newest slice, and requests and tokens of each slice, newest first.
_COUNTS = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local slice = math.floor(now / 5)
local share = 1 - (now - slice * 5) / 5

local function counts(key)
    local stored = redis.call('GET', key)
    local old = stored and cjson.decode(stored) or {at = slice, r = {}, t = {}}
    local gone = math.max(0, slice - old.at)
    local r, t = {}, {}
    for age = 1, 13 do
        r[age], t[age] = old.r[age - gone] or 0, old.t[age - gone] or 0
    end
    return {at = slice, r = r, t = t}
end

local function keep(key, used) redis.call('SET', key, cjson.encode(used), 'EX', 70) end
"""

# KEYS: for each scope its counts and its slot set. ARGV: slot id, tokens, slot seconds, calls to come and their tokens, then
# for each scope rpm, tpm, concurrency (-1: no limit). All scopes are checked before any is counted. Calls to come are
# counted where every scope has plenty.
ACQUIRE: Final = Script(
    _COUNTS
    + """
local slot, tokens, slot_seconds = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local more, more_tokens = tonumber(ARGV[4]), tonumber(ARGV[5])
local scopes = #KEYS / 2
local seen = {}
local has_plenty = true

local function sum(slices)
    local total = share * slices[13]
    for age = 1, 12 do total = total + slices[age] end
    return total
end

local function wait(slices, need)
    if need <= share * slices[13] + 0.000001 and slices[13] > 0 then return 5 * need / slices[13] end
    need = need - share * slices[13]
    for age = 12, 1, -1 do
        local before = 5 * (share + 12 - age)
        if need <= slices[age] + 0.000001 and slices[age] > 0 then return before + 5 * need / slices[age] end
        need = need - slices[age]
    end
    return 5 * (share + 12)
end

local function refused(i, meter, slices, amount, limit)
    local used = sum(slices)
    if limit < 0 or used + amount <= limit + 0.000001 then return nil end
    local seconds = amount > limit and -1 or wait(slices, used + amount - limit)
    return {0, i, meter, tostring(seconds), tostring(used)}
end

for i = 1, scopes do
    local used, slots = counts(KEYS[2 * i - 1]), KEYS[2 * i]
    local rpm, tpm, most = tonumber(ARGV[3 * i + 3]), tonumber(ARGV[3 * i + 4]), tonumber(ARGV[3 * i + 5])
    local busy = 0
    if most >= 0 then
        redis.call('ZREMRANGEBYSCORE', slots, '-inf', now)
        busy = redis.call('ZCARD', slots)
        if busy >= most then return {0, i, 3, '1', tostring(busy)} end
    end
    local refusal = refused(i, 1, used.r, 1, rpm) or refused(i, 2, used.t, tokens, tpm)
    if refusal then return refusal end
    used.r[1], used.t[1] = used.r[1] + 1, used.t[1] + tokens
    seen[i] = {used, busy, most >= 0}
    has_plenty = has_plenty and (rpm < 0 or sum(used.r) + more <= 0.8 * rpm)
        and (tpm < 0 or sum(used.t) + more_tokens <= 0.8 * tpm) and (most < 0 or busy + 1 + more <= 0.8 * most)
end

if not has_plenty then more, more_tokens = 0, 0 end
local places = {now + slot_seconds, slot}
for n = 1, more do
    places[#places + 1] = now + slot_seconds
    places[#places + 1] = slot .. ':' .. n
end
local reply = {1, slice, tostring(5 * (share + 12)), more}
for i = 1, scopes do
    local used, busy, has_slots = unpack(seen[i])
    used.r[1], used.t[1] = used.r[1] + more, used.t[1] + more_tokens
    keep(KEYS[2 * i - 1], used)
    if has_slots then
        redis.call('ZADD', KEYS[2 * i], unpack(places))
        redis.call('EXPIRE', KEYS[2 * i], slot_seconds + 5)
    end
    reply[#reply + 1] = tostring(sum(used.r))
    reply[#reply + 1] = tostring(sum(used.t))
    reply[#reply + 1] = busy + 1 + more
end
return reply
"""
)

# KEYS: for each scope its counts and its slot set. ARGV: the slice the call was counted in, the tokens and requests to add
# (to the current slice) or, if negative, to subtract (from the slice of the call), and the slots to free. Empty counts are
# deleted.
SETTLE: Final = Script(
    _COUNTS
    + """
local counted_in, more_tokens, more_requests = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

local function add(slices, more)
    local age = more > 0 and 1 or math.max(0, slice - counted_in) + 1
    if age <= 13 then slices[age] = math.max(0, slices[age] + more) end
end

local function is_empty(used)
    for age = 1, 13 do
        if used.r[age] > 0 or used.t[age] > 0 then return false end
    end
    return true
end

for i = 1, #KEYS, 2 do
    if ARGV[4] then redis.call('ZREM', KEYS[i + 1], unpack(ARGV, 4)) end
    if (more_tokens ~= 0 or more_requests ~= 0) and redis.call('EXISTS', KEYS[i]) == 1 then
        local used = counts(KEYS[i])
        add(used.t, more_tokens)
        add(used.r, more_requests)
        if is_empty(used) then redis.call('DEL', KEYS[i]) else keep(KEYS[i], used) end
    end
end
"""
)

# KEYS: slot sets. ARGV: slot seconds, then how many slots of each set follow, then the slots.
RENEW: Final = Script("""
local now = tonumber(redis.call('TIME')[1])
local position = #KEYS + 2
for i = 1, #KEYS do
    for n = 1, tonumber(ARGV[i + 1]) do
        redis.call('ZADD', KEYS[i], 'XX', now + tonumber(ARGV[1]), ARGV[position])
        position = position + 1
    end
    redis.call('EXPIRE', KEYS[i], tonumber(ARGV[1]) + 5)
end
""")

_METERS: tuple[Meter, ...] = ("requests", "tokens", "concurrency")


class RedisWindows:
    """The windows that all processes share. Each operation is one round trip."""

    def __init__(self, link: RedisLink, *, timeout_seconds: float = ANSWER_SECONDS) -> None:
        self._link, self._timeout_seconds = link, timeout_seconds

    async def acquire(
        self,
        scopes: tuple[LimitScope, ...],
        *,
        slot_id: str,
        tokens: int,
        more: int = 0,
        more_tokens: int = 0,
    ) -> Counted | Refused:
        """Count a call; and `more` calls to come with it, where there is plenty for all."""
        names = [name for scope in scopes for name in (counts_key(scope), slots_key(scope))]
        limits = [
            -1 if limit is None else limit
            for scope in scopes
            for limit in (scope.limits.rpm, scope.limits.tpm, scope.limits.concurrency)
        ]
        reply = await self._run(ACQUIRE, names, [slot_id, tokens, SLOT_SECONDS, more, more_tokens, *limits])
        if reply[0] == 0:
            _, index, meter, wait_seconds, used = reply
            return Refused(index - 1, _METERS[meter - 1], float(wait_seconds), float(used))
        usages = tuple(
            Usage(float(reply[at]), float(reply[at + 1]), int(reply[at + 2]))
            for at in range(4, len(reply), 3)
        )
        places = places_of(slot_id, reply[3])
        return Counted(int(reply[1]), float(reply[2]), usages, slot_id, places)

    async def settle(
        self, scopes: tuple[LimitScope, ...], change: Change, *, slot_ids: Sequence[str] = ()
    ) -> None:
        """Make the change, and free these slots too."""
        names = [name for scope in scopes for name in (counts_key(scope), slots_key(scope))]
        freed = (change.slot_id, *slot_ids) if change.slot_id else slot_ids
        await self._run(SETTLE, names, [change.slice, change.tokens, change.requests, *freed])

    async def renew(self, slots: dict[str, list[str]]) -> None:
        """Renew slots, given by `slots_key`. All keys of one call must belong to one tenant."""
        counts = [len(slot_ids) for slot_ids in slots.values()]
        members = [slot_id for slot_ids in slots.values() for slot_id in slot_ids]
        await self._run(RENEW, list(slots), [SLOT_SECONDS, *counts, *members])

    async def _run(self, script: Script, names: list[str], arguments: list[str | int]) -> Any:
        return await self._link.run(
            script, keys=names, arguments=arguments, timeout_seconds=self._timeout_seconds
        )


@dataclass(slots=True)
class _Local:
    """The usage of a scope, newest slice first, as in Redis."""

    slice: int = 0
    requests: list[int] = field(default_factory=lambda: [0] * SLICES)
    tokens: list[int] = field(default_factory=lambda: [0] * SLICES)
    slot_ids: set[str] = field(default_factory=set)

    @property
    def is_empty(self) -> bool:
        return not (self.slot_ids or any(self.requests) or any(self.tokens))

    def turn_to(self, slice: int) -> None:
        gone = min(max(0, slice - self.slice), SLICES)
        if gone:
            self.requests = [0] * gone + self.requests[: SLICES - gone]
            self.tokens = [0] * gone + self.tokens[: SLICES - gone]
        self.slice = max(slice, self.slice)


class ProcessWindows:
    """The same counting within one process, while Redis is away. Takes microseconds, never awaits."""

    def __init__(self, *, max_scopes: int = 50_000, clock: Callable[[], float] = time.time) -> None:
        self._max_scopes, self._clock = max_scopes, clock
        self._scopes: OrderedDict[str, _Local] = OrderedDict()

    def acquire(self, scopes: tuple[LimitScope, ...], *, slot_id: str, tokens: int) -> Counted | Refused:
        slice, share = _slice_at(self._clock())
        locals_: list[_Local] = []
        for index, scope in enumerate(scopes):
            local = self._local(scope)
            local.turn_to(slice)
            if refusal := _refusal(local, scope.limits, index=index, share=share, tokens=tokens):
                self._forget_empty(scopes)
                return refusal
            locals_.append(local)
        usages = []
        for scope, local in zip(scopes, locals_, strict=True):
            local.requests[0] += 1
            local.tokens[0] += tokens
            if scope.limits.concurrency is not None:
                local.slot_ids.add(slot_id)
            usages.append(Usage(_sum(local.requests, share), _sum(local.tokens, share), len(local.slot_ids)))
        reset_seconds = SLICE_SECONDS * (share + SLICES - 1)
        return Counted(slice, reset_seconds, tuple(usages), slot_id)

    def settle(self, scopes: tuple[LimitScope, ...], change: Change) -> None:
        for scope in scopes:
            local = self._scopes.get(scope.key)
            if local is None:
                continue
            local.slot_ids.discard(change.slot_id)
            local.turn_to(_slice_at(self._clock())[0])
            for slices, more in ((local.tokens, change.tokens), (local.requests, change.requests)):
                age = 0 if more > 0 else max(0, local.slice - change.slice)
                if age < SLICES:
                    slices[age] = max(0, slices[age] + more)
        self._forget_empty(scopes)

    def _forget_empty(self, scopes: tuple[LimitScope, ...]) -> None:
        for scope in scopes:
            if (local := self._scopes.get(scope.key)) is not None and local.is_empty:
                del self._scopes[scope.key]

    def _local(self, scope: LimitScope) -> _Local:
        local = self._scopes.get(scope.key)
        if local is None:
            local = self._scopes[scope.key] = _Local()
            if len(self._scopes) > self._max_scopes:
                self._scopes.popitem(last=False)
        else:
            self._scopes.move_to_end(scope.key)
        return local


def slots_key(scope: LimitScope) -> str:
    """The name of the scope's slot set in Redis."""
    return f"purser:slots:{scope.key}"


def counts_key(scope: LimitScope) -> str:
    """The name of the scope's counts in Redis."""
    return f"purser:rates:{scope.key}"


def _slice_at(seconds: float) -> tuple[int, float]:
    """The slice of a moment, and the share of the oldest slice that still counts."""
    slices = seconds / SLICE_SECONDS
    return int(slices), 1 - slices % 1


def _refusal(local: _Local, limits: RateLimits, *, index: int, share: float, tokens: int) -> Refused | None:
    if limits.concurrency is not None and len(local.slot_ids) >= limits.concurrency:
        return Refused(index, "concurrency", 1.0, len(local.slot_ids))
    measured: tuple[tuple[Meter, int | None, list[int], int], ...] = (
        ("requests", limits.rpm, local.requests, 1),
        ("tokens", limits.tpm, local.tokens, tokens),
    )
    for meter, limit, slices, amount in measured:
        used = _sum(slices, share)
        if limit is not None and used + amount > limit + _ROUNDING:
            wait = _wait(slices, used + amount - limit, share=share) if amount <= limit else -1.0
            return Refused(index, meter, wait, used)
    return None


def _sum(slices: list[int], share: float) -> float:
    return sum(slices[:-1]) + share * slices[-1]


def _wait(slices: list[int], need: float, *, share: float) -> float:
    """Seconds until this much has left the window."""
    if slices[-1] and need <= share * slices[-1] + _ROUNDING:
        return SLICE_SECONDS * need / slices[-1]
    need -= share * slices[-1]
    for slid, used in enumerate(reversed(slices[:-1])):
        if used and need <= used + _ROUNDING:
            return SLICE_SECONDS * (share + slid + need / used)
        need -= used
    return SLICE_SECONDS * (share + SLICES - 1)
