"""Slows down whoever guesses passwords.

Invariant: an attempt is counted before its password is looked at, and one that has to wait costs no hash. Nobody waits
longer than a counter's longest pause, and what is counted is forgotten within an hour. A browser in which somebody has
logged in before is counted by itself, so no stranger keeps them out. Counters are small and end by themselves; in Redis
they hold for all processes, without it for each.
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
# Hashing a password takes most of a second of CPU: strangers' come one after another.
STRANGERS_AT_ONCE: Final = BoundedSemaphore(1)
LONGEST_QUEUE_SECONDS: Final = 3


@dataclass(frozen=True, slots=True)
class Counter:
    """Attempts of one kind: the first `free` of an hour cost no time, then pauses double up to the longest."""

    key: str
    free: int
    longest_pause: int


def counters_of(username: str, *, address: str, device: str = "") -> tuple[Counter, ...]:
    """What an attempt counts towards. `device` names a browser that this account has logged in with before."""
    if device:
        return (Counter(_key("device", device), free=10, longest_pause=900),)
    return (
        Counter(_key("address", _neighbourhood(address)), free=20, longest_pause=900),
        Counter(_key("account", username), free=5, longest_pause=60),
    )


def take_turn(counters: tuple[Counter, ...]) -> int:
    """Count an attempt. 0 if it may be made now, else for how many seconds none may be."""
    for counter in counters:  # the address first: who has to wait there takes no turn of the account
        if pause := _with_cache(partial(_pause_of, counter)):
            return pause
    return 0


def give_back(counters: tuple[Counter, ...]) -> None:
    """The password was right: this attempt was no guess, and neither were the account's before it."""
    for counter in counters:
        _with_cache(partial(_forgive, counter))


def _forgive(counter: Counter, cache: BaseCache) -> None:
    if not counter.key.startswith("address:"):
        cache.delete_many([counter.key, _pause_key(counter)])
    elif cache.get(counter.key, 0) > 0:
        # only this one: a guesser who has an account must not clear the others by logging in
        cache.decr(counter.key)


def _pause_of(counter: Counter, cache: BaseCache) -> int:
    cache.add(counter.key, 0, timeout=REMEMBERED_SECONDS)
    try:
        attempts = cache.incr(counter.key)
    except ValueError:  # it ended in this moment
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
    """What one person may have: an IPv4 address, or a network of IPv6."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return "unknown"
    return str(int(parsed) >> 64) if isinstance(parsed, IPv6Address) else str(parsed)
