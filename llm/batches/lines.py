"""The lines of a batch's file: each read, checked, and matched with the model it asks for.

Invariant: pure. A file with one wrong line is refused as a whole, every wrong line named by number, before
anything is held or sent.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from config.database import storable
from llm.batches.offers import is_automatic
from llm.errors import InvalidRequest
from llm.kept import references
from llm.providers.target import Target
from llm.wire import RequestFacts, WireFormat, format_for, prepare
from llm.wire.texts import json_texts
from tenants.errors import ClientError

MAX_LINES: Final = 50_000
MAX_PROBLEMS: Final = 1_000
LONGEST_CUSTOM_ID: Final = 512

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
    facts: RequestFacts
    target: Target


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
        return {"code": self.code, "message": self.message, "param": self.param, "line": self.line or None}


def wire_of(endpoint: str) -> WireFormat:
    """The protocol the lines of an endpoint are written in."""
    return format_for(_APIS[endpoint])


def read_lines(
    content: bytes, *, endpoint: str, find: Callable[[str], Target]
) -> tuple[list[BatchLine], list[Problem]]:
    """Every line that can be sent, and every problem. `find` returns a model's target or raises a
    ClientError."""
    lines: list[BatchLine] = []
    problems: list[Problem] = []
    seen: dict[str, int] = {}
    count = 0
    for number, raw in _numbered(content):
        count += 1
        if count > MAX_LINES:
            problems.append(Problem(number, "too_many_lines", f"A batch has at most {MAX_LINES} lines."))
            break
        if len(problems) >= MAX_PROBLEMS:
            break
        custom_id = ""
        try:
            request = _decode(raw)
            custom_id = _custom_id(request, seen=seen, number=number)
            lines.append(_line(number, custom_id, request, endpoint=endpoint, find=find))
        except ClientError as error:
            problems.append(Problem(number, error.code, error.message, error.param, custom_id))
    if not count:
        problems.append(Problem(0, "empty_file", "The file has no lines."))
    return lines, problems


def _numbered(content: bytes) -> Iterator[tuple[int, bytes]]:
    for number, raw in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if stripped := raw.strip():
            yield number, stripped


def _decode(raw: bytes) -> dict[str, Any]:
    try:
        request = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise InvalidRequest("The line is not valid JSON.") from None
    if not isinstance(request, dict):
        raise InvalidRequest("The line is not a JSON object.")
    if json_texts.is_too_deep(request, raw):
        raise InvalidRequest(f"The line is nested deeper than {json_texts.DEEPEST} levels.")
    return request


def _custom_id(request: dict[str, Any], *, seen: dict[str, int], number: int) -> str:
    custom_id = request.get("custom_id")
    if not isinstance(custom_id, str) or not 0 < len(custom_id) <= LONGEST_CUSTOM_ID or "\x00" in custom_id:
        raise InvalidRequest(
            f"'custom_id' must be a text of 1 to {LONGEST_CUSTOM_ID} characters.", param="custom_id"
        )
    if custom_id in seen:
        raise InvalidRequest(f"'custom_id' is the same as in line {seen[custom_id]}.", param="custom_id")
    seen[custom_id] = number
    return custom_id


def _line(
    number: int, custom_id: str, request: dict[str, Any], *, endpoint: str, find: Callable[[str], Target]
) -> BatchLine:
    if request.get("method", "POST") != "POST":
        raise InvalidRequest("'method' must be POST.", param="method")
    if request.get("url") != endpoint:
        raise InvalidRequest(f"'url' must be {endpoint}, as the batch says.", param="url")
    body = request.get("body")
    if not isinstance(body, dict):
        raise InvalidRequest("'body' must be a JSON object.", param="body")
    if storable.has_null(orjson.dumps(body).decode()):
        raise InvalidRequest("'body' holds a null character.", param="body")
    wire = wire_of(endpoint)
    facts = wire.facts(body)
    if facts.stream:
        raise InvalidRequest("A line of a batch cannot be streamed.", param="stream")
    if facts.continues:
        raise InvalidRequest(
            "A line of a batch cannot refer to an earlier response.", param="previous_response_id"
        )
    target = find(facts.model)
    if facts.references and target.owner is None:
        raise references.refusal(facts.references[0])
    if (target.model_kind == "embedding") != (wire.api == "openai.embeddings"):
        raise InvalidRequest(f"The model '{target.model}' does not serve {endpoint}.", param="model")
    if is_automatic(facts.model):  # chosen when the batch is planned, among those that can be asked this
        return BatchLine(number=number, custom_id=custom_id, body=body, facts=facts, target=target)
    # raises Untranslatable
    prepare(wire, body, kind=target.kind, upstream_model=target.upstream, max_output_tokens=None)
    return BatchLine(number=number, custom_id=custom_id, body=body, facts=facts, target=target)
