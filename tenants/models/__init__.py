"""Tables of tenants, their users and keys, and of the people who log in.

It owns tables and constraints. It does not own writes: the functions of the other packages do.
"""

from tenants.models.audit import AuditEntry
from tenants.models.people import IdentityProvider, Invitation, Membership, PlatformRole
from tenants.models.tenants import ApiKey, EndUser, Tenant, every_model

__all__ = [
    "ApiKey",
    "AuditEntry",
    "EndUser",
    "IdentityProvider",
    "Invitation",
    "Membership",
    "PlatformRole",
    "Tenant",
    "every_model",
]
