"""What is read out of a call's body, read once: every step and every attempt of the call shares it.

Invariant: pure. What was read of a body is never taken for another one's: a body is never edited in place, so the same
objects have the same readings.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from llm.errors import InvalidRequest
from llm.providers.kinds import ProviderKind
from llm.routing.facts import RouteFacts, read_route_facts
from llm.tokens.inputs import count_input
from llm.wire import Body, Translated, WireFormat, translated
from llm.wire.asks import Asks

# what a count may depend on, in any of the protocols
_COUNTED: Final = (
    *("messages", "input", "prompt", "instructions", "system"),
    *("tools", "functions", "response_format", "text", "thinking"),
)


@dataclass(slots=True)
class Readings:
    """Of the bodies of one call. The values that a reading depends on are kept with it: their identity is its key."""

    _counts: dict[tuple[str, str, tuple[int, ...]], tuple[list[Any], int]] = field(default_factory=dict)
    _route_facts: dict[int, tuple[Body, RouteFacts]] = field(default_factory=dict)
    _translated: dict[tuple[str, int], tuple[Body, Translated | InvalidRequest]] = field(default_factory=dict)

    def count(self, wire: WireFormat, body: Mapping[str, Any], tokenizer: str) -> int:
        """The input tokens of a body: see `count_input`."""
        values = [*map(body.get, _COUNTED)]
        key = (wire.api, tokenizer, tuple(map(id, values)))
        if key not in self._counts:
            self._counts[key] = values, count_input(wire, body, tokenizer)
        return self._counts[key][1]

    def route_facts(self, body: Body, *, declared_tier: str, asks: Asks | None) -> RouteFacts:
        """What routing uses of a body: see `read_route_facts`."""
        if id(body) not in self._route_facts:
            facts = read_route_facts(body, declared_tier=declared_tier, asks=asks)
            self._route_facts[id(body)] = body, facts
        return self._route_facts[id(body)][1]

    def translated(self, wire: WireFormat, body: Body, kind: ProviderKind) -> Translated:
        """A body as a kind of provider takes it, or the InvalidRequest that says why it cannot: see `wire.translated`."""
        key = (kind.answers.get(wire.api) or kind.name, id(body))
        if key not in self._translated:
            try:
                self._translated[key] = body, translated(wire, body, kind=kind)
            except InvalidRequest as refusal:
                self._translated[key] = body, refusal
        found = self._translated[key][1]
        if isinstance(found, InvalidRequest):
            raise found
        return found
