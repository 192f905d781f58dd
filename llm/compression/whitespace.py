"""Takes out whitespace that says nothing: at the ends of lines, and blank lines in a row.

Invariant: never inside a code fence, never the indentation of a line; a text that is a patch is left alone.
"""

import re
from collections.abc import Iterator

_FENCE_MARK = re.compile(r"[ \t]*(```|~~~)(.*)")
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
        mark = _FENCE_MARK.match(line)
        if fence:
            if mark and mark[1] == fence and not mark[2].strip():
                fence = ""
            yield line
        elif mark and mark[1] not in mark[2]:
            fence, blanks = mark[1], 0
            yield line
        else:
            stripped = line.rstrip(" \t\r")
            blanks = 0 if stripped else blanks + 1
            if blanks < 2:
                yield stripped
