"""Django checks that the database fits the semantic cache. `migrate` and `check` run them."""

from typing import Any

from django.core.checks import CheckMessage, Error, Tags, register

from caching.entries.near_indexes import LEAST_PGVECTOR, pgvector_version


@register(Tags.database)
def pgvector_is_new_enough(*, databases: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Older versions have indexes that may lose entries. No extension yet is fine: the first migration creates it."""
    if not databases or "default" not in databases:
        return []
    version = pgvector_version()
    if version == (0, 0, 0) or version >= LEAST_PGVECTOR:
        return []
    return [
        Error(
            f"pgvector is {'.'.join(map(str, version))}; the semantic cache needs"
            f" {'.'.join(map(str, LEAST_PGVECTOR))} or newer.",
            hint="Install it and run ALTER EXTENSION vector UPDATE.",
            id="caching.E001",
        )
    ]
