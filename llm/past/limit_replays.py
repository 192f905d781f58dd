"""What rate limits would have refused: the requests of the last thirty days, counted again in the limiter's own windows.

Invariant: reads only, and a bounded number of rows; the counting is that of `tenants.limits.counting`, with the log's times for
a clock. A call counts with the tokens it was billed for, from its arrival on.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from typing import Any, Final

from django.db import connection, transaction

from llm.past.samples import READ, Sample, arguments_of
from tenants.limits.counting import SLICE_SECONDS, SLICES, Change, LimitScope, ProcessWindows, Refused
from tenants.models import ApiKey, Tenant
from tenants.policy import InvalidPolicy, Policy, RateLimits, parse_policy, parse_rate_limits

WARM_UP: Final = timedelta(seconds=SLICE_SECONDS * SLICES)
ROWS_AT_ONCE: Final = 5_000
COUNTED: Final = "(status < 400 OR status >= 500 OR error_code = 'rate_limit_exceeded')"
COLUMNS: Final = 'at, key_id, "user", input_tokens + output_tokens, latency_ms'
NAMES: Final = {"tenant": "the tenant", "key": "a key", "user": "a user"}


@dataclass(frozen=True, slots=True)
class Limits:
    """All limits of a tenant's calls: its own, those of its keys by id, and those of each user."""

    tenant: RateLimits
    keys: Mapping[int, RateLimits]
    users: RateLimits

    @classmethod
    def of(cls, tenant: Tenant) -> "Limits":
        """What is in force."""
        try:
            users = parse_policy(tenant.policy).user_rate_limits
        except InvalidPolicy:
            users = Policy().user_rate_limits
        keys = ApiKey.objects.filter(tenant=tenant).exclude(rate_limits={}).values_list("pk", "rate_limits")
        return cls(
            parse_rate_limits(tenant.rate_limits),
            {pk: parse_rate_limits(limits) for pk, limits in keys},
            users,
        )

    def scopes(self, key_id: int | None, user: str) -> tuple[LimitScope, ...]:
        """The scopes that a call counts for, those without a limit left out."""
        found = [LimitScope("tenant", "", "t", self.tenant)] if self.tenant else []
        if key_id is not None and (of_key := self.keys.get(key_id)):
            found.append(LimitScope("key", "", f"k{key_id}", of_key))
        if user and self.users:
            found.append(LimitScope("user", "", f"u{user}", self.users))
        return tuple(found)

    def __bool__(self) -> bool:
        return bool(self.tenant or self.users or any(self.keys.values()))


@dataclass(slots=True)
class Tried:
    """What limits would have refused of a sample's requests; each figure is of the hours that were read."""

    sample: Sample
    calls: int = 0
    refused: int = 0
    limits: Counter[str] = field(default_factory=Counter)  # whose limit, and of what
    users: Counter[str] = field(default_factory=Counter)
    hours: Counter[datetime] = field(default_factory=Counter)

    @property
    def in_all(self) -> int:
        """The refused calls of the whole time."""
        return self.refused * self.sample.every


def replay(limits: Limits, sample: Sample) -> Tried:
    """Go through the requests of a sample in their order."""
    tried = Tried(sample)
    if not limits:
        return tried
    replaying = _Replaying(limits, tried)
    begins = iter([first for first, _ in sample.spans])
    starts = next(begins)
    following = next(begins, None)
    for at, key_id, user, tokens, latency_ms in _requests(sample):
        if following is not None and at >= following - WARM_UP:
            starts, following = following, next(begins, None)
        replaying.arrive(at, key_id, user, tokens, latency_ms, is_counted=at >= starts)
    return tried


class _Replaying:
    """The limiter's windows, the calls that run, and the moment it is."""

    def __init__(self, limits: Limits, tried: Tried) -> None:
        self._limits, self._tried = limits, tried
        self._now = 0.0
        self._windows = ProcessWindows(clock=lambda: self._now)
        self._running: list[tuple[float, str, tuple[LimitScope, ...]]] = []
        self._arrived = 0

    def arrive(
        self, at: datetime, key_id: int | None, user: str, tokens: int, latency_ms: int, *, is_counted: bool
    ) -> None:
        self._now = at.timestamp()
        self._end_calls()
        self._tried.calls += is_counted
        scopes = self._limits.scopes(key_id, user)
        if not scopes:
            return
        self._arrived += 1
        call = str(self._arrived)
        result = self._windows.acquire(scopes, slot_id=call, tokens=tokens)
        if isinstance(result, Refused):
            if is_counted:
                self._note(scopes[result.index], result, at, user)
        elif any(scope.limits.concurrency is not None for scope in scopes):
            heappush(self._running, (self._now + latency_ms / 1000, call, scopes))

    def _end_calls(self) -> None:
        while self._running and self._running[0][0] <= self._now:
            _, call, scopes = heappop(self._running)
            self._windows.settle(scopes, Change(slice=0, tokens=0, slot_id=call))

    def _note(self, scope: LimitScope, result: Refused, at: datetime, user: str) -> None:
        self._tried.refused += 1
        self._tried.limits[f"{NAMES[scope.kind]}, {result.meter}"] += 1
        self._tried.users[user] += 1
        self._tried.hours[at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)] += 1


def _requests(sample: Sample) -> Iterator[tuple[Any, ...]]:
    """The requests that a limiter counts, in their order, a few at a time."""
    sql = f"{READ.format(columns=COLUMNS)} WHERE {COUNTED} ORDER BY at"
    with transaction.atomic(), connection.chunked_cursor() as cursor:
        cursor.execute(sql, arguments_of(sample, warm_up=WARM_UP))
        while rows := cursor.fetchmany(ROWS_AT_ONCE):
            yield from rows
