"""Keeps count of a provider account's limits: in this process, or in Redis for all processes.

Invariant: in no minute does more than the limit get through (a tenth as a burst, the rest evenly), and
both keepers decide alike. A request larger than the burst waits for a full one; those after it pay it off. No debt is
longer than about a minute, however much was taken, and a request that is taken back leaves nothing behind. Where the
calls of several processes wait, the tenant goes first that has had the least (start-time fair queueing, as in
`fair_queue`): each process asks for its own next one, which holds a ticket for as long as it keeps asking.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Final, Protocol

from config.redis_link import ANSWER_SECONDS, RedisLink, Script
from config.values import value_type
from tenants.limits.leases import places_of

MINUTE_SECONDS: Final = 60.0
PLACE_SECONDS: Final = 900.0  # a slot of a process that died frees itself
UNKNOWN_WAIT: Final = -1.0  # until a running call ends
BURST_SHARE: Final = 10
TICKET_SECONDS: Final = 3.0  # of a call that waits and asks no more
SHARES_SECONDS: Final = 120  # what tenants have had counts for so long after the last call waited
LONGEST_PAUSE_SECONDS: Final = 300.0  # then it is tried again, even if the provider said longer


@value_type
class Limits:
    """Requests and tokens per minute, calls at a time; 0 is no limit. No call takes longer than `place_seconds`."""

    _: KW_ONLY
    rpm: int = 0
    tpm: int = 0
    concurrency: int = 0
    place_seconds: float = field(default=PLACE_SECONDS, repr=False)

    @classmethod
    def of(cls, limits: Mapping[str, Any], *, longest_call_seconds: float = 0.0) -> "Limits":
        return cls(
            **{name: int(limits.get(name) or 0) for name in ("rpm", "tpm", "concurrency")},
            place_seconds=max(PLACE_SECONDS, longest_call_seconds + MINUTE_SECONDS),
        )

    def __bool__(self) -> bool:
        return bool(self.rpm or self.tpm or self.concurrency)

    def share_of(self, tokens: int) -> float:
        """Which part of the account's minute a call takes: of requests or tokens, the scarcer of the two."""
        parts = [1 / self.rpm] if self.rpm else []
        if self.tpm:
            parts.append(max(1, tokens) / self.tpm)
        return max(parts, default=1.0)


@value_type
class Pace:
    """A rate as its burst and the seconds that pay for one unit."""

    burst: float
    interval: float

    @classmethod
    def of(cls, per_minute: int) -> "Pace":
        burst = max(1, per_minute // BURST_SHARE)
        return cls(burst, MINUTE_SECONDS / max(1, per_minute - burst) if per_minute else 0.0)

    def wait(self, paid_until: float, *, cost: float, now: float) -> float:
        """Seconds until a request of this cost may go; not above 0 means now."""
        return max(paid_until, now) - now + (min(cost, self.burst) - self.burst) * self.interval

    def spend(self, paid_until: float, *, cost: float, now: float) -> float:
        return self.bounded(max(paid_until, now) + cost * self.interval, now=now)

    def bounded(self, paid_until: float, *, now: float) -> float:
        """No debt is longer than what a minute at the limit and a burst take to pay."""
        return min(paid_until, now + self.longest_debt)

    @property
    def longest_debt(self) -> float:
        return MINUTE_SECONDS + 2 * self.burst * self.interval


class Keeper(Protocol):
    """Keeps an account's allowance."""

    async def take(
        self,
        account: str,
        limits: Limits,
        *,
        place: str,
        tokens: int,
        tenant_id: int = 0,
        waits: bool = False,
    ) -> float:
        """Take a request's share and return 0, or take nothing and return the seconds to wait. One that `waits` is asked for
        again until `give_back`, and others that have had more queue behind it."""
        ...

    async def give_back(
        self, account: str, limits: Limits, *, place: str, tokens: int, requests: int = 0, tenant_id: int = 0
    ) -> None:
        """End a call; `tokens` and `requests` more (or, negative, fewer) than were taken, by the tenant."""
        ...

    async def pause(self, account: str, *, seconds: float) -> None:
        """Let nothing through for a while: the provider said so."""
        ...


@dataclass(slots=True)
class _Account:
    requests_paid_until: float = 0.0
    tokens_paid_until: float = 0.0
    paused_until: float = 0.0
    places: dict[str, float] = field(default_factory=dict)

    def is_idle(self, now: float) -> bool:
        return max(self.requests_paid_until, self.tokens_paid_until, self.paused_until) <= now


class ProcessKeeper:
    """Keeps it in this process."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._accounts: dict[str, _Account] = {}

    async def take(
        self,
        account: str,
        limits: Limits,
        *,
        place: str,
        tokens: int,
        tenant_id: int = 0,
        waits: bool = False,
    ) -> float:
        now = self._clock()
        kept = self._accounts.setdefault(account, _Account())
        requests, units = Pace.of(limits.rpm), Pace.of(limits.tpm)
        kept.places = {name: until for name, until in kept.places.items() if until > now}
        wait = max(
            kept.paused_until - now,
            requests.wait(kept.requests_paid_until, cost=1, now=now) if limits.rpm else 0.0,
            units.wait(kept.tokens_paid_until, cost=tokens, now=now) if limits.tpm else 0.0,
        )
        if wait > 0:
            return wait
        if limits.concurrency and len(kept.places) >= limits.concurrency:
            return UNKNOWN_WAIT
        kept.requests_paid_until = requests.spend(kept.requests_paid_until, cost=1, now=now)
        kept.tokens_paid_until = units.spend(kept.tokens_paid_until, cost=tokens, now=now)
        kept.places[place] = now + limits.place_seconds
        return 0.0

    async def give_back(
        self, account: str, limits: Limits, *, place: str, tokens: int, requests: int = 0, tenant_id: int = 0
    ) -> None:
        kept = self._accounts.get(account)
        if kept is None or kept.places.pop(place, None) is None:
            return
        now = self._clock()
        by_request, by_token = Pace.of(limits.rpm), Pace.of(limits.tpm)
        kept.requests_paid_until = by_request.bounded(
            kept.requests_paid_until + requests * by_request.interval, now=now
        )
        kept.tokens_paid_until = by_token.bounded(
            kept.tokens_paid_until + tokens * by_token.interval, now=now
        )
        if not kept.places and kept.is_idle(now):
            del self._accounts[account]

    async def pause(self, account: str, *, seconds: float) -> None:
        kept = self._accounts.setdefault(account, _Account())
        kept.paused_until = max(kept.paused_until, self._clock() + min(seconds, LONGEST_PAUSE_SECONDS))


_TAKE: Final = Script("""
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local place, tokens, place_seconds = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local concurrency = tonumber(ARGV[4])
local kept = redis.call('HMGET', KEYS[1], 'requests', 'tokens', 'paused')
local function paid(value) return math.max(tonumber(value or 0) or 0, now) end
local function wait(value, cost, burst, interval)
    if interval <= 0 then return 0 end
    return paid(value) - now + (math.min(cost, burst) - burst) * interval
end
local request_burst, request_interval = tonumber(ARGV[5]), tonumber(ARGV[6])
local token_burst, token_interval = tonumber(ARGV[7]), tonumber(ARGV[8])
local longest = math.max((tonumber(kept[3] or 0) or 0) - now,
    wait(kept[1], 1, request_burst, request_interval), wait(kept[2], tokens, token_burst, token_interval))

-- whose turn it is, among those that wait
for _, silent in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', string.format('%.6f', now), 'LIMIT', 0, 100)) do
    redis.call('ZREM', KEYS[3], silent)
    redis.call('ZREM', KEYS[4], silent)
end
local tenant, waits, share = ARGV[11], ARGV[12] == '1', tonumber(ARGV[13])
local ticket = tonumber(redis.call('ZSCORE', KEYS[3], place) or nil)
local first = redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')
local shares = redis.call('HMGET', KEYS[5], 'now', tenant)
local served = tonumber(shares[1] or 0) or 0
local start = ticket or math.max(served, tonumber(shares[2] or 0) or 0)
local is_first = not first[1] or first[1] == place or (not ticket and start < tonumber(first[2]))

local function join_queue()
    if not waits then return end
    if not ticket then redis.call('ZADD', KEYS[3], string.format('%.12f', start), place) end
    redis.call('ZADD', KEYS[4], string.format('%.6f', now + tonumber(ARGV[14])), place)
    redis.call('EXPIRE', KEYS[3], 60)
    redis.call('EXPIRE', KEYS[4], 60)
end

if longest > 0 then join_queue() return {tostring(longest), 0} end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('%.6f', now))
local running = concurrency > 0 and redis.call('ZCARD', KEYS[2]) or 0
if not is_first or (concurrency > 0 and running >= concurrency) then
    join_queue()
    return {'-1', 0}
end
if first[1] or shares[1] then
    redis.call('HSET', KEYS[5], 'now', string.format('%.12f', math.max(served, start)),
        tenant, string.format('%.12f', start + share))
end
if first[1] then
    redis.call('ZREM', KEYS[3], place)
    redis.call('ZREM', KEYS[4], place)
    redis.call('EXPIRE', KEYS[5], tonumber(ARGV[15]))
end

-- calls to come, where there is plenty for all and nobody has waited lately
local more, more_tokens = tonumber(ARGV[16]), tonumber(ARGV[17])
if first[1] or shares[1] or wait(kept[1], 1 + more, request_burst, request_interval) > 0
    or wait(kept[2], tokens + more_tokens, token_burst, token_interval) > 0
    or (concurrency > 0 and running + 1 + more > concurrency * 0.8) then
    more, more_tokens = 0, 0
end
local until_time = string.format('%.6f', now + place_seconds)
local places = {until_time, place}
for n = 1, more do
    places[#places + 1] = until_time
    places[#places + 1] = place .. ':' .. n
end
redis.call('ZADD', KEYS[2], unpack(places))
redis.call('EXPIRE', KEYS[2], math.ceil(place_seconds))
local function spend(field, value, cost, interval, longest_debt)
    if interval <= 0 then return end
    local until_time = math.min(paid(value) + cost * interval, now + longest_debt)
    redis.call('HSET', KEYS[1], field, string.format('%.6f', until_time))
end
spend('requests', kept[1], 1 + more, request_interval, tonumber(ARGV[9]))
spend('tokens', kept[2], tokens + more_tokens, token_interval, tonumber(ARGV[10]))
redis.call('EXPIRE', KEYS[1], math.ceil(place_seconds))
return {'0', more}
""")
# What is paid is no longer kept: an unused account has no key.
_SETTLE: Final = """
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local kept = redis.call('HMGET', KEYS[1], 'requests', 'tokens', 'paused')
local function settle(field, value, seconds, longest_debt)
    if not value then return end
    local until_time = math.min(tonumber(value) + seconds, now + longest_debt)
    if until_time <= now then redis.call('HDEL', KEYS[1], field)
    elseif seconds ~= 0 then redis.call('HSET', KEYS[1], field, string.format('%.6f', until_time)) end
end
settle('requests', kept[1], tonumber(ARGV[2]), tonumber(ARGV[3]))
settle('tokens', kept[2], tonumber(ARGV[4]), tonumber(ARGV[5]))
settle('paused', kept[3], 0, math.huge)
"""
_GIVE_BACK: Final = Script(
    """
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('ZREM', KEYS[4], ARGV[1])
if redis.call('ZREM', KEYS[2], ARGV[1]) == 0 then return end
"""
    + _SETTLE
    + """
if tonumber(ARGV[7]) ~= 0 and redis.call('HEXISTS', KEYS[5], ARGV[6]) == 1 then
    redis.call('HINCRBYFLOAT', KEYS[5], ARGV[6], ARGV[7])
end
"""
)
# ARGV: the places that are free again are at the end
_GIVE_BACK_MANY: Final = Script(
    """
if ARGV[6] then redis.call('ZREM', KEYS[2], unpack(ARGV, 6)) end
"""
    + _SETTLE
)
_PAUSE: Final = Script("""
local clock = redis.call('TIME')
local until_time = clock[1] + clock[2] / 1000000 + tonumber(ARGV[1])
if until_time > (tonumber(redis.call('HGET', KEYS[1], 'paused') or 0) or 0) then
    redis.call('HSET', KEYS[1], 'paused', string.format('%.6f', until_time))
    redis.call('EXPIRE', KEYS[1], 3600)
end
""")


class RedisKeeper:
    """Keeps it in Redis, by Redis's clock: one round trip and one decision for all processes."""

    def __init__(self, link: RedisLink, *, timeout_seconds: float = ANSWER_SECONDS) -> None:
        self._link, self._timeout_seconds = link, timeout_seconds

    async def take(
        self,
        account: str,
        limits: Limits,
        *,
        place: str,
        tokens: int,
        tenant_id: int = 0,
        waits: bool = False,
    ) -> float:
        wait, _ = await self.take_more(
            account, limits, place=place, tokens=tokens, tenant_id=tenant_id, waits=waits
        )
        return wait

    async def take_more(
        self,
        account: str,
        limits: Limits,
        *,
        place: str,
        tokens: int,
        tenant_id: int,
        waits: bool,
        more: int = 0,
        more_tokens: int = 0,
    ) -> tuple[float, list[str]]:
        """Like `take`; if it may go and there is plenty, take the shares of `more` calls too, and return their places."""
        requests, units = Pace.of(limits.rpm), Pace.of(limits.tpm)
        paces = (requests.burst, requests.interval, units.burst, units.interval)
        debts = (requests.longest_debt, units.longest_debt)
        turn = (str(tenant_id), int(waits), limits.share_of(tokens), TICKET_SECONDS, SHARES_SECONDS)
        arguments: list[str | float] = [
            *(place, tokens, limits.place_seconds, limits.concurrency),
            *(*paces, *debts, *turn),
            *(more, more_tokens),
        ]
        wait, granted = await self._run(_TAKE, account_keys(account), arguments)
        return float(wait), places_of(place, granted)

    async def give_back(
        self, account: str, limits: Limits, *, place: str, tokens: int, requests: int = 0, tenant_id: int = 0
    ) -> None:
        arguments: list[str | float] = [place, *_settled(limits, requests=requests, tokens=tokens)]
        was_never_sent = requests < 0
        arguments += [str(tenant_id), -limits.share_of(-tokens) if was_never_sent else 0]
        await self._run(_GIVE_BACK, account_keys(account), arguments)

    async def give_back_many(
        self, account: str, limits: Limits, *, places: list[str], requests: int, tokens: int
    ) -> None:
        """End calls of `take_more`, or what was taken for them and not used."""
        settled = _settled(limits, requests=requests, tokens=tokens)
        await self._run(_GIVE_BACK_MANY, account_keys(account), ["", *settled, *places])

    async def pause(self, account: str, *, seconds: float) -> None:
        await self._run(_PAUSE, account_keys(account)[:1], [min(seconds, LONGEST_PAUSE_SECONDS)])

    async def _run(self, script: Script, keys: list[str], arguments: list[str | float]) -> Any:
        return await self._link.run(
            script, keys=keys, arguments=arguments, timeout_seconds=self._timeout_seconds
        )


def _settled(limits: Limits, *, requests: int, tokens: int) -> list[float]:
    """What is more (or, negative, less) than was taken, as seconds and their bound."""
    by_request, by_token = Pace.of(limits.rpm), Pace.of(limits.tpm)
    return [
        *(requests * by_request.interval, by_request.longest_debt),
        *(tokens * by_token.interval, by_token.longest_debt),
    ]


def account_keys(account: str) -> list[str]:
    """Where Redis keeps an account: what is paid until when, the calls that run, those that wait and until when each is
    believed to, and what the tenants have had."""
    name = f"purser:provider:{{{account}}}"
    return [name, *(f"{name}:{part}" for part in ("running", "waiting", "asking", "shares"))]
