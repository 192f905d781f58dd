"""Removes the layout of JSON inside a text, and nothing else.

Invariant: lossless. Only whitespace between tokens goes; every number, string, key, duplicate key and their
order stay byte for byte, which is asserted by reading both forms back before one takes the other's place.
"""

import json
import re
from typing import Any, Final

SHORTEST: Final = 40  # characters; below, the layout is not worth a look
MOST_FAILURES: Final = 20  # brackets that turn out not to open JSON, per text: bounds the work

_FENCE_OPENS = re.compile(r"^(?P<mark>```|~~~)(?P<words>[^\n]*)\n", re.M)
_FENCE_CLOSES = {mark: re.compile(rf"^{mark}[ \t]*$", re.M) for mark in ("```", "~~~")}
_LANGUAGE = re.compile(r"[\w+-]*")
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[ \t\n\r]+|[^" \t\n\r]+', re.S)
_OPENING = re.compile(r"^[ \t]*(?=[{\[])", re.M)
_JSON_LANGUAGES: Final = frozenset({"json", "jsonl", "ndjson"})
# every value as it was written; objects as lists of pairs, so that duplicate keys and order count
_READER = json.JSONDecoder(
    object_pairs_hook=lambda pairs: ("object", pairs),
    parse_float=lambda text: ("number", text),
    parse_int=lambda text: ("number", text),
    parse_constant=lambda text: ("constant", text),
)


def minify_json(text: str) -> str:
    """The text with each JSON document in it written compactly.

    A document is alone, at the start of a line, or in a fence marked as JSON. Other fences are left as
    they are.
    """
    if len(text) < SHORTEST or ("{" not in text and "[" not in text):
        return text
    pieces: list[str] = []
    position = 0
    while opening := _FENCE_OPENS.search(text, position):
        start = opening.end()
        # a fence that nothing closes goes on to the end
        closing = _FENCE_CLOSES[opening["mark"]].search(text, start)
        end = closing.start() if closing else len(text)
        code = text[start:end]
        pieces += [
            _minify_prose(text[position : opening.start()]),
            opening.group(0),
            _minify_prose(code) if _is_json(opening["words"]) else code,
            text[end : closing.end()] if closing else "",
        ]
        position = closing.end() if closing else len(text)
    pieces.append(_minify_prose(text[position:]))
    return "".join(pieces)


def compact(document: str) -> str:
    """One JSON document without layout; the document itself if that would not be the same, or it is not
    JSON."""
    try:
        before = _READER.decode(document)
        shorter = "".join(token for token in _TOKEN.findall(document) if token[0] not in " \t\n\r")
        return shorter if _READER.decode(shorter) == before else document
    except (ValueError, RecursionError):
        return document


def _is_json(words: str) -> bool:
    """Whether the word after a fence's mark names the language JSON."""
    language = _LANGUAGE.match(words.lstrip(" \t"))
    return language is not None and language[0].lower() in _JSON_LANGUAGES


def _minify_prose(text: str) -> str:
    pieces: list[str] = []
    position = failures = 0
    while failures < MOST_FAILURES and (opening := _OPENING.search(text, position)):
        start = opening.end()
        end = _end_of_document(text, start)
        if end < 0:
            failures += 1
            line_end = text.find("\n", start)
            end = len(text) if line_end < 0 else line_end
            pieces.append(text[position:end])
        else:
            document = text[start:end]
            pieces += [text[position:start], compact(document) if len(document) >= SHORTEST else document]
        position = end
    return "".join((*pieces, text[position:]))


def _end_of_document(text: str, start: int) -> int:
    """Where the JSON document that starts here ends, or -1. It must end its line, or it is prose in
    brackets."""
    try:
        _value, end = _read(text, start)
    except (ValueError, RecursionError):
        return -1
    line_end = text.find("\n", end)
    rest_of_line = text[end:] if line_end < 0 else text[end:line_end]
    return end if not rest_of_line.strip(" \t\r,;.") else -1


def _read(text: str, start: int) -> tuple[Any, int]:
    return _READER.raw_decode(text, start)
