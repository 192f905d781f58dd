"""The responses that OpenAI keeps for a tenant: who may continue one, and from how much.

Invariant: a `previous_response_id` goes out only to the account that keeps it, only for the tenant whose call made it,
and with a hold that bounds its earlier turns. No prompt and no answer is kept here.
"""

from dataclasses import dataclass
from typing import Final

from config.database import storable
from llm.errors import NotFound
from llm.wire import Body
from llm.wire.references import LONGEST_ID
from tenants.rls import tenant_connection

_KEEP: Final = """
INSERT INTO llm_keptresponse (tenant_id, response_id, provider, model, context_tokens, created_at)
VALUES (%s, %s, %s, %s, %s, now()) ON CONFLICT (tenant_id, response_id) DO NOTHING
"""
_FIND: Final = """
SELECT provider, model, context_tokens FROM llm_keptresponse WHERE tenant_id = %s AND response_id = %s
"""
_FORGET: Final = "DELETE FROM llm_keptresponse WHERE tenant_id = %s AND response_id = %s"


@dataclass(frozen=True, slots=True)
class Kept:
    """One response that a provider keeps."""

    provider: str
    model: str
    context_tokens: int


async def keep(
    tenant_id: int, *, request: Body, response: Body, provider: str, model: str, context_tokens: int
) -> None:
    """Write down whose a response is, unless the client asked for it not to be kept."""
    response_id = response.get("id")
    if request.get("store") is False or not isinstance(response_id, str) or len(response_id) > LONGEST_ID:
        return
    async with tenant_connection(tenant_id) as connection:
        await connection.execute(
            _KEEP, (tenant_id, storable.text(response_id), provider, model, context_tokens)
        )


async def find(tenant_id: int, response_id: str, *, param: str | None = None) -> Kept:
    """A response of this tenant's, or NotFound."""
    row = None
    if len(response_id) <= LONGEST_ID and "\x00" not in response_id:
        async with tenant_connection(tenant_id) as connection:
            cursor = await connection.execute(_FIND, (tenant_id, response_id))
            row = await cursor.fetchone()
    if row is None:
        raise NotFound(f"There is no response '{response_id}'.", param=param)
    return Kept(*row)


async def forget(tenant_id: int, response_id: str) -> None:
    """The provider keeps it no more."""
    async with tenant_connection(tenant_id) as connection:
        await connection.execute(_FORGET, (tenant_id, response_id))
