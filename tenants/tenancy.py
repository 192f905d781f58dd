"""Changing whether a tenant is served.

Invariant: a write is one verb, one transaction and one history row that says who and why; the database
tells every worker, so that it counts within a second. Owners pause and resume their own tenant; what an operator
suspended, an operator resumes.
"""

from typing import Any

from django.contrib.auth.models import AbstractBaseUser
from django.db import transaction

from tenants.models import Tenant


class TenantClosed(Exception):
    """A closed tenant stays closed: its books are."""


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
    """Nobody is named where a command of the machine acts."""
    return acting_user is None or bool(acting_user.is_superuser)


def record_author(row: object, *, acting_user: AbstractBaseUser | None, reason: str) -> None:
    """Have the row's next history entry name who changed it and why."""
    row._history_user = acting_user  # type: ignore[attr-defined]
    row._change_reason = reason[:100]  # type: ignore[attr-defined]
