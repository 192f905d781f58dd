"""Four eyes: what one person proposes to write into a tenant's books, another approves, where the tenant's policy says so.

Invariant: where it counts nobody approves what they proposed or caused, and nobody unnamed approves anything.
"""

from collections.abc import Collection

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError

from tenants.models import Tenant
from tenants.policy import parse_policy


def four_eyes_of(tenant: Tenant) -> bool:
    """Whether what one person proposes for this tenant's books waits for another."""
    return parse_policy(tenant.policy).closing.four_eyes


def require_another(
    tenants: Collection[Tenant], *, authors: Collection[int | None], approved_by: User | None
) -> None:
    """Raise ValidationError where four eyes count and the one who approves is nobody, or one of the authors."""
    if not any(four_eyes_of(tenant) for tenant in tenants):
        return
    if approved_by is None:
        raise ValidationError("the tenant's policy asks for four eyes: a person approves this in the admin")
    if approved_by.pk in authors:
        raise ValidationError(
            "the tenant's policy asks for four eyes: somebody else approves what you proposed"
        )
