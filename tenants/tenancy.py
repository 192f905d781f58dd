"""Changes of a tenant's status: pause, suspend, resume, close.

Invariant: each change is one function, one transaction and one history row with author and reason. The database
notifies every worker; a change takes effect within a second. Owners pause and resume their own tenant. Only an
operator resumes a tenant that an operator suspended.
"""

from typing import Any

from django.contrib.auth.models import AbstractBaseUser
from django.db import transaction

from tenants.models import Tenant
from tenants.people.authors import record_author
from tenants.people.rights import Right, rights_of


class TenantClosed(Exception):
    """A closed tenant stays closed, because its books are closed."""


class SuspendedByOperator(Exception):
    """Only an operator changes what an operator decided."""


def pause_tenant(tenant: Tenant, *, acting_user: AbstractBaseUser | None = None, reason: str = "") -> bool:
    """Refuse the tenant's requests until its owners resume it. False if it was paused already."""
    return _set_status(tenant, Tenant.Status.PAUSED, acting_user=acting_user, reason=reason or "paused")


def suspend_tenant(tenant: Tenant, *, acting_user: AbstractBaseUser | None = None, reason: str = "") -> bool:
    """Refuse the tenant's requests until an operator resumes it. False if it was suspended already."""
    return _set_status(tenant, Tenant.Status.SUSPENDED, acting_user=acting_user, reason=reason or "suspended")


def resume_tenant(tenant: Tenant, *, acting_user: AbstractBaseUser | None = None, reason: str = "") -> bool:
    """Serve the tenant again. False if it was active already; raises TenantClosed, SuspendedByOperator."""
    return _set_status(tenant, Tenant.Status.ACTIVE, acting_user=acting_user, reason=reason or "resumed")


def close_tenant(tenant: Tenant, *, acting_user: AbstractBaseUser | None = None, reason: str = "") -> bool:
    """Refuse the tenant's requests for good; its rows stay. False if it was closed already."""
    return _set_status(tenant, Tenant.Status.CLOSED, acting_user=acting_user, reason=reason or "closed")


@transaction.atomic
def _set_status(
    tenant: Tenant, status: Tenant.Status, *, acting_user: AbstractBaseUser | None, reason: str
) -> bool:
    # The lock keeps a resume from reopening a tenant that is being closed.
    current = Tenant.objects.select_for_update().get(pk=tenant.pk)
    tenant.status = current.status
    if current.status == status:
        return False
    if current.status == Tenant.Status.CLOSED:
        raise TenantClosed(f"tenant {tenant.slug} is closed")
    if current.status == Tenant.Status.SUSPENDED and not _is_operator(acting_user):
        raise SuspendedByOperator(f"tenant {tenant.slug} was suspended by an operator")
    tenant.status = status
    record_author(tenant, acting_user=acting_user, reason=reason)
    tenant.save(update_fields=["status"])
    return True


def _is_operator(acting_user: Any) -> bool:
    """A command has no acting user and may do what an operator may."""
    return acting_user is None or Right.PLATFORM in rights_of(acting_user).everywhere
