"""Pages of a tenant's rows.

Invariant: a page is read in the tenant's connection; it says whether another one follows, so that nobody asks for an empty one.
"""

from collections.abc import Mapping
from typing import Any, LiteralString

from psycopg.rows import dict_row

from tenants.rls import tenant_connection


async def page(
    tenant_id: int,
    statement: LiteralString,
    parameters: Mapping[str, Any],
    *,
    after: str,
    limit: int,
    is_ascending: bool,
) -> tuple[list[dict[str, Any]], bool]:
    """The rows after the one named, and whether more follow.

    The statement has `{order}` and `{beyond}` where rows are ordered and compared, and reads `tenant`, `after` and `limit`.
    """
    ordered = statement.format(order="ASC" if is_ascending else "DESC", beyond=">" if is_ascending else "<")
    asked = {**parameters, "tenant": tenant_id, "after": after, "limit": limit + 1}
    async with tenant_connection(tenant_id) as connection:
        cursor = connection.cursor(row_factory=dict_row)
        await cursor.execute(ordered, asked)
        rows = await cursor.fetchall()
    return rows[:limit], len(rows) > limit
