"""API keys as strings: making, parsing and hashing.

Invariant: only the owner has the clear key. We store a public id to find it and a hash to check it. Secrets are 256
random bits, so one round of SHA-256 is enough.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

PREFIX = "psr_"
_OURS = re.compile(r"psr_(?P<public_id>x?[0-9a-f]{16})_(?P<secret>[A-Za-z0-9_-]{32,})")
_HASH_DOMAIN = b"purser.api-key\0"  # the public id of a foreign key must not be a prefix of its hash


@dataclass(frozen=True, slots=True)
class MintedKey:
    """A fresh key. `clear` is shown once and never stored."""

    clear: str
    public_id: str
    secret_hash: bytes


def mint(public_id: str | None = None) -> MintedKey:
    """A new key; with `public_id`, a new secret for an existing key (rotation)."""
    public_id = public_id or secrets.token_hex(8)
    clear = f"{PREFIX}{public_id}_{secrets.token_urlsafe(32)}"
    return MintedKey(clear=clear, public_id=public_id, secret_hash=hash_secret(clear))


def public_id_of(clear: str) -> str:
    """The id to find a key by. For a key in another format it is "x" and a digest of the key.

    When such a key is rotated, its new secrets have our format with the same id.
    """
    if match := _OURS.fullmatch(clear):
        return match["public_id"]
    return "x" + hashlib.sha256(clear.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def hash_secret(clear: str) -> bytes:
    """What is stored of a key: 32 bytes."""
    return hashlib.sha256(_HASH_DOMAIN + clear.encode("utf-8", "surrogateescape")).digest()


def matches(clear: str, secret_hash: bytes) -> bool:
    """Whether the key has this hash, in constant time."""
    return hmac.compare_digest(hash_secret(clear), secret_hash)
