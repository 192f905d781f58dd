"""The admin of tenants and their keys. Each page stands in the file of its thing; this one gathers them."""

from tenants import admin_keys, admin_people, admin_tenants

__all__ = ["admin_keys", "admin_people", "admin_tenants"]
