"""What a receiver of our webhooks does with a signature: the program of docs/money.md, with a clock."""

import hashlib
import hmac


def verify(header: str, body: bytes, *, secret: str, now: int, tolerance_seconds: int = 300) -> bool:
    """Whether the header is Purser's, for that body, and recent."""
    parts = dict(part.split("=", 1) for part in header.split(",") if "=" in part)
    if not parts.get("t", "").isdigit() or abs(now - int(parts["t"])) > tolerance_seconds:
        return False
    signed = hmac.new(secret.encode(), parts["t"].encode() + b"." + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(signed, parts.get("v1", ""))
