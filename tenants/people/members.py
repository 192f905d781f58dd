"""Changes of a tenant's members.

Invariant: a tenant that has an owner keeps one. A change is one transaction with its entry in the audit log.
"""

from typing import Any

from django.db import transaction

from tenants.models import Membership, Tenant
from tenants.people.authors import record_author


class LastOwner(Exception):
    """Somebody must be able to look after the tenant."""

    def __init__(self) -> None:
        super().__init__("This is the last owner: make somebody else one first.")


@transaction.atomic
def set_role(membership: Membership, *, role: str, person: str | None = None, acting_user: Any) -> Membership:
    """Give a member another role, or another user id (`person`). Raises LastOwner."""
    current = _locked(membership)
    if role != Membership.Role.OWNER:
        _require_another_owner(current)
    current.role = Membership.Role(role)
    current.person = current.person if person is None else person
    record_author(current, acting_user=acting_user, reason="")
    current.save()
    return current


@transaction.atomic
def remove(membership: Membership, *, acting_user: Any) -> None:
    """Take a person out of a tenant. Raises LastOwner."""
    current = _locked(membership)
    _require_another_owner(current)
    record_author(current, acting_user=acting_user, reason="")
    current.delete()


def _locked(membership: Membership) -> Membership:
    # the members of a tenant change one after the other: two owners must not remove each other at once
    Tenant.objects.select_for_update().get(pk=membership.tenant_id)
    return Membership.objects.get(pk=membership.pk, tenant=membership.tenant_id)


def _require_another_owner(membership: Membership) -> None:
    owners = Membership.objects.filter(tenant=membership.tenant_id, role=Membership.Role.OWNER)
    if membership.role == Membership.Role.OWNER and not owners.exclude(pk=membership.pk).exists():
        raise LastOwner
