"""The lines of a batch's file: each read, checked, and matched with the model it asks for.

Invariant: pure; one line at a time is in memory, and none that is too long. A wrong line is a problem with its number, and
the next one is read.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import orjson

from config.database import storable
from llm.batches.offers import is_automatic
from llm.errors import InvalidRequest
from llm.kept import references
from llm.providers.target import Target
from llm.wire import Exchange, RequestFacts, WireFormat, format_for, prepare
from llm.wire.texts import json_texts
from tenants.errors import ClientError

MAX_LINES: Final = 50_000
LONGEST_LINE_BYTES: Final = 10 * 1024 * 1024
LONGEST_CUSTOM_ID: Final = 512
LONGEST_MESSAGE, LONGEST_PARAM = 400, 100
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"

_APIS: Final[Mapping[str, str]] = {
    "/v1/chat/completions": "openai.chat",
    "/v1/responses": "openai.responses",
    "/v1/embeddings": "openai.embeddings",
    "/v1/completions": "openai.completions",
    "/v1/messages": "anthropic.messages",
}
ENDPOINTS: Final = ("/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/completions")


@dataclass(frozen=True, slots=True)
class BatchLine:
    """One request of a batch that can be sent: its number in the file, its body, and the model that will
    answer."""

    number: int
    custom_id: str
    body: dict[str, Any]
    wire: WireFormat
    facts: RequestFacts
    target: Target
    exchange: Exchange | None  # none yet where the model is chosen later
    writes_cache: bool


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a line, or with the file (line 0)."""

    line: int
    code: str
    message: str
    param: str | None = None
    custom_id: str = ""

    def to_json(self) -> dict[str, Any]:
        """As the batches API lists it."""
        return {
            "code": self.code,
            "message": storable.text(self.message)[:LONGEST_MESSAGE],
            "param": self.param and storable.text(self.param)[:LONGEST_PARAM],
            "line": self.line or None,
        }


def wire_of(endpoint: str) -> WireFormat:
    """The protocol the lines of an endpoint are written in."""
    return format_for(_APIS[endpoint])


class LineReader:
    """Reads the lines of one file, for one endpoint: of a file whose batch is not known yet, that of its first line.

    `find` returns a model's target or raises a ClientError.
    """

    def __init__(self, *, find: Callable[[str], Target], endpoint: str = "") -> None:
        self.endpoint = endpoint
        self.count = 0
        self._find = find
        self._is_of_batch = bool(endpoint)
        self._lines_of: dict[bytes, int] = {}  # by the digests of their ids: 50,000 of them take 8 MB

    def read(self, pieces: Iterable[bytes], *, after: int = 0) -> Iterator[BatchLine | Problem]:
        """Every line as what can be sent, or as what is wrong with it; then what is wrong with the file. Of the lines up to
        `after`, which were good before, only the ids are looked at."""
        for number, raw in numbered(pieces):
            self.count += 1
            if self.count > MAX_LINES:
                yield Problem(number, "too_many_lines", f"A batch has at most {MAX_LINES} lines.")
                return
            if raw is None:
                yield Problem(number, "line_too_long", f"The line is longer than {LONGEST_LINE_BYTES} bytes.")
                continue
            custom_id = ""
            try:
                request = _decode(raw)
                custom_id = self._custom_id(request, number)
                if number <= after:
                    continue
                yield self._line(number, custom_id, request, raw)
            except ClientError as error:
                yield Problem(number, error.code, error.message, error.param, custom_id)
        if not self.count:
            yield Problem(0, "empty_file", "The file has no lines.")

    def _custom_id(self, request: dict[str, Any], number: int) -> str:
        custom_id = request.get("custom_id")
        if (
            not isinstance(custom_id, str)
            or not 0 < len(custom_id) <= LONGEST_CUSTOM_ID
            or "\x00" in custom_id
        ):
            raise InvalidRequest(
                f"'custom_id' must be a text of 1 to {LONGEST_CUSTOM_ID} characters.", param="custom_id"
            )
        first = self._lines_of.setdefault(blake2b(custom_id.encode(), digest_size=16).digest(), number)
        if first != number:
            raise InvalidRequest(f"'custom_id' is the same as in line {first}.", param="custom_id")
        return custom_id

    def _line(self, number: int, custom_id: str, request: dict[str, Any], raw: bytes) -> BatchLine:
        if request.get("method", "POST") != "POST":
            raise InvalidRequest("'method' must be POST.", param="method")
        self._check_url(request.get("url"))
        body = request.get("body")
        if not isinstance(body, dict):
            raise InvalidRequest("'body' must be a JSON object.", param="body")
        if b"\\u0000" in raw and storable.has_null(orjson.dumps(body).decode()):
            raise InvalidRequest("'body' holds a null character.", param="body")
        wire = wire_of(self.endpoint)
        facts = wire.facts(body)
        if facts.stream:
            raise InvalidRequest("A line of a batch cannot be streamed.", param="stream")
        if facts.continues:
            raise InvalidRequest(
                "A line of a batch cannot refer to an earlier response.", param="previous_response_id"
            )
        target = self._find(facts.model)
        if facts.references and target.owner is None:
            raise references.refusal(facts.references[0])
        if (target.model_kind == "embedding") != (wire.api == "openai.embeddings"):
            raise InvalidRequest(f"The model '{target.model}' does not serve {self.endpoint}.", param="model")
        exchange: Exchange | None = None
        # an automatic model is chosen when the batch is planned, among those that can be asked this
        if not is_automatic(facts.model):
            # raises Untranslatable
            exchange = prepare(
                wire, body, kind=target.kind, upstream_model=target.upstream, max_output_tokens=None
            )
        return BatchLine(
            number, custom_id, body, wire, facts, target, exchange, writes_cache=b'"cache_control"' in raw
        )

    def _check_url(self, url: Any) -> None:
        if not self.endpoint and url in ENDPOINTS:
            self.endpoint = url
        if not self.endpoint:
            raise InvalidRequest(f"'url' must be one of {', '.join(ENDPOINTS)}.", param="url")
        if url != self.endpoint:
            reason = "as the batch says" if self._is_of_batch else "as in the lines before"
            raise InvalidRequest(f"'url' must be {self.endpoint}, {reason}.", param="url")


def numbered(pieces: Iterable[bytes]) -> Iterator[tuple[int, bytes | None]]:
    """The lines of a file that are not blank, by number; None for one that is too long."""
    number, size = 1, 0
    held: list[bytes] = []
    for piece in pieces:
        if not held and not size and not piece.strip():  # millions of blank lines, without a look at each
            number += piece.count(b"\n")
            continue
        first, *others = piece.split(b"\n")
        for part in others:
            yield from _line_of(number, held, first, size + len(first))
            number, held, size, first = number + 1, [], 0, part
        size += len(first)
        if size <= LONGEST_LINE_BYTES:
            held.append(first)
        else:
            held.clear()
    yield from _line_of(number, held, b"", size)


def _line_of(number: int, held: list[bytes], end: bytes, size: int) -> Iterator[tuple[int, bytes | None]]:
    if size > LONGEST_LINE_BYTES:
        yield number, None
        return
    line = (b"".join((*held, end)) if held else end).strip()
    if number == 1:
        line = line.removeprefix(BYTE_ORDER_MARK).strip()
    if line:
        yield number, line


def _decode(raw: bytes) -> dict[str, Any]:
    if (
        len(raw) > (most := json_texts.most_values(most_bytes=LONGEST_LINE_BYTES))
        and json_texts.values_in(raw) > most
    ):
        raise InvalidRequest(f"The line has more than {most:,} values.")
    try:
        request = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise InvalidRequest("The line is not valid JSON.") from None
    if not isinstance(request, dict):
        raise InvalidRequest("The line is not a JSON object.")
    if json_texts.is_too_deep(request, raw):
        raise InvalidRequest(f"The line is nested deeper than {json_texts.DEEPEST} levels.")
    return request
