"""Checks which end users a tenant serves.

Invariant: if a tenant serves only declared users, a caller gets no new budget by inventing a user. If users have
budgets, a tenant may require that every call names its user.
"""

from tenants.errors import ClientError, UserNotAllowed
from tenants.snapshots.store import TenantFacts


class UserNeeded(ClientError):
    """The call names no user, although each user has a budget."""

    status, code, type = 400, "invalid_request", "invalid_request_error"


def check_user(tenant: TenantFacts, user: str, *, have_budgets: bool) -> None:
    """Raise the error that prevents serving a call of this user (empty: of no user), if there is one. Pure."""
    policy = tenant.policy.users
    if not user:
        if policy.missing == "refuse" and have_budgets:
            raise UserNeeded("Name the user: 'x-purser-user', or 'user' in the body.", param="user")
        return
    known = tenant.users.get(user)
    if known is None and policy.unknown == "refuse":
        raise UserNotAllowed(f"There is no user '{user[:100]}' in the tenant '{tenant.slug}'.", param="user")
    if known is not None and not known.is_active:
        raise UserNotAllowed(f"The user '{user[:100]}' is switched off.", param="user")
