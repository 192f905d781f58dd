"""Celery tasks of the caches. Idempotent: a task that ran twice has done no more than one that ran once."""

from celery import shared_task

from caching.entries import near_indexes
from caching.semantic.eviction import evict as evict_entries


@shared_task(ignore_result=True)  # type: ignore[untyped-decorator]
def evict() -> int:
    """Remove expired entries and those over their tenant's cap."""
    return evict_entries()


@shared_task(ignore_result=True)  # type: ignore[untyped-decorator]
def keep_indexes() -> None:
    """Give the largest scopes an index of their own, and take it from those that shrank."""
    near_indexes.keep_indexes()
