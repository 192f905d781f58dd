"""The texts that wait for the embedder in the process, and which of them are computed next.

Invariant: bounded, in all and by tenant, in tokens, which are time. Tenants take turns, so that one with many texts delays
itself; short texts and long ones take turns, so that a short one waits for one long one at most. Pure: no clock, no thread.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from caching.circuit import Unavailable
from caching.embedders.base import MAX_TOKENS, SHARED_TOKENS

# 0.12 ms a token: what a request would wait for at most (`caching.entries.vectors`), and ten tenants that each do
MOST_TOKENS_OF_TENANT: Final = 3 * MAX_TOKENS
MOST_TOKENS: Final = 10 * MOST_TOKENS_OF_TENANT

Key = tuple[int, bytes]  # tenant, digest of the text


class QueueFull(Unavailable):
    """So many texts wait that one more would come too late."""


@dataclass(frozen=True, slots=True)
class WaitingText:
    """A tenant's text and its length."""

    key: Key
    text: str
    tokens: int


_Lane = OrderedDict[int, OrderedDict[Key, WaitingText]]  # by tenant; the first has its turn


class WaitingTexts:
    """The queue. A group has at most `group_texts` short texts, or one long one, and so never more than MAX_TOKENS."""

    def __init__(self, *, group_texts: int) -> None:
        self._group_texts = max(1, group_texts)
        self._short: _Lane = OrderedDict()
        self._long: _Lane = OrderedDict()
        self._is_long_next = False
        self._tokens = 0
        self._tokens_of: dict[int, int] = {}

    def __len__(self) -> int:
        return sum(len(texts) for lane in (self._short, self._long) for texts in lane.values())

    def add(self, waiting: WaitingText) -> None:
        """Let a text wait. Raises QueueFull."""
        tenant_id = waiting.key[0]
        of_tenant = self._tokens_of.get(tenant_id, 0) + waiting.tokens
        if of_tenant > MOST_TOKENS_OF_TENANT:
            raise QueueFull("too many texts of the tenant wait for the embedder")
        if self._tokens + waiting.tokens > MOST_TOKENS:
            raise QueueFull("too many texts wait for the embedder")
        self._tokens += waiting.tokens
        self._tokens_of[tenant_id] = of_tenant
        self._lane_of(waiting).setdefault(tenant_id, OrderedDict())[waiting.key] = waiting

    def leave(self, waiting: WaitingText) -> bool:
        """Nobody wants the text any more; whether it still waited."""
        is_waiting = waiting.key in self._lane_of(waiting).get(waiting.key[0], ())
        if is_waiting:
            self._remove(waiting)
        return is_waiting

    def take(self) -> list[WaitingText]:
        """The texts that are computed next, together; none if none waits."""
        lane = self._long if self._long and (self._is_long_next or not self._short) else self._short
        self._is_long_next = lane is self._short
        most = self._group_texts if lane is self._short else 1
        group: list[WaitingText] = []
        room = MAX_TOKENS
        while lane and len(group) < most:
            tenant_id, texts = next(iter(lane.items()))
            waiting = next(iter(texts.values()))
            if group and waiting.tokens > room:
                break
            room -= waiting.tokens
            group.append(waiting)
            lane.move_to_end(tenant_id)
            self._remove(waiting)
        return group

    def _lane_of(self, waiting: WaitingText) -> _Lane:
        return self._short if waiting.tokens <= SHARED_TOKENS else self._long

    def _remove(self, waiting: WaitingText) -> None:
        tenant_id = waiting.key[0]
        lane = self._lane_of(waiting)
        del lane[tenant_id][waiting.key]
        if not lane[tenant_id]:
            del lane[tenant_id]
        self._tokens -= waiting.tokens
        left = self._tokens_of[tenant_id] - waiting.tokens
        if left:
            self._tokens_of[tenant_id] = left
        else:
            del self._tokens_of[tenant_id]
