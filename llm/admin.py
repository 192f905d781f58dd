"""The admin of models, providers and traffic. Each page stands in the file of its thing; this one gathers them."""

from llm import admin_batches, admin_catalog, admin_kept, admin_reconciliation, admin_traffic

__all__ = ["admin_batches", "admin_catalog", "admin_kept", "admin_reconciliation", "admin_traffic"]
