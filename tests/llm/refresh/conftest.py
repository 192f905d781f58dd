"""Bureaus whose tenants want their answers refreshed."""

from tests.llm.jobs.conftest import bureau_for

__all__ = ["bureau_for"]
