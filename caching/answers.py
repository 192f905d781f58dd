"""A cached answer, and how it is serialised.

Invariant: an answer unpacks to exactly what was packed. Amounts stay decimal strings, never floats.
"""

import threading
import zlib
from dataclasses import KW_ONLY, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
import zstandard

from config.values import value_type

_FORMAT = b"\x02"
_DEFLATED = b"\x01"  # what was stored before


class _Codec(threading.local):
    """Of each thread, because making one takes longer than using it."""

    def __init__(self) -> None:
        self.compress = zstandard.ZstdCompressor(level=1).compress
        self.decompress = zstandard.ZstdDecompressor().decompress


_codec = _Codec()


class UnreadableAnswer(ValueError):
    """The bytes are not a packed answer: damaged, or written by a later version."""


@value_type
class CachedAnswer:
    """A complete answer in the client's protocol (without our `purser` object), and what it cost."""

    _: KW_ONLY
    body: dict[str, Any]
    endpoint: str
    model: str
    provider: str = ""
    tier: str = ""
    usage: dict[str, Any] = field(default_factory=dict)
    text: str = ""
    cost_usd: Decimal = Decimal(0)
    list_cost_usd: Decimal = Decimal(0)
    baseline_model: str = ""  # which would have answered without us
    removed_input_tokens: int = 0  # by compression
    request_id: str = ""
    stored_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    earns_from: datetime | None = None  # it was bought ahead of time: when the answer before it expires


def pack(answer: CachedAnswer) -> bytes:
    """Bytes of the answer, compressed."""
    document = orjson.dumps(
        {
            "body": answer.body,
            "endpoint": answer.endpoint,
            "model": answer.model,
            "provider": answer.provider,
            "tier": answer.tier,
            "usage": answer.usage,
            "text": answer.text,
            "cost_usd": str(answer.cost_usd),
            "list_cost_usd": str(answer.list_cost_usd),
            "baseline_model": answer.baseline_model,
            "removed_input_tokens": answer.removed_input_tokens,
            "request_id": answer.request_id,
            "stored_at": answer.stored_at,
            "earns_from": answer.earns_from,
        }
    )
    return _FORMAT + _codec.compress(document)


def unpack(packed: bytes) -> CachedAnswer:
    """The answer that was packed; raises UnreadableAnswer."""
    try:
        fields = orjson.loads(_decompressed(packed))
        fields["cost_usd"] = Decimal(fields["cost_usd"])
        fields["list_cost_usd"] = Decimal(fields["list_cost_usd"])
        fields["stored_at"] = datetime.fromisoformat(fields["stored_at"])
        if fields.get("earns_from"):
            fields["earns_from"] = datetime.fromisoformat(fields["earns_from"])
        return CachedAnswer(**fields)
    except (
        zlib.error,
        zstandard.ZstdError,
        MemoryError,
        ValueError,
        KeyError,
        TypeError,
        ArithmeticError,
    ) as error:
        raise UnreadableAnswer(str(error)) from error


def _decompressed(packed: bytes) -> bytes:
    if packed[:1] == _FORMAT:
        return _codec.decompress(packed[1:])
    if packed[:1] == _DEFLATED:
        return zlib.decompress(packed[1:])
    raise UnreadableAnswer("unknown format")
