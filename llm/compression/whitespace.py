"""Removes whitespace without meaning: at the ends of lines, and blank lines in a row.

Invariant: never inside a code fence, never the indentation of a line; a text that is a patch is left alone.
"""

import re
from collections.abc import Iterator

_FENCE_MARKS = ("```", "~~~")
_PATCH = re.compile(r"^(?:diff --git |@@ -\d)", re.M)


def compact_whitespace(text: str) -> str:
    """The text without trailing spaces, and with at most one blank line in a row."""
    if _PATCH.search(text):
        return text
    return "\n".join(_lines(text))


def _lines(text: str) -> Iterator[str]:
    fence = ""
    blanks = 0
    for line in text.split("\n"):
        words = line.lstrip(" \t")
        mark, behind = (words[:3], words[3:]) if words.startswith(_FENCE_MARKS) else ("", "")
        if fence:
            if mark == fence and not behind.strip():
                fence = ""
            yield line
        elif mark and mark not in behind:
            fence, blanks = mark, 0
            yield line
        else:
            stripped = line.rstrip(" \t\r")
            blanks = 0 if stripped else blanks + 1
            if blanks < 2:
                yield stripped
