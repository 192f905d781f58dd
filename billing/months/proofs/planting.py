"""Makes the tree of a month that is being closed.

Invariant: the leaves are the period's rows in the order of (occurred_at, id), all of them, each once. Kept are the
hashes of whole subtrees of 1,024 leaves and the first row of each: 56 bytes for 1,024 rows, from which the path of any row
is found by reading its own 1,024.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from django.db import connection

from billing.months.proofs import leaves
from billing.months.proofs.verify import HASH_BYTES, SCHEME, root_of

CHUNK_ROWS: Final = 1024
FETCH: Final = 50
_FIRST: Final = struct.Struct(">q16s32s")  # microseconds since 1970, the row's id, the subtree's hash
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A subtree of at most 1,024 leaves: its first row, and its hash."""

    at: datetime
    id: UUID
    hash: bytes


@dataclass(frozen=True, slots=True)
class Tree:
    """All rows of a period: how many, the root (hexadecimal; empty without rows), and the chunks as they are kept."""

    row_count: int
    root: str
    chunks: bytes

    def facts(self) -> dict[str, object]:
        """What a statement's digest says of it; nothing of a month without rows."""
        return {"scheme": SCHEME, "rows": self.row_count, "root": self.root} if self.row_count else {}


def plant(tenant_id: int, period_id: int) -> Tree:
    """The tree of a period. Streams one query; needs a transaction in which nothing enters the period."""
    row_count, packed, roots = 0, bytearray(), []
    own = {"tenant": tenant_id, "period": period_id, "chunk": CHUNK_ROWS}
    with connection.chunked_cursor() as cursor:
        cursor.execute(leaves.CHUNKS, own)
        while rows := cursor.fetchmany(FETCH):
            for at, id, text in rows:
                hashes = split(text)
                row_count += len(hashes)
                roots.append(root_of(hashes))
                packed += _FIRST.pack((at - EPOCH) // MICROSECOND, id.bytes, roots[-1])
    return Tree(row_count, root_of(roots).hex() if roots else "", bytes(packed))


def chunks_of(packed: bytes) -> Sequence[Chunk]:
    """The chunks as they were kept."""
    return [
        Chunk(EPOCH + at * MICROSECOND, UUID(bytes=id), found) for at, id, found in _FIRST.iter_unpack(packed)
    ]


def split(text: bytes) -> list[bytes]:
    """Hashes that stand one after the other."""
    return list(_pieces(bytes(text)))


def _pieces(text: bytes) -> Iterator[bytes]:
    for start in range(0, len(text), HASH_BYTES):
        yield text[start : start + HASH_BYTES]
