"""The life of an API key: issue, rotate, expire, revoke.

Invariant: a clear key leaves this module only once, as the return value of the function that made it, and is never
stored. Each change is one transaction and one history row with author and reason. The tables' triggers notify every
worker; a change takes effect within a second.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib.auth.models import AbstractBaseUser
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.timezone import now

from tenants.keys import strings as keys
from tenants.models import ApiKey, Tenant
from tenants.people.authors import record_author
from tenants.policy import parse_policy

DEFAULT_GRACE = timedelta(hours=24)
SHORTEST_GIVEN_SECRET = 32  # one round of SHA-256 is enough for 128 bits, which a short one never has
FEWEST_CHARACTERS = 8  # different ones
MOST_ROTATIONS = 20  # of a key on one day (UTC): each stays in its history, and every worker hears of it


class KeyRevoked(Exception):
    """A revoked key stays revoked."""


class TooManyRotations(Exception):
    """The key had as many new secrets today as a key may have."""


@transaction.atomic
def issue_key(
    tenant: Tenant,
    *,
    name: str,
    models: Sequence[str] = ("*",),
    ip_allow_list: Sequence[str] = (),
    rate_limits: dict[str, Any] | None = None,
    user: str = "",
    tags: Mapping[str, str] | None = None,
    rights: Sequence[str] = (),
    expires_at: datetime | None = None,
    secret: str | None = None,
    acting_user: AbstractBaseUser | None = None,
) -> tuple[ApiKey, str]:
    """Make a key and return it with its clear text, the only time it is visible.

    `secret` is an existing key (from a configuration file); without it a new one is made. Raises ValidationError for
    bad arguments, a short secret, or a name or secret that is in use.
    """
    clear = _given(secret) if secret is not None else keys.mint().clear
    key = ApiKey(
        tenant=tenant,
        name=name,
        public_id=keys.public_id_of(clear),
        secret_hash=keys.hash_secret(clear),
        models=list(models),
        ip_allow_list=list(ip_allow_list),
        rate_limits=dict(rate_limits or {}),
        user=user,
        tags=dict(tags or {}),
        rights=list(rights),
        expires_at=expires_at,
    )
    key.full_clean()
    most = parse_policy(tenant.policy).quotas.keys
    if ApiKey.objects.filter(tenant=tenant, revoked_at=None).count() >= most:
        raise ValidationError(f"the tenant has {most} keys, the most it may have")
    record_author(key, acting_user=acting_user, reason="issued")
    key.save()
    return key, clear


@transaction.atomic
def rotate_key(
    key: ApiKey,
    *,
    grace: timedelta = DEFAULT_GRACE,
    at: datetime | None = None,
    acting_user: AbstractBaseUser | None = None,
) -> str:
    """Give the key a new secret and return it in clear. The former secret stays valid during the grace period.

    A rotation during a grace period ends the oldest secret immediately: at most two are valid. Raises KeyRevoked, and
    TooManyRotations.
    """
    current, at = _locked(key), at or now()
    current.rotations = _rotations_on(current, at) + 1
    if current.rotations > MOST_ROTATIONS:
        raise TooManyRotations(
            f"{current.name} got {MOST_ROTATIONS} new secrets today, the most that a key may get on one day (UTC). "
            "If its secret has leaked, revoke it and make another key."
        )
    minted = keys.mint(current.public_id)
    current.rotated_at = at
    current.previous_secret_hash = current.secret_hash
    current.previous_expires_at = at + grace
    current.secret_hash = minted.secret_hash
    _save(
        current,
        ["secret_hash", "previous_secret_hash", "previous_expires_at", "rotated_at", "rotations"],
        acting_user=acting_user,
        reason=f"rotated, former secret good until {current.previous_expires_at:%Y-%m-%d %H:%M:%S} UTC",
    )
    key.refresh_from_db()
    return minted.clear


@transaction.atomic
def set_rights(key: ApiKey, *, rights: Sequence[str], acting_user: AbstractBaseUser | None = None) -> bool:
    """Give a key these rights beyond calls, and no other. False if it has them. Raises KeyRevoked, ValidationError."""
    current = _locked(key)
    if current.rights == list(rights):
        return False
    current.rights = list(rights)
    current.clean_fields(exclude=["tenant", "secret_hash", "previous_secret_hash"])
    _save(
        current, ["rights"], acting_user=acting_user, reason=f"rights: {', '.join(current.rights) or 'none'}"
    )
    key.refresh_from_db()
    return True


@transaction.atomic
def replace_secret(key: ApiKey, *, secret: str, acting_user: AbstractBaseUser | None = None) -> bool:
    """Give the key this secret, immediately and without a grace period. False if it has it already."""
    current = _locked(key)
    clear = _given(secret)
    if keys.matches(clear, bytes(current.secret_hash)):
        return False
    current.public_id = keys.public_id_of(clear)
    current.secret_hash = keys.hash_secret(clear)
    current.previous_secret_hash = current.previous_expires_at = None
    current.full_clean(exclude=["tenant"])
    _save(
        current,
        ["public_id", "secret_hash", "previous_secret_hash", "previous_expires_at"],
        acting_user=acting_user,
        reason="secret replaced",
    )
    key.refresh_from_db()
    return True


@transaction.atomic
def end_grace(key: ApiKey, *, acting_user: AbstractBaseUser | None = None) -> bool:
    """End the former secret of a rotation now. False if there was none."""
    current = _locked(key)
    if current.previous_secret_hash is None:
        return False
    current.previous_secret_hash = current.previous_expires_at = None
    _save(
        current,
        ["previous_secret_hash", "previous_expires_at"],
        acting_user=acting_user,
        reason="former secret ended",
    )
    key.refresh_from_db()
    return True


@transaction.atomic
def expire_key(key: ApiKey, *, at: datetime | None, acting_user: AbstractBaseUser | None = None) -> None:
    """Set when the key expires; None for never."""
    current = _locked(key)
    current.expires_at = at
    reason = f"expires {at:%Y-%m-%d %H:%M:%S %Z}" if at else "expires never"
    _save(current, ["expires_at"], acting_user=acting_user, reason=reason)
    key.refresh_from_db()


@transaction.atomic
def revoke_key(key: ApiKey, *, reason: str = "", acting_user: AbstractBaseUser | None = None) -> bool:
    """Refuse the key from now on, permanently. False if it was revoked already."""
    current = ApiKey.objects.select_for_update().get(pk=key.pk)
    if current.revoked_at is None:
        current.revoked_at = now()
        _save(current, ["revoked_at"], acting_user=acting_user, reason=reason or "revoked")
        changed = True
    else:
        changed = False
    key.refresh_from_db()
    return changed


def _rotations_on(key: ApiKey, at: datetime) -> int:
    """How often the key was rotated on the day of a moment, in UTC."""
    is_today = (
        key.rotated_at is not None and key.rotated_at.astimezone(UTC).date() == at.astimezone(UTC).date()
    )
    return key.rotations if is_today else 0


def _given(secret: str) -> str:
    clear = secret.strip()
    if len(clear) < SHORTEST_GIVEN_SECRET:
        raise ValidationError({"secret": f"must have at least {SHORTEST_GIVEN_SECRET} characters"})
    if len(set(clear)) < FEWEST_CHARACTERS:
        raise ValidationError({"secret": f"must have at least {FEWEST_CHARACTERS} different characters"})
    return clear


def _locked(key: ApiKey) -> ApiKey:
    # The lock serialises simultaneous rotations: none overwrites the other's secret.
    current = ApiKey.objects.select_for_update().get(pk=key.pk)
    if current.revoked_at is not None:
        raise KeyRevoked(f"key {current} is revoked")
    return current


def _save(key: ApiKey, fields: list[str], *, acting_user: AbstractBaseUser | None, reason: str) -> None:
    record_author(key, acting_user=acting_user, reason=reason)
    key.save(update_fields=fields)
