"""Owns identifiers that look like the providers' own.

Invariant: an identifier is never given twice by one process; with a seed the sequence repeats run by run.
"""

import random
import string

ALPHABET = string.ascii_letters + string.digits
HEX = "0123456789abcdef"


class Identifiers:
    """Draws identifiers from one generator."""

    def __init__(self, *, seed: int | None = None) -> None:
        self._chance = random.Random(seed)

    def openai(self, prefix: str) -> str:
        """`chatcmpl-…`, `batch_…`: a prefix and 29 letters and digits."""
        return prefix + "".join(self._chance.choices(ALPHABET, k=29))

    def hexadecimal(self, prefix: str, *, length: int = 48) -> str:
        """`resp_…`, `msg_…` of the responses API, `req_…`: a prefix and hexadecimal digits."""
        return f"{prefix}{self._chance.getrandbits(4 * length):0{length}x}"

    def anthropic(self, prefix: str) -> str:
        """`msg_01…`, `toolu_01…`, `req_011…`: a prefix, `01` and 22 letters and digits."""
        return f"{prefix}01" + "".join(self._chance.choices(ALPHABET, k=22))
