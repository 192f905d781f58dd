"""Changing a tenant's policy: one check, one transaction, one history row, whether it came as a form or as JSON.

Invariant: nobody overwrites what somebody else changed meanwhile, and only operators change the platform's parts.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from django.contrib.auth.models import AbstractBaseUser
from django.core.exceptions import ValidationError
from django.db import transaction

from tenants.models import Tenant
from tenants.people.authors import record_author
from tenants.policy import PLATFORM_POLICY
from tenants.validation import validate_policy


class ChangedMeanwhile(Exception):
    """Somebody else changed the policy since it was read."""


def digest_of(policy: Mapping[str, Any] | None) -> str:
    """A short name of exactly this policy."""
    return sha256(json.dumps(policy or {}, sort_keys=True).encode()).hexdigest()[:32]


def check_change(stored: Mapping[str, Any] | None, wanted: Any, *, is_operator: bool) -> None:
    """Raise ValidationError if the policy is wrong, or a part changes that is the platform's."""
    if not isinstance(wanted, dict):
        raise ValidationError("policy: must be an object")
    validate_policy(wanted)
    stored = stored or {}
    parts = [name for name in PLATFORM_POLICY if wanted.get(name) != stored.get(name)]
    if parts and not is_operator:
        raise ValidationError(f"Set by operators only: {', '.join(parts)}.")


@transaction.atomic
def set_policy(
    tenant: Tenant,
    policy: dict[str, Any],
    *,
    read: str,
    is_operator: bool,
    acting_user: AbstractBaseUser | None = None,
    reason: str = "",
) -> bool:
    """Store a policy; False if it is the same. `read` is the `digest_of` the one that the change was made from.

    Raises ValidationError and ChangedMeanwhile.
    """
    current = Tenant.objects.select_for_update().get(pk=tenant.pk)
    check_change(current.policy, policy, is_operator=is_operator)
    if digest_of(current.policy) != read:
        raise ChangedMeanwhile("Somebody else changed this policy meanwhile. Look at it again.")
    if current.policy == policy:
        return False
    current.policy = tenant.policy = policy
    record_author(current, acting_user=acting_user, reason=reason or "policy")
    current.save(update_fields=["policy"])
    return True
