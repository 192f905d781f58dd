"""The calls of tools in a chat stream, put together from their pieces as servers really send them.

Invariant: a new id is a new call, under any index; without an id a piece belongs to the call of its index,
without an index to the call last begun. Nothing is guessed without saying so: `is_exact` is False from then on.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from llm.wire.formats import Body
from llm.wire.texts.merging import merge

_OWN: frozenset[str] = frozenset({"index", "id", "function"})


@dataclass(slots=True, eq=False)
class ToolCall:
    """One call, as far as it was received."""

    index: int | None
    id: str = ""
    name: str = ""
    given: Any = None  # its arguments, where a server sends an object and no text
    pieces: list[str] = field(default_factory=list)
    rest: Body = field(default_factory=dict)
    function_rest: Body = field(default_factory=dict)
    is_consistent: bool = True
    _size: int = 0
    _looked_at: int = 0
    _is_whole: bool = False

    @property
    def arguments(self) -> str:
        return "".join(self.pieces)

    def is_whole(self) -> bool:
        """Whether its arguments so far are an object, as far as is known: who asks after each piece gets an answer that
        may be late, so that all answers together cost no more than the text is long."""
        if (
            self._size > self._looked_at * 1.2
            and next((p for p in reversed(self.pieces) if p.strip()), "").rstrip()[-1:] == "}"
        ):
            self._looked_at = self._size
            self._is_whole = isinstance(_decoded(self.arguments), dict)
        return self._is_whole and self._looked_at == self._size

    def is_exact(self) -> bool:
        """Whether its pieces fit together: arguments that are no JSON are pieces of we do not know what."""
        text = self.arguments
        return self.is_consistent and (not text.strip() or _decoded(text) is not _NOTHING)

    def take(self, part: Body) -> str:
        """Take a piece; what it adds to the arguments."""
        merge(self.rest, {name: value for name, value in part.items() if name not in _OWN})
        function = part.get("function")
        if not isinstance(function, dict):
            return ""
        merge(
            self.function_rest,
            {name: value for name, value in function.items() if name not in ("name", "arguments")},
        )
        if isinstance(name := function.get("name"), str) and name:
            self.is_consistent = self.is_consistent and name == (self.name or name)
            self.name = self.name or name
        return self._arguments(function.get("arguments"))

    def to_json(self) -> Body:
        """The call as a whole answer has it."""
        function: Body = {**self.function_rest}
        if self.name:
            function["name"] = self.name
        function["arguments"] = self.arguments if self.given is None else self.given
        identity = {"id": self.id} if self.id else {}
        return {**identity, **self.rest, "function": function}

    def _arguments(self, value: Any) -> str:
        if value is None or value == "":
            return ""
        if not isinstance(value, str):
            if self.given is not None and self.given == value:
                return ""  # sent again, not more of it
            self.is_consistent = self.is_consistent and not self.pieces
            self.given, value = value, orjson.dumps(value).decode()
        elif self.given is not None:
            self.is_consistent, self.given = False, None
        self.pieces.append(value)
        self._size += len(value)
        return str(value)


class ToolCalls:
    """The calls of one choice."""

    def __init__(self) -> None:
        self._calls: list[ToolCall] = []
        self._by_index: dict[int, ToolCall] = {}
        self._by_id: dict[str, ToolCall] = {}
        self._guessed = False

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def is_exact(self) -> bool:
        return not self._guessed and all(call.is_exact() for call in self._calls)

    def take(self, part: Body) -> tuple[ToolCall, str]:
        """The call that a piece belongs to, and what it adds to its arguments."""
        call = self._find(part)
        return call, call.take(part)

    def in_order(self) -> list[ToolCall]:
        """By their indexes, where each has one of its own; else as they came."""
        indexes = [call.index for call in self._calls]
        if None in indexes or len(set(indexes)) < len(indexes):
            return list(self._calls)
        return sorted(self._calls, key=lambda call: call.index or 0)

    def _find(self, part: Body) -> ToolCall:
        index, identity = _index(part.get("index")), _identity(part.get("id"))
        under = self._by_index.get(index) if index is not None else self._calls[-1] if self._calls else None
        if identity:
            known = self._by_id.get(identity)
            if known is not None and (index is None or known.index in (None, index)):
                return known
            if known is None and under is not None and not under.id and index is not None:
                return self._named(under, identity)
            return self._begin(index, identity)
        if under is None:
            return self._begin(index, "")
        function = part.get("function")
        is_another = isinstance(function, dict) and function.get("name") and function.get("arguments")
        if is_another and under.name and under.is_whole():
            self._guessed = True
            return self._begin(index, "")
        return under

    def _begin(self, index: int | None, identity: str) -> ToolCall:
        call = ToolCall(index)
        self._calls.append(call)
        if index is not None:
            self._by_index[index] = call
        return self._named(call, identity) if identity else call

    def _named(self, call: ToolCall, identity: str) -> ToolCall:
        call.id = identity
        self._by_id.setdefault(identity, call)
        return call


Step = tuple[Literal["begin", "piece"], ToolCall, str]


class CallQueue:
    """Sends calls one after the other, for protocols whose blocks follow one another.

    A call is sent while it arrives. One that begins before the one before has all its arguments waits for them, or for the
    end; so does a first one whose index says that another comes before it.
    """

    def __init__(self) -> None:
        self._calls = ToolCalls()
        self._waiting: deque[tuple[ToolCall, list[str]]] = deque()
        self._sent: ToolCall | None = None
        # or something comes before the calls, so that their indexes need not begin at 0
        self.is_first_sent = False

    def __bool__(self) -> bool:
        return len(self._calls) > 0

    def take(self, part: Body) -> Iterator[Step]:
        """What can be sent now; raises ValueError for a piece of a call that was already sent to its end."""
        known = len(self._calls)
        call, piece = self._calls.take(part)
        if len(self._calls) > known:
            self._waiting.append((call, []))
        if call is self._sent:
            if piece:
                yield "piece", call, piece
        else:
            pieces = next((pieces for waiting, pieces in self._waiting if waiting is call), None)
            if pieces is not None:
                pieces.append(piece)
            elif piece.strip():
                raise ValueError("pieces of two tool calls are mixed")
        yield from self._go_on(is_last=False)

    def finish(self) -> Iterator[Step]:
        """What is left, when no more pieces come or something else begins."""
        yield from self._go_on(is_last=True)
        self._sent = None

    def _go_on(self, *, is_last: bool) -> Iterator[Step]:
        if not self.is_first_sent:
            self._waiting = deque(sorted(self._waiting, key=lambda waiting: waiting[0].index or 0))
        while self._waiting:
            call, pieces = self._waiting[0]
            comes_later = bool(call.index) and not self.is_first_sent  # the first may still come
            if not is_last and (comes_later or not call.name or self._is_underway()):
                return
            self._waiting.popleft()
            self._sent, self.is_first_sent = call, True
            yield "begin", call, ""
            if text := "".join(pieces):
                yield "piece", call, text

    def _is_underway(self) -> bool:
        return self._sent is not None and not self._sent.is_whole()


class _Nothing:
    pass


_NOTHING = _Nothing()


def _decoded(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return _NOTHING


def _index(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _identity(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else ""
