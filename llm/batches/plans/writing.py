"""Writes many lines of a batch at once.

Invariant: one statement, whatever their number and their values: some of the columns of rows that are known by their ids.
"""

from collections.abc import Sequence
from typing import Any

import orjson
from django.db import connection

from config.database import storable
from llm.models import BatchItem


def save_items(items: Sequence[BatchItem], columns: Sequence[str]) -> None:
    """Write these columns (a foreign key's with its `_id`) of the items as they are now."""
    if not items:
        return
    rows = [{"id": item.pk, **{name: getattr(item, name) for name in columns}} for item in items]
    table = BatchItem._meta.db_table
    assignments = ", ".join(f'"{name}" = changed."{name}"' for name in columns)
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {table} AS item SET {assignments}"
            f" FROM jsonb_populate_recordset(NULL::{table}, %s::jsonb) AS changed WHERE item.id = changed.id",
            (storable.json_text(rows, default=_as_text),),
        )


def plain(value: Any) -> Any:
    """The value as it comes back out of the database."""
    return orjson.loads(storable.json_text(value, default=_as_text))


def _as_text(value: Any) -> str:
    return f"{value:f}" if hasattr(value, "as_tuple") else str(value)
