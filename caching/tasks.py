"""Celery tasks of the caches. Each task is idempotent."""

from celery import shared_task

from caching.entries import near_indexes
from caching.semantic.eviction import evict as evict_entries


@shared_task(ignore_result=True)
def evict() -> int:
    """Remove expired entries and those over their tenant's cap."""
    return evict_entries()


@shared_task(ignore_result=True)
def keep_indexes() -> None:
    """Build an index for each of the largest scopes, and drop the indexes of scopes that shrank."""
    near_indexes.keep_indexes()
