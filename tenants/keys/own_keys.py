"""Keys that people make for themselves, within what their tenant's policy allows (`self_service`).

Invariant: such a key belongs to its person, whatever user a call names; it ends, and it has no model and no rate beyond the
policy's. Two requests at one time make no key more than the policy allows.
"""

from collections.abc import Sequence
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Any, Final

from django.contrib.auth.models import AbstractBaseUser
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils.timezone import now

from tenants.keys.editing import issue_key
from tenants.models import ApiKey, Tenant
from tenants.policy import RateLimits, SelfService, parse_policy

LONGEST_LABEL: Final = 40
MOST_A_DAY: Final = 20  # of one person, revoked ones too: their rows stay
LONGEST_OWNER: Final = 55  # characters of the person's id in a key's name


def self_service_of(tenant: Tenant) -> SelfService:
    """What the tenant's policy lets its members do."""
    return parse_policy(tenant.policy).self_service


def own_keys(tenant: Tenant, person: str) -> QuerySet[ApiKey]:
    """The keys of one person of a tenant; none of nobody's."""
    keys = ApiKey.objects.filter(tenant=tenant)
    return keys.filter(user=person) if person else keys.none()


def live(keys: QuerySet[ApiKey]) -> QuerySet[ApiKey]:
    """Those that are neither revoked nor expired."""
    return keys.filter(Q(expires_at=None) | Q(expires_at__gt=now()), revoked_at=None)


def may_use(models: Sequence[str], name: str) -> bool:
    """Whether a list of models and globs has a name."""
    return any(fnmatchcase(name, allowed) for allowed in models)


@transaction.atomic
def issue_own_key(
    tenant: Tenant,
    *,
    person: str,
    label: str,
    days: int,
    models: Sequence[str] = (),
    acting_user: AbstractBaseUser,
) -> tuple[ApiKey, str]:
    """Make a key for a person and return it with its clear text. No `models`: all that the policy allows.

    Raises ValidationError for what the policy does not allow, or a name that is in use.
    """
    # one at a time, so that the count below stays true
    tenant = Tenant.objects.select_for_update(no_key=True).get(pk=tenant.pk)
    allowed = self_service_of(tenant)
    if not person:
        raise ValidationError("You have no user id in this tenant yet: an owner gives you one.")
    if tenant.status == Tenant.Status.CLOSED:
        raise ValidationError("The tenant is closed.")
    if live(own_keys(tenant, person)).count() >= allowed.keys:
        raise ValidationError(
            f"You have {allowed.keys} keys, the most that each person may have. Revoke one first."
        )
    if own_keys(tenant, person).filter(created_at__gt=now() - timedelta(days=1)).count() >= MOST_A_DAY:
        raise ValidationError(f"You made {MOST_A_DAY} keys within a day: try again tomorrow.")
    if not 1 <= days <= allowed.key_days:
        raise ValidationError({"days": f"from 1 to {allowed.key_days:,} days"})
    if wrong := [
        name for name in models if name not in allowed.key_models and not may_use(allowed.key_models, name)
    ]:
        raise ValidationError({"models": f"{wrong[0]} is not among the models that keys of people may use"})
    return issue_key(
        tenant,
        name=f"{person[:LONGEST_OWNER]}/{label}",
        models=models or allowed.key_models,
        rate_limits=as_json(allowed.key_rate_limits),
        user=person,
        expires_at=now() + timedelta(days=days),
        acting_user=acting_user,
    )


def as_json(limits: RateLimits) -> dict[str, Any]:
    """Rate limits as a key's column has them."""
    limited = {"rpm": limits.rpm, "tpm": limits.tpm, "concurrency": limits.concurrency}
    return {name: value for name, value in limited.items() if value is not None}
