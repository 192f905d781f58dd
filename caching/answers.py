"""A cached answer, and how it is serialised.

Invariant: an answer unpacks to exactly what was packed. Amounts stay decimal strings, never floats.
"""

import zlib
from dataclasses import KW_ONLY, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson

from config.values import value_type

_FORMAT = b"\x01"
# Answers are short; the fastest level already halves them.
_LEVEL = 1


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
        }
    )
    return _FORMAT + zlib.compress(document, _LEVEL)


def unpack(packed: bytes) -> CachedAnswer:
    """The answer that was packed; raises UnreadableAnswer."""
    if packed[:1] != _FORMAT:
        raise UnreadableAnswer("unknown format")
    try:
        fields = orjson.loads(zlib.decompress(packed[1:]))
        fields["cost_usd"] = Decimal(fields["cost_usd"])
        fields["list_cost_usd"] = Decimal(fields["list_cost_usd"])
        fields["stored_at"] = datetime.fromisoformat(fields["stored_at"])
        return CachedAnswer(**fields)
    except (zlib.error, ValueError, KeyError, TypeError, ArithmeticError) as error:
        raise UnreadableAnswer(str(error)) from error
