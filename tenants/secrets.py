"""Encrypts secrets at rest: provider keys and webhook secrets, which we need in clear to use them.

Invariant: no such secret is stored in clear. The encryption key is derived from SECRET_KEY. While SECRET_KEY_FALLBACKS
holds the former key, old rows stay readable; their next save encrypts them with the new key.
"""

import base64
import hashlib
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.db import models


class SecretUnreadable(Exception):
    """The stored secret was encrypted under a SECRET_KEY that is not configured any more."""


def encrypt(clear: str) -> str:
    """Return the token to store for `clear`; the empty string stays empty."""
    return _box().encrypt(clear.encode()).decode() if clear else ""


def decrypt(token: str) -> str:
    """Return the clear secret of a stored token, or raise SecretUnreadable."""
    if not token:
        return ""
    try:
        return _box().decrypt(token.encode()).decode()
    except InvalidToken as error:
        raise SecretUnreadable("a stored secret does not match SECRET_KEY or its fallbacks") from error


class EncryptedTextField(models.TextField[Any, Any]):
    """A text column that is clear in Python and encrypted in the database. It cannot be searched."""

    def get_prep_value(self, value: str | None) -> str | None:
        return None if value is None else encrypt(value)

    def from_db_value(self, value: str | None, expression: object, connection: object) -> str | None:
        return None if value is None else decrypt(value)


def _box() -> MultiFernet:
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return MultiFernet(
        [Fernet(base64.urlsafe_b64encode(hashlib.sha256(key.encode()).digest())) for key in keys]
    )
