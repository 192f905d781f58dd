"""Who may do what: one table, from roles to rights.

Invariant: the admin, the portal and the API ask this table and nothing else. A platform role's rights hold in every tenant,
a membership's in its own. A superuser has every right. Nobody has a right that the table does not give them.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from tenants.models import Membership, PlatformRole


class Right(StrEnum):
    """What somebody may do. Each role has some of them."""

    OWN = "their own keys, figures and requests"
    SEE = "see configuration, requests, figures and reports"
    READ_TEXTS = "read texts of prompts and answers that are kept or cached"
    ATTEND = "acknowledge alerts, look after work that is stuck"
    CONFIGURE = "change keys, users, budgets, policies, alerts"
    CLOSE = "close a month and make its files"
    BOOK = "book credits, adjustments, rate rules and corrections"
    PEOPLE = "invite people and change their roles in a tenant"
    AUDIT = "read the audit log"
    PLATFORM = "change tenants, providers, models, prices and limits of the platform"


TENANT_ROLES: Final[dict[str, frozenset[Right]]] = {
    Membership.Role.OWNER: frozenset(
        {Right.OWN, Right.SEE, Right.READ_TEXTS, Right.ATTEND, Right.CONFIGURE, Right.CLOSE, Right.PEOPLE, Right.AUDIT}
    ),
    Membership.Role.FINANCE: frozenset({Right.OWN, Right.SEE, Right.CLOSE}),
    Membership.Role.MEMBER: frozenset({Right.OWN}),
}  # fmt: skip
PLATFORM_ROLES: Final[dict[str, frozenset[Right]]] = {
    PlatformRole.Role.OPERATOR: frozenset(
        {Right.SEE, Right.READ_TEXTS, Right.ATTEND, Right.CONFIGURE, Right.CLOSE, Right.PEOPLE, Right.AUDIT, Right.PLATFORM}
    ),
    PlatformRole.Role.FINANCE: frozenset({Right.SEE, Right.CLOSE, Right.BOOK, Right.AUDIT}),
    PlatformRole.Role.SUPPORT: frozenset({Right.SEE, Right.ATTEND}),
    PlatformRole.Role.READER: frozenset({Right.SEE}),
}  # fmt: skip
EVERYTHING: Final = frozenset(Right)


@dataclass(frozen=True)
class Rights:
    """What one person may do: on the platform, and in each of their tenants."""

    everywhere: frozenset[Right]
    in_tenants: dict[int, frozenset[Right]]

    def tenants_with(self, right: Right) -> frozenset[int]:
        """The ids of tenants in which a membership gives the right."""
        return frozenset(tenant for tenant, given in self.in_tenants.items() if right in given)

    def has(self, right: Right, tenant_id: int | None = None) -> bool:
        """Whether the person has the right in the tenant, or without one anywhere."""
        if right in self.everywhere:
            return True
        if tenant_id is None:
            return any(right in given for given in self.in_tenants.values())
        return right in self.in_tenants.get(tenant_id, frozenset())


NOBODYS: Final = Rights(frozenset(), {})


def rights_of(user: Any) -> Rights:
    """The rights of a person, from the database. A superuser costs no query."""
    if not (user.is_authenticated and user.is_active):
        return NOBODYS
    if user.is_superuser:
        return Rights(EVERYTHING, {})
    everywhere = PLATFORM_ROLES.get(
        PlatformRole.objects.filter(user=user.pk).values_list("role", flat=True).first() or "", frozenset()
    )
    rows = Membership.objects.filter(user=user.pk).values_list("tenant_id", "role")
    return Rights(everywhere, {tenant: TENANT_ROLES.get(role, frozenset()) for tenant, role in rows})


def rights_here(request: Any) -> Rights:
    """The rights of a request's person, read once."""
    if not hasattr(request.user, "_rights"):
        request.user._rights = rights_of(request.user)
    found: Rights = request.user._rights
    return found


def may_everywhere(request: Any, right: Right) -> bool:
    """Whether a request's person has the right on the platform, so in every tenant."""
    return right in rights_here(request).everywhere
