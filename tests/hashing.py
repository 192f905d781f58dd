"""Passwords of the tests: hashed as the product does, once instead of a million times."""

from django.contrib.auth.hashers import PBKDF2PasswordHasher


class OnceHasher(PBKDF2PasswordHasher):
    """Its hashes are the product's own kind, so that the running product reads them too."""

    iterations = 1
