"""Four eyes: what one person proposes to write into a tenant's books, another approves, where the tenant's policy says so.

Invariant: where it counts nobody approves what they proposed or caused, and nobody unnamed approves anything.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError

from tenants.models import Tenant
from tenants.policy import parse_policy

SCHEDULE: Final = "the schedule"  # who acts where nobody does


def name_of(person: User | None) -> str:
    """Who did something to the books, as pages and certificates say it."""
    return person.get_username() if person else SCHEDULE


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


@dataclass(frozen=True, slots=True)
class Approval:
    """Who proposed what is written now, and who approved it; or that it is only tried, and rolled back."""

    proposed_by: User | None = None
    approved_by: User | None = None
    is_trial: bool = False


TRIAL: Final = Approval(is_trial=True)


class NeedsAnother(ValidationError):
    """What somebody wants to write waits for another person. It says what, so that it can be proposed (`contracts.agreeing`)."""

    def __init__(
        self, kind: str, *, tenant: Tenant | None, summary: str, arguments: Mapping[str, Any]
    ) -> None:
        super().__init__(
            "the tenant's policy asks for four eyes: nothing was written; it is proposed in the admin, and somebody else approves"
        )
        self.kind, self.tenant, self.summary, self.arguments = kind, tenant, summary, dict(arguments)


def require_agreed(
    kind: str,
    *,
    tenant: Tenant | None,
    approval: Approval | None,
    summary: str,
    arguments: Mapping[str, Any],
    tenants: Collection[Tenant] = (),
) -> None:
    """Raise NeedsAnother where four eyes count for the tenant (or one of `tenants`) and nobody has approved what is written;
    ValidationError where who approved it may not."""
    concerned = [tenant] if tenant is not None else list(tenants)
    if (approval is not None and approval.is_trial) or not any(map(four_eyes_of, concerned)):
        return
    if approval is None:
        raise NeedsAnother(kind, tenant=tenant, summary=summary, arguments=arguments)
    author = approval.proposed_by
    require_another(concerned, authors={author.pk if author else None}, approved_by=approval.approved_by)
