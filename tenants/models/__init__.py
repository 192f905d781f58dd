"""Tables of tenants, their users and keys, and of the people who log in."""

from tenants.models.people import Membership, PlatformRole
from tenants.models.tenants import ApiKey, EndUser, Tenant, every_model

__all__ = ["ApiKey", "EndUser", "Membership", "PlatformRole", "Tenant", "every_model"]
