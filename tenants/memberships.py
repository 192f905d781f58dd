"""Who belongs to a tenant: roles and user ids of its people, changed and ended.

Invariant: a tenant that has an owner keeps one; two changes at one time cannot take the last. What changed counts from the
person's next page on.
"""

from django.contrib.auth.models import AbstractBaseUser
from django.core.exceptions import ValidationError
from django.db import transaction

from tenants.models import Membership, Tenant
from tenants.people.authors import record_author

OWNER = Membership.Role.OWNER


@transaction.atomic
def change_membership(
    membership: Membership, *, role: str, person: str, acting_user: AbstractBaseUser | None = None
) -> Membership:
    """Give a person another role or user id. Raises ValidationError, also for the last owner."""
    current = _locked(membership)
    if current.role == OWNER and role != OWNER:
        _require_another_owner(current)
    current.role, current.person = role, person
    current.full_clean()
    record_author(current, acting_user=acting_user, reason=f"{role}, user {person or 'none'}")
    current.save()
    return current


@transaction.atomic
def end_membership(membership: Membership, *, acting_user: AbstractBaseUser | None = None) -> None:
    """Take a person out of the tenant; their keys stay. Raises ValidationError for the last owner."""
    current = _locked(membership)
    if current.role == OWNER:
        _require_another_owner(current)
    record_author(current, acting_user=acting_user, reason="taken out")
    current.delete()


def _locked(membership: Membership) -> Membership:
    # one change of a tenant's people at a time, so that two owners cannot take each other out
    Tenant.objects.select_for_update(no_key=True).get(pk=membership.tenant_id)
    return Membership.objects.select_for_update().get(pk=membership.pk, tenant=membership.tenant_id)


def _require_another_owner(membership: Membership) -> None:
    owners = Membership.objects.filter(tenant=membership.tenant_id, role=OWNER, user__is_active=True)
    if not owners.exclude(pk=membership.pk).exists():
        raise ValidationError("A tenant keeps an owner: make somebody else one first.")
