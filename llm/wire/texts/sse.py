"""Server-sent events as bytes: split from any chunking, read, written.

Invariant: what was split and is joined again is the same bytes, with any chunks and line ends.
"""

import re
from typing import Any, Final

import orjson

DONE: Final = b"data: [DONE]\n\n"
COMMENT: Final = b": the stream lives\n\n"
MAX_EVENT_BYTES: Final = 16 * 1024 * 1024  # a generated image arrives as one event

# a blank line in any of the three line ends; a bare CR counts once it is known that no LF follows
_BLANK_LINE = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r(?=[^\n]))")
_LONGEST_BLANK_LINE: Final = 4


class EventTooLarge(ValueError):
    """An event without an end: more bytes than anything legitimate has."""


class SseSplitter:
    """Cuts a byte stream into whole events, each with the blank line that ends it. About 1 us per event."""

    __slots__ = ("_buffer", "_max_event_bytes", "_scanned")

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        self._max_event_bytes = max_event_bytes

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the events that this chunk completes, or raise EventTooLarge."""
        # whole events, as it mostly is
        if not self._buffer and chunk.endswith(b"\n\n") and b"\r" not in chunk:
            return [event + b"\n\n" for event in chunk[:-2].split(b"\n\n")]
        self._buffer += chunk
        events = []
        start = 0
        for blank_line in _BLANK_LINE.finditer(self._buffer, max(0, self._scanned - _LONGEST_BLANK_LINE)):
            events.append(bytes(self._buffer[start : blank_line.end()]))
            start = blank_line.end()
        if start:
            del self._buffer[:start]
        self._scanned = len(self._buffer)
        if self._scanned > self._max_event_bytes:
            raise EventTooLarge(f"An event of more than {self._max_event_bytes} bytes.")
        return events

    def rest(self) -> bytes:
        """Return what came after the last whole event: nothing but line ends, if the stream ended well."""
        return bytes(self._buffer)


def data_of(event: bytes) -> bytes:
    """The data of one event: its `data` lines joined by newlines; empty for a comment."""
    if event.startswith(b"data: ") and event.find(b"\n") == len(event) - 2 and b"\r" not in event:
        return event[6:-2]
    lines = []
    for line in event.splitlines():
        if line.startswith(b"data:"):
            lines.append(line[6:] if line.startswith(b"data: ") else line[5:])
        elif line == b"data":
            lines.append(b"")
    return b"\n".join(lines)


def encode(payload: dict[str, Any], *, event: str = "") -> bytes:
    """Write one event; `event` is its name, where the protocol has names."""
    data = orjson.dumps(payload)
    return b"event: %b\ndata: %b\n\n" % (event.encode(), data) if event else b"data: %b\n\n" % data


def splice_purser(raw: bytes, block: dict[str, Any]) -> bytes:
    """Add our `purser` object to a JSON object, alone or in an event; every other byte stays."""
    end = raw.rindex(b"}")
    separator = b"" if raw[:end].rstrip().endswith(b"{") else b","
    return b'%b%b"purser":%b%b' % (raw[:end], separator, orjson.dumps(block, default=str), raw[end:])
