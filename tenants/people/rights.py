"""Who may do what: one table, from roles to rights.

Invariant: the admin, the portal and the API ask this table and nothing else. A platform role's rights hold in every tenant,
a membership's in its own. A superuser has every right; a platform role counts for staff only. Nobody has a right that the table
does not give them. Rights are read at each request: what is taken away, from a person or by suspending a tenant, is gone with
the next page.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from tenants.models import Membership, PlatformRole, Tenant


class Right(StrEnum):
    """What somebody may do. Each role has some of them."""

    OWN = "see their own figures, open runs, ask for more"
    CALL = "have keys of their own, see their own requests"
    SEE = "see configuration, requests, figures and reports"
    READ_TEXTS = "read texts of prompts and answers that are kept or cached"
    ATTEND = "acknowledge alerts, look after work that is stuck"
    CONFIGURE = "change keys, users, budgets, policies, alerts"
    CLOSE = "close a month and make its files"
    BILL = "change whom statements are addressed to"
    BOOK = "book credits, adjustments, rate rules and corrections"
    PEOPLE = "invite people and change their roles in a tenant"
    AUDIT = "read the audit log"
    PLATFORM = "change tenants, providers, models, prices and limits of the platform"


_MEMBERS: Final = frozenset({Right.OWN, Right.CALL})
_READERS: Final = frozenset({Right.SEE})
_KEEPERS: Final = frozenset({Right.READ_TEXTS, Right.ATTEND, Right.CONFIGURE, Right.PEOPLE, Right.AUDIT})
_FINANCE: Final = frozenset({Right.SEE, Right.CLOSE, Right.BILL})
TENANT_ROLES: Final[dict[str, frozenset[Right]]] = {
    Membership.Role.OWNER: _MEMBERS | _FINANCE | _KEEPERS,
    Membership.Role.FINANCE: _FINANCE | {Right.OWN},
    Membership.Role.MEMBER: _MEMBERS,
}
PLATFORM_ROLES: Final[dict[str, frozenset[Right]]] = {
    PlatformRole.Role.OPERATOR: _FINANCE | _KEEPERS | {Right.PLATFORM},
    PlatformRole.Role.FINANCE: _FINANCE | {Right.BOOK, Right.AUDIT},
    PlatformRole.Role.SUPPORT: _READERS | {Right.ATTEND},
    PlatformRole.Role.READER: _READERS,
}
EVERYTHING: Final = frozenset(Right)
# what is left to the people of a tenant that an operator suspended or closed
IN_SUSPENDED_TENANTS: Final = frozenset({Right.OWN, Right.CALL, Right.SEE, Right.READ_TEXTS, Right.AUDIT})


@dataclass(frozen=True)
class Rights:
    """What one person may do: on the platform, and in each of their tenants."""

    everywhere: frozenset[Right]
    in_tenants: dict[int, frozenset[Right]]
    must_have_factor: bool = False  # one of the tenants asks for a second factor

    def tenants_with(self, right: Right) -> frozenset[int]:
        """The ids of tenants in which a membership gives the right."""
        return frozenset(tenant for tenant, given in self.in_tenants.items() if right in given)

    def inside(self, tenant_id: int) -> frozenset[Right]:
        """All rights in one tenant."""
        return self.everywhere | self.in_tenants.get(tenant_id, frozenset())

    def has(self, right: Right, tenant_id: int | None = None) -> bool:
        """Whether the person has the right in the tenant, or without one anywhere."""
        if right in self.everywhere:
            return True
        if tenant_id is None:
            return any(right in given for given in self.in_tenants.values())
        return right in self.inside(tenant_id)


NOBODYS: Final = Rights(frozenset(), {})


def rights_of(user: Any) -> Rights:
    """The rights of a person, from the database. A superuser costs no query."""
    if not (user.is_authenticated and user.is_active):
        return NOBODYS
    if user.is_superuser:
        return Rights(EVERYTHING, {})
    roles = PlatformRole.objects.filter(user=user.pk).values_list("role", flat=True)
    everywhere = PLATFORM_ROLES.get((user.is_staff and roles.first()) or "", frozenset())
    rows = Membership.objects.filter(user=user.pk).values_list(
        "tenant_id", "role", "tenant__status", "tenant__requires_second_factor"
    )
    in_tenants = {tenant: rights_in_tenant(role, status) for tenant, role, status, _ in rows}
    return Rights(everywhere, in_tenants, any(asks for *_, asks in rows))


def rights_in_tenant(role: str, status: str) -> frozenset[Right]:
    """What a member with the role may do in a tenant of the status."""
    given = TENANT_ROLES.get(role, frozenset())
    return (
        given & IN_SUSPENDED_TENANTS if status in (Tenant.Status.SUSPENDED, Tenant.Status.CLOSED) else given
    )


def rights_here(request: Any) -> Rights:
    """The rights of a request's person, read once."""
    if not hasattr(request.user, "_rights"):
        request.user._rights = rights_of(request.user)
    found: Rights = request.user._rights
    return found


def may_everywhere(request: Any, right: Right) -> bool:
    """Whether a request's person has the right on the platform, so in every tenant."""
    return right in rights_here(request).everywhere
