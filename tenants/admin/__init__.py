"""The admin of tenants and their keys. Each module has the pages of one thing; this one imports them.

It owns pages, and the access control of every app's pages. It does not own rules: `keys` and `tenancy` do.
"""

from tenants.admin import arrivals as admin_arrivals
from tenants.admin import audit as admin_audit
from tenants.admin import keys as admin_keys
from tenants.admin import people as admin_people
from tenants.admin import tenants as admin_tenants

__all__ = ["admin_arrivals", "admin_audit", "admin_keys", "admin_people", "admin_tenants"]
