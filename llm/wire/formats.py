"""What the gateway needs from a client protocol, and nothing more: the Protocol every wire module satisfies.

Invariant: pure. A body is never edited in place; a function that changes it returns a new one, one that does
not returns the same object, so that unchanged bytes can be passed on.
"""

from collections.abc import Iterator
from dataclasses import KW_ONLY
from typing import Any, Protocol

from config.values import value_type
from llm.wire.asks import Asks
from llm.wire.references import Reference
from tenants.errors import Api

Body = dict[str, Any]


@value_type
class RequestFacts:
    """What the pipeline wants to know of a request in any protocol. Unknown is the empty value."""

    _: KW_ONLY
    model: str
    stream: bool = False
    wants_usage: bool = False
    max_output_tokens: int | None = None
    n: int = 1
    temperature: float | None = None
    has_tools: bool = False
    has_images: bool = False
    has_audio: bool = False
    has_files: bool = False
    wants_json: bool = False
    system: str = ""
    user: str = ""  # a person
    session: str = ""  # that the person works in
    last_user_text: str = ""
    texts: tuple[str, ...] = ()
    message_count: int = 0
    asks: Asks | None = None  # None: a request without turns
    service_tier: str = ""
    # the provider adds to the prompt what it keeps: of earlier turns, of a template
    is_continued: bool = False
    continues: str = ""  # the kept response it goes on from
    references: tuple[Reference, ...] = ()  # what else it names of what the provider keeps


class StreamMeter(Protocol):
    """Follows a stream in its provider's protocol, event by event; knows what was produced so far."""

    usage: dict[str, Any] | None
    is_usage_final: bool  # of the whole answer, once that has ended
    finish_reason: str | None
    has_output: bool

    @property
    def has_ended(self) -> bool:
        """Whether the provider finished the stream properly."""
        ...

    @property
    def is_exact(self) -> bool:
        """Whether `response` is exactly the answer; else it must not be kept, judged or replayed."""
        ...

    def feed(self, payload: Body) -> None: ...

    def end(self) -> None:
        """The provider says that this was all, even if something is missing."""
        ...

    def text(self) -> str:
        """Everything produced so far that a provider bills as output: text, reasoning, tool arguments."""
        ...

    def response(self) -> Body:
        """The answer as the provider would have sent it whole."""
        ...

    def cut_short(self, *, input_tokens: int, output_tokens: int) -> list[Body]:
        """The events that would end the stream here, for its length, with this usage."""
        ...


class Tail(Protocol):
    """The client's end of a stream: passes events on, keeps back the last one until our facts are known."""

    def feed(self, raw: bytes, payload: Body | None) -> bytes:
        """Return what may go out now. `payload` is None for comments and the end mark."""
        ...

    def close(self, block: Body) -> bytes:
        """Return the last event with our `purser` object in it, and the end mark."""
        ...


class WireFormat(Protocol):
    """One protocol. `api` is its name in the ledger, `vendor` whose it is, `path` what follows a provider's base URL."""

    api: str
    vendor: Api
    path: str
    is_chat: bool

    def facts(self, body: Body) -> RequestFacts:
        """Read a request, or raise InvalidRequest naming the field that is wrong."""
        ...

    def with_model(self, body: Body, model: str) -> Body: ...

    def with_max_tokens(self, body: Body, max_tokens: int) -> Body:
        """Set the output limit in the field that the body's model understands."""
        ...

    def with_usage_in_stream(self, body: Body) -> Body: ...

    def usage(self, response: Body) -> dict[str, Any]:
        """The provider's raw usage block; empty when it sent none."""
        ...

    def usage_context(self, response: Body) -> dict[str, Any]:
        """What else decides the price: the service tier that was served, tools that bill per call."""
        ...

    def answer_text(self, response: Body) -> str: ...

    def normal(self, response: Body) -> Body:
        """The same answer as the protocol wants it written; the same object where it is."""
        ...

    def misfit(self, response: Body) -> str:
        """Why a body is no answer of this protocol; empty when it is one."""
        ...

    def produced_text(self, response: Body) -> str:
        """Everything in an answer that a provider bills as output, as StreamMeter.text has it of a stream."""
        ...

    def is_complete(self, response: Body) -> bool:
        """Whether the model said all it wanted to, without tools: what may be cached."""
        ...

    def meter(self) -> StreamMeter: ...

    def tail(self, *, wants_usage: bool) -> Tail: ...

    def replay(self, response: Body, block: Body, *, wants_usage: bool) -> Iterator[bytes]:
        """Send a stored answer as a stream, ending with our `purser` object."""
        ...

    def events_of(self, response: Body) -> Iterator[Body]:
        """The events of a provider's stream of this answer."""
        ...

    def encode_event(self, payload: Body) -> bytes: ...

    def keep_alive(self) -> bytes:
        """What keeps a client's stream alive."""
        ...

    def error_event(self, error: dict[str, Any], block: Body | None = None) -> bytes:
        """End a stream with an error: {message, type, code, param} in this protocol's event."""
        ...

    def with_purser(self, response: Body, block: Body) -> Body: ...
