"""Chooses which account of a model is asked first, and the order of the others.

Invariant: pure: the same key, weights and worths give the same order. Over many keys each account comes first in
proportion to its weight times its worth, and when one of them changes only its own share moves (weighted rendezvous
hashing), so that a conversation stays with the account whose prompt cache knows it.
"""

import hashlib
import math
from collections.abc import Iterable
from typing import Any

from config.values import value_type
from llm.providers.target import Target

CACHED_PREFIX_CHARACTERS = 4096  # about 1,024 tokens: no provider caches a shorter prefix


@value_type
class Candidate:
    """An account, and how much its weight counts at the moment (0: only if no other is left)."""

    target: Target
    worth: float = 1.0
    why: str = ""

    @property
    def weight(self) -> float:
        return self.target.weight * self.worth

    def to_receipt(self) -> dict[str, Any]:
        """`provider`, `weight`, `worth` (of 1), and `why` where it is worth less."""
        facts = {
            "provider": self.target.provider,
            "weight": self.target.weight,
            "worth": round(self.worth, 3),
        }
        return {**facts, "why": self.why} if self.why else facts


def in_order(candidates: Iterable[Candidate], *, key: str) -> list[Candidate]:
    """The candidates, the one to ask first in front; those without weight are last, in the order given."""
    return sorted(candidates, key=lambda one: _distance(one, key))


def key_of(*, tenant_id: int, request_id: str, system: str, opening: str, length: int) -> str:
    """What the choice hangs on: the conversation where a provider may have its beginning in its cache, else the request."""
    if length < CACHED_PREFIX_CHARACTERS:
        return request_id
    return f"{tenant_id}\n{system}\n{opening}"


def _distance(candidate: Candidate, key: str) -> float:
    if candidate.weight <= 0:
        return math.inf
    name = f"{candidate.target.provider}\n{candidate.target.model}\n{key}"
    drawn = int.from_bytes(hashlib.blake2b(name.encode("utf-8", "replace"), digest_size=8).digest())
    return -math.log((drawn + 1) / (2**64 + 1)) / candidate.weight
