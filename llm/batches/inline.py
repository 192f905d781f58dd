"""The requests of a message batch, out of the one JSON body that has them all.

Invariant: one request at a time is in memory; the body and the lines that it becomes are temporary files until every request was
found good. Nothing long is done on the event loop.
"""

import re
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import IO, Any, Final

import ijson
import orjson

from llm.batches.checking import Check
from llm.batches.lines import LONGEST_LINE_BYTES
from llm.errors import InvalidRequest
from llm.files.stored import MESSAGES_PURPOSE, Place
from llm.files.uploads import give_up, step, store
from llm.wire.texts import json_texts
from tenants import contents

ENDPOINT: Final = "/v1/messages"
# what ijson would replace; the parity of backslashes before it tells an escape from a text about one
_HALF: Final = re.compile(
    rb"(?<!\\)(?:\\\\)*\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])(?=.{6})", re.DOTALL
)
_LONGEST_HALF: Final = 16
MOST_VALUES: Final = json_texts.most_values(most_bytes=LONGEST_LINE_BYTES)


async def keep_requests(
    pieces: AsyncIterator[bytes], *, place: Place, check_of: Callable[[Iterator[bytes]], Check]
) -> dict[str, Any]:
    """Keep the requests as a file of lines, and return its object. Raises InvalidRequest naming the first that is wrong,
    QuotaExceeded."""
    with contents.spool() as body, contents.spool() as lines:
        try:
            await place.cover(0, filename="requests.jsonl")
            size = 0
            async for piece in pieces:
                size += len(piece)
                await place.cover(size)
                await contents.in_thread(partial(body.write, piece))
            check = check_of(_lines_of(body, lines))
            while not await step(check):
                _refuse_first(check)
            _refuse_first(check)
            return await store(lines, size=check.bytes, purpose=MESSAGES_PURPOSE, place=place, check=check)
        except BaseException:
            give_up(place)
            raise


def _refuse_first(check: Check) -> None:
    if check.problems:
        first = check.problems[0]
        if not first.line:
            raise InvalidRequest("'requests' must be a list of objects, and not empty.", param="requests")
        param, message = first.param, first.message
        if param == "body":  # as a line calls what is `params` here
            param, message = "params", message.replace("'body'", "'params'")
        field = f"requests.{first.line - 1}" + (f".{param}" if param else "")
        raise InvalidRequest(f"{field}: {message}", param=field)


def _lines_of(body: IO[bytes], lines: IO[bytes]) -> Iterator[bytes]:
    """Each request as a line, which is written down as well. Raises InvalidRequest."""
    bounded = _Bounded(body)
    try:
        for number, one in enumerate(ijson.items(bounded, "requests.item", use_float=True)):
            bounded.begin(number + 1)
            if not isinstance(one, dict):
                raise InvalidRequest("'requests' must be a list of objects.", param="requests")
            line = _line(number, one)
            lines.write(line)
            yield line
    except ijson.JSONError as error:
        raise InvalidRequest(f"The body is not valid JSON: {error!s:.200}.") from None


def _line(number: int, one: dict[str, Any]) -> bytes:
    line = {"custom_id": one.get("custom_id"), "url": ENDPOINT, "body": one.get("params")}
    try:
        return orjson.dumps(line) + b"\n"
    except orjson.JSONEncodeError as error:
        raise InvalidRequest(f"requests.{number}: {error}.", param=f"requests.{number}") from None


class _Bounded:
    """Reads a body from its start, and refuses a request that is too long before it is read."""

    def __init__(self, body: IO[bytes]) -> None:
        body.seek(0)
        self._body, self._end = body, b""
        self.begin(0)

    def begin(self, number: int) -> None:
        """What is read from now on belongs to this request."""
        self._number, self._bytes, self._values = number, 0, 0

    def read(self, size: int) -> bytes:
        piece = self._body.read(size)
        if _HALF.search(self._end + piece):
            raise InvalidRequest("The body is not valid JSON: it has half of a surrogate pair.")
        self._end = piece[-_LONGEST_HALF:]
        self._bytes += len(piece)
        self._values += json_texts.values_in(piece)
        if self._bytes > LONGEST_LINE_BYTES or self._values > MOST_VALUES:
            field = f"requests.{self._number}"
            raise InvalidRequest(f"{field}: a request may have {LONGEST_LINE_BYTES} bytes.", param=field)
        return piece
