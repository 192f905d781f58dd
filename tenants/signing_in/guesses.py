"""Slows down password guessing.

Invariant: an attempt is counted before its password is checked, and an attempt that must wait costs no hash. No wait is
longer than a counter's longest pause. Counts expire within an hour. A browser in which the account has logged in before
has its own counter: other people's attempts cannot lock its user out. Counters are shared by all processes in Redis;
without Redis each process has its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv6Address, ip_address
from threading import BoundedSemaphore
from typing import Final, TypeVar

from django.core.cache import BaseCache, caches
from django.utils.crypto import salted_hmac
from redis.exceptions import RedisError

T = TypeVar("T")

REMEMBERED_SECONDS: Final = 3600
# Hashing a password takes most of a second of CPU: attempts from unknown browsers are checked one at a time.
STRANGERS_AT_ONCE: Final = BoundedSemaphore(1)
LONGEST_QUEUE_SECONDS: Final = 3


@dataclass(frozen=True, slots=True)
class Counter:
    """Attempts of one kind: the first `free` ones of an hour have no pause, then pauses double up to the longest."""

    key: str
    free: int
    longest_pause: int


def counters_of(username: str, *, address: str, device: str = "") -> tuple[Counter, ...]:
    """The counters of an attempt. `device` names a browser in which this account has logged in before."""
    if device:
        return (Counter(_key("device", device), free=10, longest_pause=900),)
    return (
        Counter(_key("address", _neighbourhood(address)), free=20, longest_pause=900),
        Counter(_key("account", username), free=5, longest_pause=60),
    )


def take_turn(counters: tuple[Counter, ...]) -> int:
    """Count an attempt. Returns 0 if it may be made now, otherwise the seconds to wait."""
    for counter in counters:  # the address first: an attempt that waits there does not count for the account
        if pause := _with_cache(partial(_pause_of, counter)):
            return pause
    return 0


def give_back(counters: tuple[Counter, ...]) -> None:
    """The password was right: do not count this attempt, nor the account's earlier ones."""
    for counter in counters:
        _with_cache(partial(_forgive, counter))


def _forgive(counter: Counter, cache: BaseCache) -> None:
    if not counter.key.startswith("address:"):
        cache.delete_many([counter.key, _pause_key(counter)])
    elif cache.get(counter.key, 0) > 0:
        # only this attempt: a guesser with an account must not clear the address's count by logging in
        cache.decr(counter.key)


def _pause_of(counter: Counter, cache: BaseCache) -> int:
    cache.add(counter.key, 0, timeout=REMEMBERED_SECONDS)
    try:
        attempts = cache.incr(counter.key)
    except ValueError:  # it has just expired
        attempts = 1
    if attempts <= counter.free:
        return 0
    pause = min(2 ** min(attempts - counter.free, 20), counter.longest_pause)
    return 0 if cache.add(_pause_key(counter), 1, timeout=pause) else pause


def _with_cache(act: Callable[[BaseCache], T]) -> T:
    try:
        return act(caches["logins"])
    except RedisError:
        return act(caches["default"])


def _key(kind: str, name: str) -> str:
    return f"{kind}:{salted_hmac('tenants.guesses', name).hexdigest()}"


def _pause_key(counter: Counter) -> str:
    return f"pause:{counter.key}"


def _neighbourhood(address: str) -> str:
    """The addresses of one person: an IPv4 address, or an IPv6 /64 network."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return "unknown"
    return str(int(parsed) >> 64) if isinstance(parsed, IPv6Address) else str(parsed)
