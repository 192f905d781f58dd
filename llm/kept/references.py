"""Decides who may refer to what a provider keeps: the tenant for whom it was made, or whose own account keeps it.

Invariant: an id goes out only to an account of the tenant's own, or to the account that made it in an answer to this
tenant. The content behind an id is not kept here.
"""

from typing import Final

from config.database import storable
from llm.errors import NotFound
from llm.wire.references import LONGEST_ID, Reference
from tenants.rls import tenant_connection

_KEEP: Final = """
INSERT INTO llm_keptitem (tenant_id, item_id, provider, created_at)
SELECT %s, item_id, %s, now() FROM unnest(%s::text[]) item_id ON CONFLICT (tenant_id, item_id) DO NOTHING
"""
_FIND: Final = (
    "SELECT item_id, provider FROM llm_keptitem WHERE tenant_id = %s AND item_id = ANY (%s::text[])"
)


async def keep(tenant_id: int, ids: list[str], *, provider: str) -> None:
    """Write down that a provider made these for the tenant."""
    async with tenant_connection(tenant_id) as connection:
        await connection.execute(_KEEP, (tenant_id, provider, [storable.text(one) for one in ids]))


async def keepers_of(tenant_id: int, references: tuple[Reference, ...]) -> dict[str, str]:
    """The accounts that created the referenced objects for this tenant, by id; an id that is not there belongs to no tenant."""
    ids = [one.id for one in references if len(one.id) <= LONGEST_ID and "\x00" not in one.id]
    async with tenant_connection(tenant_id) as connection:
        cursor = await connection.execute(_FIND, (tenant_id, ids))
        return {row[0]: row[1] async for row in cursor}


def refusal(reference: Reference) -> NotFound:
    """Why an id is not sent to an account that others share."""
    return NotFound(
        f"There is no '{reference.id[:LONGEST_ID]}' of yours at the provider: what was not made by a call of yours "
        "through this gateway can be referred to only where your tenant has a provider account of its own.",
        param=reference.param,
    )
