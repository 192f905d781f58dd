"""Authenticates a request: from its API key to its principal.

Invariant: an error reveals no more than the caller has proved. Only a caller with the right secret gets "revoked",
"expired", "tenant suspended" or "address not allowed"; all others get "not valid". Expiry is checked against the clock
at every request, so that it needs no notification.
"""

import time
from collections import OrderedDict
from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Protocol, TypeVar

from config import resources
from tenants.errors import (
    ClientError,
    ExpiredApiKey,
    InvalidApiKey,
    IpNotAllowed,
    RevokedApiKey,
    TenantSuspended,
)
from tenants.keys import strings as keys
from tenants.principal import Principal
from tenants.snapshots.feed import ConfigFeed, config_feed
from tenants.snapshots.store import KeyFacts, SnapshotCache, TenantFacts, TenantNotFound

TENANT_OF_KEY = "SELECT tenants_tenant_of_key(%s)"
_LONGEST_KEY = 512


class HasTenant(Protocol):
    """A snapshot that holds the tenant's facts."""

    @property
    def tenant(self) -> TenantFacts: ...


Snapshot = TypeVar("Snapshot", bound=HasTenant)


class KeyDirectory:
    """The tenant of each public id, in memory.

    A public id never changes its tenant, so a known id stays. It proves nothing: the tenant's snapshot decides. Unknown
    ids are kept for seconds, and only a bounded number of them. Thus neither a client with a wrong key nor an attacker
    with many keys costs a query each time or unbounded memory.
    """

    def __init__(
        self, *, feed: ConfigFeed = config_feed, max_known: int = 100_000, max_unknown: int = 10_000
    ) -> None:
        self._feed = feed
        self._max_known, self._max_unknown = max_known, max_unknown
        self._known: OrderedDict[str, int] = OrderedDict()
        self._unknown: OrderedDict[str, float] = OrderedDict()
        self._changes_seen = 0
        feed.subscribe(self._on_change)

    @property
    def unknown_count(self) -> int:
        """How many ids that nobody issued are remembered."""
        return len(self._unknown)

    async def tenant_of(self, public_id: str) -> int:
        """The tenant's id. Raises InvalidApiKey if there is no such key."""
        if (tenant_id := self._known.get(public_id)) is not None:
            return tenant_id
        if time.monotonic() < self._unknown.get(public_id, 0.0):
            raise invalid_key()
        changes_seen = self._changes_seen
        async with resources.db.connection() as connection:
            row = await (await connection.execute(TENANT_OF_KEY, (public_id,))).fetchone()
        if row is None or row[0] is None:
            if changes_seen == self._changes_seen:  # otherwise it may have been issued meanwhile
                self._unknown[public_id] = time.monotonic() + (5.0 if self._feed.is_listening else 1.0)
                _trim(self._unknown, self._max_unknown)
            raise invalid_key()
        self._known[public_id] = row[0]
        _trim(self._known, self._max_known)
        return int(row[0])

    def known(self, public_id: str) -> int | None:
        """The tenant's id, if it is in memory."""
        return self._known.get(public_id)

    def forget(self, public_id: str) -> None:
        """Drop an id that its tenant no longer has."""
        self._known.pop(public_id, None)

    def _on_change(self, payload: str) -> None:
        self._changes_seen += 1
        self._unknown.clear()  # the change may have been a new key


directory = KeyDirectory()


def credentials_of(headers: Mapping[str, str]) -> str:
    """The clear key of a request, or ''.

    Everything after `Bearer ` is the key, including spaces. Without an Authorization of that scheme it is `x-api-key`,
    or Azure's `api-key`. The look-up in `headers` must ignore case.
    """
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and credentials.strip():
        return credentials.strip()
    return (headers.get("x-api-key", "") or headers.get("api-key", "")).strip()


async def identify(
    clear_key: str,
    *,
    client_ip: str,
    snapshots: SnapshotCache[Snapshot],
    directory: KeyDirectory = directory,
    at: datetime | None = None,
) -> tuple[Principal, Snapshot]:
    """The principal of a key, and the tenant's snapshot for the rest of the request.

    Needs no I/O when this process knows the key. Raises InvalidApiKey, RevokedApiKey, ExpiredApiKey (401),
    TenantSuspended, IpNotAllowed (403).
    """
    if not clear_key:
        raise InvalidApiKey("No API key: send one as 'Authorization: Bearer ...' or 'x-api-key: ...'.")
    if len(clear_key) > _LONGEST_KEY:
        raise invalid_key()
    public_id = keys.public_id_of(clear_key)
    try:
        snapshot = await snapshots.get(await directory.tenant_of(public_id))
    except TenantNotFound:
        directory.forget(public_id)
        raise invalid_key() from None
    tenant = snapshot.tenant
    key = tenant.keys.get(public_id)
    if key is None:
        directory.forget(public_id)
        raise invalid_key()
    try:
        check_key(key, clear_key=clear_key, tenant=tenant, client_ip=client_ip, at=at or datetime.now(UTC))
    except InvalidApiKey:
        raise  # the caller does not know the secret: the error must not name tenant or key
    except ClientError as error:
        error.tenant_id, error.key_id = tenant.id, key.id
        raise
    return _principal(tenant, key), snapshot


def recall(
    clear_key: str,
    *,
    client_ip: str,
    snapshots: SnapshotCache[Snapshot],
    directory: KeyDirectory = directory,
) -> tuple[Principal, Snapshot] | None:
    """The same from memory only; None for a key that is unknown or not accepted."""
    public_id = keys.public_id_of(clear_key) if 0 < len(clear_key) <= _LONGEST_KEY else ""
    tenant_id = directory.known(public_id)
    snapshot = None if tenant_id is None else snapshots.known(tenant_id)
    key = snapshot.tenant.keys.get(public_id) if snapshot else None
    if snapshot is None or key is None:
        return None
    try:
        check_key(key, clear_key=clear_key, tenant=snapshot.tenant, client_ip=client_ip, at=datetime.now(UTC))
    except ClientError:
        return None
    return _principal(snapshot.tenant, key), snapshot


def check_key(key: KeyFacts, *, clear_key: str, tenant: TenantFacts, client_ip: str, at: datetime) -> None:
    """Raise the error that prevents the use of this key, if there is one. Pure."""
    facts = {"key": key.name, "key_id": key.public_id}
    if not keys.matches(clear_key, key.secret_hash):
        if key.previous_secret_hash is None or not keys.matches(clear_key, key.previous_secret_hash):
            raise invalid_key()
        if key.previous_expires_at is None or at >= key.previous_expires_at:
            raise ExpiredApiKey(
                "This API key was rotated and its former secret has ended; use the new one.",
                facts={**facts, "expired_at": key.previous_expires_at},
            )
    if key.revoked_at is not None:
        raise RevokedApiKey(
            f"The API key '{key.name}' was revoked.", facts={**facts, "revoked_at": key.revoked_at}
        )
    if key.expires_at is not None and at >= key.expires_at:
        raise ExpiredApiKey(
            f"The API key '{key.name}' expired on {key.expires_at:%Y-%m-%d %H:%M} UTC.",
            facts={**facts, "expired_at": key.expires_at},
        )
    if tenant.status != "active":
        raise TenantSuspended(
            f"The tenant '{tenant.slug}' is {tenant.status}.", facts={**facts, "tenant_status": tenant.status}
        )
    if key.networks and not _is_inside(client_ip, key):
        raise IpNotAllowed(
            f"The API key '{key.name}' may not be used from {client_ip or 'an unknown address'}.",
            facts={**facts, "address": client_ip, "allowed": [str(network) for network in key.networks]},
        )


def invalid_key() -> InvalidApiKey:
    """The same error for every key that is not valid."""
    return InvalidApiKey("The API key is not valid.")


def _principal(tenant: TenantFacts, key: KeyFacts) -> Principal:
    return Principal(
        tenant_id=tenant.id,
        tenant_slug=tenant.slug,
        key_id=key.id,
        key_name=key.name,
        key_public_id=key.public_id,
        user=key.user,
        tags=key.tags,
        rights=key.rights,
        models=key.models,
        tenant_limits=tenant.rate_limits,
        key_limits=key.rate_limits,
        user_limits=tenant.policy.user_rate_limits,
    )


def _is_inside(client_ip: str, key: KeyFacts) -> bool:
    try:
        address = ip_address(client_ip.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)  # ::ffff:10.0.0.1 is 10.0.0.1
    return any((mapped or address) in network for network in key.networks)


def _trim(entries: "OrderedDict[str, int] | OrderedDict[str, float]", limit: int) -> None:
    while len(entries) > limit:
        entries.popitem(last=False)
