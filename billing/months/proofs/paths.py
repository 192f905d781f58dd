"""The proofs of a request's rows, as its receipt carries them.

Invariant: a proof is given only if it holds: it is checked against the tree's root before it leaves.
Costs, for each row, one read of at most 1,024 rows of its tenant and the hashes of its month's chunks.
"""

from bisect import bisect_right
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import structlog

from billing.months.proofs import leaves
from billing.months.proofs.planting import CHUNK_ROWS, chunks_of, split
from billing.months.proofs.verify import NotProven, leaf, path_of, root_by

MOST_ROWS: Final = 20
_AFTER_ALL: Final = (datetime(9999, 12, 31, tzinfo=UTC), UUID(int=2**128 - 1))

log = structlog.get_logger(__name__)
Fetch = Callable[[str, Mapping[str, Any]], Awaitable[list[tuple[Any, ...]]]]


async def proofs_of(request_id: UUID, *, tenant_id: int, fetch: Fetch) -> list[dict[str, Any]]:
    """A proof for each row of the request that is part of a closed month with a tree; at most 20, the oldest first.

    `{"statement": its code, "row": the leaf's text, "index", "path": hashes in hexadecimal}`: what `verify.py` reads.
    `fetch` runs a query in the tenant's own connection.
    """
    asked = {"tenant": tenant_id, "request": request_id, "most": MOST_ROWS}
    proofs = []
    for id, at, period_id, text, code, root, row_count, packed in await fetch(leaves.OF_REQUEST, asked):
        chunks = chunks_of(bytes(packed))
        number = bisect_right([(chunk.at, chunk.id) for chunk in chunks], (at, id)) - 1
        first, following = chunks[number], chunks[number + 1 : number + 2]
        until = (following[0].at, following[0].id) if following else _AFTER_ALL
        bounds = {"from_at": first.at, "from_id": first.id, "until_at": until[0], "until_id": until[1]}
        own = {"tenant": tenant_id, "period": period_id, "at": at, "id": id, **bounds}
        [(hashes, place)] = await fetch(leaves.CHUNK, own)
        found, subtrees = split(hashes), [chunk.hash for chunk in chunks]
        index, path = number * CHUNK_ROWS + place, path_of(found, place) + path_of(subtrees, number)
        if not _holds(text, index=index, size=row_count, path=path, root=root):
            log.error("proof_does_not_hold", tenant=tenant_id, statement=code, row=str(id))
            continue
        proofs.append(
            {
                "statement": code,
                "row": text,
                "index": index,
                "path": [one.hex() for one in path],
            }
        )
    return proofs


def _holds(text: str, *, index: int, size: int, path: list[bytes], root: str) -> bool:
    try:
        return root_by(leaf(text), index=index, size=size, path=path).hex() == root
    except NotProven:
        return False
