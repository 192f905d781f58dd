"""The accounts of the billing tests."""

from tests.billing.conftest import make_account

__all__ = ["make_account"]
