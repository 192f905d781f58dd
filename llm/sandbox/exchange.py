"""Owns one call in flight: who called, what for, which fault was ordered for it, what it is billed.

Invariant: a call is in the log as soon as its Exchange exists, and its answer is billed before anything is
sent.
"""

import functools
import hashlib
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import orjson
from aiohttp import web

from llm.sandbox.behaviours import PREFIX, ordered_in
from llm.sandbox.calls import Call, key_digest
from llm.sandbox.catalog import most_output_tokens_of
from llm.sandbox.errors import ProviderError
from llm.sandbox.faults import Fault
from llm.sandbox.state import Sandbox
from llm.sandbox.usage import Usage

OPENAI, ANTHROPIC = "openai", "anthropic"
LIMIT_FIELDS = frozenset({"max_tokens", "max_completion_tokens", "max_output_tokens"})
FORM_FIELDS = frozenset({"response_format", "output_format"})
ARGUMENT_SCHEMAS = frozenset({"parameters", "input_schema"})
OTHER_ARGUMENTS = {
    "type": "object",
    "properties": {"unexpected": {"type": "boolean"}},
    "required": ["unexpected"],
}
NO_LIMIT = 1_000_000

Event = tuple[bytes, int]  # what goes over the wire, and how many output tokens it carries
Bill = Callable[[int, bool], None]  # takes the tokens produced, and whether that was all
Handler = Callable[["Exchange"], Awaitable[web.StreamResponse]]


class Exchange:
    """A call and its place in the log; how its answer leaves is for subclasses to say."""

    def __init__(self, sandbox: Sandbox, *, kind: str, method: str, path: str, key: str, raw: bytes) -> None:
        self.sandbox = sandbox
        self.kind = kind
        self.raw = raw
        self.key = key
        self.body: dict[str, Any] = {}
        self.fault: Fault | None = None
        ids = sandbox.ids
        self.request_id = ids.anthropic("req_") if kind == ANTHROPIC else ids.hexadecimal("req_", length=32)
        self.call = Call(
            id=ids.hexadecimal("call_", length=24),
            at=time.time(),
            kind=kind,
            method=method,
            path=path,
            key=_digest_of(key),
            body_digest=hashlib.blake2b(raw, digest_size=12).hexdigest() if raw else "",
            request_id=self.request_id,
            raw=raw,
        )
        sandbox.calls.begin(self.call)

    @property
    def request(self) -> web.Request:
        """The HTTP request, where there is one."""
        raise NotImplementedError

    def read_json(self) -> None:
        """Parse the body and note in the log what it is about; raises 400."""
        try:
            body = orjson.loads(self.raw)
        except orjson.JSONDecodeError as error:
            raise ProviderError(400, "We could not parse the JSON body of your request.") from error
        if not isinstance(body, dict):
            raise ProviderError(400, "The body of the request must be a JSON object.")
        self.take(body)

    def take(self, body: dict[str, Any]) -> None:
        """Make this the call's body and note in the log what it is about."""
        self.body = body
        call = self.call
        metadata = body.get("metadata")
        call.fields = tuple(body)
        call.model = body["model"] if isinstance(body.get("model"), str) else ""
        call.stream = body.get("stream") is True
        call.metadata = metadata if isinstance(metadata, dict) else {}
        call.user = str(body.get("user") or call.metadata.get("user_id") or "")
        limit = body.get("max_completion_tokens") or body.get("max_tokens") or body.get("max_output_tokens")
        call.max_tokens = limit if isinstance(limit, int) else None

    def take_fault(self) -> None:
        """Use up the oldest fault meant for this call, or take the behaviour that its own body asks for."""
        call = self.call
        if self.sandbox.faults:
            facts = {
                "model": call.model,
                "path": call.path,
                "key": call.key,
                "stream": call.stream,
                "tags": call.tags(),
            }
            self.fault = self.sandbox.faults.take(facts, self.raw)
        if self.fault is None and (name := ordered_in(self.raw, path=call.path, is_stream=call.stream)):
            self.fault = Fault(name=PREFIX + name)
        call.fault = self.fault.name if self.fault else ""
        if self.has_fault("bad_schema"):
            self.body = without_form(self.body)
        if self.has_fault("ignore_max_tokens"):
            most = most_output_tokens_of(call.model) or NO_LIMIT
            self.body = {name: most if name in LIMIT_FIELDS else value for name, value in self.body.items()}

    def has_fault(self, name: str) -> bool:
        """Whether this call was ordered to go wrong in this way."""
        return self.fault is not None and self.fault.name == name

    async def answer(
        self, payload: dict[str, Any], *, usage: Usage | None = None, tokens: int = 0
    ) -> web.StreamResponse:
        """Give a plain answer that took so many output tokens; its `usage` goes on the invoice."""
        raise NotImplementedError

    async def stream(self, events: Iterable[Event], *, bill: Bill, error_event: bytes) -> web.StreamResponse:
        """Give an answer event by event; `bill` puts on the invoice what was produced."""
        raise ProviderError(400, "Streaming is not supported here.", param="stream")

    def bill(self, payload: dict[str, Any], usage: Usage | None) -> None:
        """Put a plain answer on the invoice as it reports itself."""
        reported = payload.get("usage")
        if usage is not None and isinstance(reported, dict):
            self.call.bill(usage, reported)


def without_form(body: dict[str, Any]) -> dict[str, Any]:
    """The body as a model reads it that does not keep to schemas: it answers in prose, and calls tools with arguments of
    its own."""
    kept = {name: value for name, value in body.items() if name not in FORM_FIELDS}
    for name in ("text", "output_config"):
        if isinstance(kept.get(name), dict):
            kept[name] = {key: value for key, value in kept[name].items() if key != "format"}
    if isinstance(kept.get("tools"), list):
        kept["tools"] = [_with_other_arguments(tool) for tool in kept["tools"]]
    return kept


def _with_other_arguments(tool: Any) -> Any:
    if not isinstance(tool, dict):
        return tool
    if isinstance(tool.get("function"), dict):
        return {**tool, "function": _with_other_arguments(tool["function"])}
    return {name: OTHER_ARGUMENTS if name in ARGUMENT_SCHEMAS else value for name, value in tool.items()}


@functools.lru_cache(maxsize=10_000)
def _digest_of(key: str) -> str:
    return key_digest(key)
