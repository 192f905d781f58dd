"""The admin's world, for the pages of the gateway."""

from tests.admin.conftest import office, olga

__all__ = ["office", "olga"]
