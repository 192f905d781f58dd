"""Snapshots of tenants in process memory: what a request needs to know about its tenant.

Invariant: a snapshot is built whole, never edited, and dropped when the feed reports a change of the tenant. One
build runs per tenant at a time, in a thread, because it uses the ORM. A build that began before a change goes to the
requests that waited for it, and is not kept.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network, ip_network
from types import MappingProxyType
from typing import Generic, TypeVar

from django.db import close_old_connections
from django.db.models import Q

from config import resources
from tenants.allocation import COST_CENTER, Tags, no_tags
from tenants.models import ApiKey, EndUser, Tenant
from tenants.policy import Policy, RateLimits, parse_policy, parse_rate_limits
from tenants.principal import ModelGlobs
from tenants.snapshots.feed import EVERYTHING, ConfigFeed, config_feed

T = TypeVar("T")

# Few threads: a burst of uncached tenants must not open a burst of connections.
_builders = ThreadPoolExecutor(max_workers=2, thread_name_prefix="snapshot")


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """One API key. Revoked and expired keys are included: their owners get a specific error."""

    id: int
    name: str
    public_id: str
    secret_hash: bytes
    previous_secret_hash: bytes | None
    previous_expires_at: datetime | None
    models: ModelGlobs
    networks: tuple[IPv4Network | IPv6Network, ...]
    rate_limits: RateLimits
    user: str
    expires_at: datetime | None
    revoked_at: datetime | None
    tags: Tags = field(default_factory=no_tags)
    rights: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class UserFacts:
    """What is known about an end user besides the name."""

    cost_center: str
    is_active: bool
    team: str = ""
    tags: Tags = field(default_factory=no_tags)  # the cost centre among them


@dataclass(frozen=True, slots=True)
class TenantFacts:
    """A tenant as the pipeline sees it.

    `keys` is by public id. `users` is by external id: all declared users if only these are served, otherwise only those
    that have a cost centre, a team or tags, or are inactive.
    """

    id: int
    slug: str
    name: str
    timezone: str
    status: str
    policy: Policy
    rate_limits: RateLimits
    keys: Mapping[str, KeyFacts]
    users: Mapping[str, UserFacts]

    @property
    def tenant(self) -> "TenantFacts":
        """Itself: `identify` accepts a cache of these facts as well as a cache of whole snapshots."""
        return self


class TenantNotFound(LookupError):
    """There is no tenant with this id (any more)."""


def load_tenant_facts(tenant_id: int) -> TenantFacts:
    """Read one tenant with the ORM: three queries. Raises TenantNotFound."""
    try:
        tenant = Tenant.objects.get(pk=tenant_id)
    except Tenant.DoesNotExist:
        raise TenantNotFound(f"no tenant {tenant_id}") from None
    policy = parse_policy(tenant.policy)
    known_users = EndUser.objects.filter(tenant_id=tenant_id)
    if policy.users.unknown == "invent":
        known_users = known_users.filter(~Q(cost_center="", team="", tags={}) | Q(is_active=False))
    return TenantFacts(
        id=tenant.pk,
        slug=tenant.slug,
        name=tenant.name,
        timezone=tenant.timezone,
        status=tenant.status,
        policy=policy,
        rate_limits=parse_rate_limits(tenant.rate_limits),
        keys=MappingProxyType(
            {key.public_id: _key_facts(key) for key in ApiKey.objects.filter(tenant_id=tenant_id)}
        ),
        users=MappingProxyType(
            {
                external_id: _user_facts(*facts)
                for external_id, *facts in known_users.values_list(
                    "external_id", "cost_center", "is_active", "team", "tags"
                )
            }
        ),
    )


@dataclass(slots=True)
class _Entry(Generic[T]):
    value: T
    built_at: float


class SnapshotCache(Generic[T]):
    """Values by tenant id, built on demand by `build(tenant_id)` in a thread.

    An entry lives `ttl_seconds` while the feed listens, otherwise one second. At most `max_entries` are kept (LRU).
    """

    def __init__(
        self,
        build: Callable[[int], T],
        *,
        feed: ConfigFeed = config_feed,
        ttl_seconds: float = 30.0,
        fallback_ttl_seconds: float = 1.0,
        max_entries: int = 10_000,
    ) -> None:
        self._build = build
        self._feed = feed
        self._ttl_seconds = ttl_seconds
        self._fallback_ttl_seconds = fallback_ttl_seconds
        self._max_entries = max_entries
        self._entries: OrderedDict[int, _Entry[T]] = OrderedDict()
        self._building: dict[int, asyncio.Task[T]] = {}
        feed.subscribe(self.drop)

    async def get(self, tenant_id: int) -> T:
        """The tenant's value, from memory or built. Raises what `build` raises."""
        if (value := self.current(tenant_id)) is not None:
            return value
        task = self._building.get(tenant_id)
        if task is None:
            task = self._building[tenant_id] = asyncio.create_task(self._build_and_keep(tenant_id))
            task.add_done_callback(_retrieve)
        # Shielded: a cancelled caller must not cancel the build for the others.
        return await asyncio.shield(task)

    def current(self, tenant_id: int) -> T | None:
        """The tenant's value if it is in memory and not too old, else None; never builds."""
        entry = self._entries.get(tenant_id)
        if entry is None or time.monotonic() - entry.built_at >= self._lifetime():
            return None
        self._entries.move_to_end(tenant_id)
        return entry.value

    def known(self, tenant_id: int) -> T | None:
        """The tenant's value from memory, or None; never builds."""
        entry = self._entries.get(tenant_id)
        return entry.value if entry else None

    def drop(self, payload: str) -> None:
        """Drop a tenant (its id as text) or everything (`*`), including builds in progress."""
        if payload == EVERYTHING:
            self._entries.clear()
            self._building.clear()
        elif payload.isdigit():
            self._entries.pop(int(payload), None)
            self._building.pop(int(payload), None)

    def __len__(self) -> int:
        return len(self._entries)

    def _lifetime(self) -> float:
        return self._ttl_seconds if self._feed.is_listening else self._fallback_ttl_seconds

    async def _build_and_keep(self, tenant_id: int) -> T:
        task = asyncio.current_task()
        began_at = time.monotonic()
        try:
            await resources.db.ensure_reachable()
            value = await asyncio.get_running_loop().run_in_executor(
                _builders, self._build_in_thread, tenant_id
            )
        except BaseException:
            if self._building.get(tenant_id) is task:
                del self._building[tenant_id]
            raise
        if self._building.get(tenant_id) is task:  # otherwise the tenant changed meanwhile
            del self._building[tenant_id]
            self._entries[tenant_id] = _Entry(value, began_at)
            self._entries.move_to_end(tenant_id)
            while len(self._entries) > self._max_entries:
                self._entries.popitem(last=False)
        return value

    def _build_in_thread(self, tenant_id: int) -> T:
        close_old_connections()
        try:
            return self._build(tenant_id)
        finally:
            close_old_connections()


def _retrieve(task: "asyncio.Task[T]") -> None:
    # When every waiter was cancelled, no other code reads the exception, and asyncio would log a warning.
    if not task.cancelled():
        task.exception()


def _key_facts(key: ApiKey) -> KeyFacts:
    return KeyFacts(
        id=key.pk,
        name=key.name,
        public_id=key.public_id,
        secret_hash=bytes(key.secret_hash),
        previous_secret_hash=None if key.previous_secret_hash is None else bytes(key.previous_secret_hash),
        previous_expires_at=key.previous_expires_at,
        models=ModelGlobs(tuple(key.models)),
        networks=tuple(ip_network(network, strict=False) for network in key.ip_allow_list),
        rate_limits=parse_rate_limits(key.rate_limits),
        user=key.user,
        expires_at=key.expires_at,
        revoked_at=key.revoked_at,
        tags=key.tags,
        rights=frozenset(key.rights),
    )


def _user_facts(cost_center: str, is_active: bool, team: str, tags: dict[str, str]) -> UserFacts:
    named = {COST_CENTER: cost_center} if cost_center else {}
    return UserFacts(cost_center, is_active, team, tags | named)
