"""The site's cache: in Redis for all processes, and without Redis in each process' own memory.

Invariant: it holds counts and short-lived marks that may be lost; a cache that fails never fails a page.
"""

from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache
from redis.exceptions import RedisError


class SharedCache(BaseCache):
    """Django's cache in Redis, with a stand-in."""

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)
        self._shared = RedisCache(location, params)
        self._own = LocMemCache("site", params)

    def add(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> bool:
        return bool(self._ask("add", key, value, timeout=timeout, version=version))

    def get(self, key: Any, default: Any = None, version: Any = None) -> Any:
        return self._ask("get", key, default, version=version)

    def set(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> None:
        self._ask("set", key, value, timeout=timeout, version=version)

    def touch(self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> bool:
        return bool(self._ask("touch", key, timeout=timeout, version=version))

    def incr(self, key: Any, delta: int = 1, version: Any = None) -> int:
        return int(self._ask("incr", key, delta, version=version))

    def delete(self, key: Any, version: Any = None) -> bool:
        return bool(self._ask("delete", key, version=version))

    def clear(self) -> None:
        self._ask("clear")
        self._own.clear()

    def _ask(self, verb: str, *arguments: Any, **options: Any) -> Any:
        try:
            return getattr(self._shared, verb)(*arguments, **options)
        except RedisError:
            return getattr(self._own, verb)(*arguments, **options)
