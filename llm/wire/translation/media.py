"""Media types as the providers know them.

Invariant: pure; a type with one spelling only stays as it is.
"""

from typing import Any, Final

_KNOWN_AS: Final = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "image/x-png": "image/png"}


def media_type(value: Any) -> Any:
    """The type under the name that is registered for it."""
    return _KNOWN_AS.get(value.strip().lower(), value) if isinstance(value, str) else value
