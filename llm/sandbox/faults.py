"""Owns the faults ordered for coming calls.

Invariant: a fault ordered n times is given to exactly the next n calls that match it, oldest order first.
"""

import random
from dataclasses import dataclass, field
from typing import Any

from llm.sandbox.behaviours import PREFIX, Behaviour, behaviours
from llm.sandbox.calls import key_digest
from llm.sandbox.errors import ProviderError

STATUS = "status:"
BEFORE_ANSWER = frozenset({"timeout", "reset", "overload"})
IN_ANSWER = frozenset(
    {
        "disconnect",
        "truncate_stream",
        "malformed",
        "slow",
        "slow_first_byte",
        "drip",
        "ignore_max_tokens",
        "error_event",
        "missing_usage",
        "expire",
        "fail_batch",
        "lose_results",
        "odd_results",
        "bad_schema",
    }
)
MATCHERS = frozenset({"model", "path", "key", "contains", "tag", "stream"})
FIELDS: dict[str, tuple[type, ...]] = {
    "times": (int,),
    "retry_after": (int, float),
    "after_chunks": (int,),
    "delay_ms": (int, float),
    "message": (str,),
    "code": (str,),
    "billed": (bool,),
    "probability": (int, float),
}
FOREVER = -1


class InvalidFault(ValueError):
    """The order cannot be understood; the text says why."""


@dataclass(slots=True)
class Fault:
    """An order: which calls, how often, what goes wrong."""

    name: str
    match: dict[str, Any] = field(default_factory=dict)
    times: int = 1
    retry_after: float | None = None
    after_chunks: int | None = None
    delay_ms: float | None = None
    message: str | None = None
    code: str | None = None
    billed: bool = False  # a refused or timed-out call is billed in full all the same
    probability: float = 1.0

    @property
    def behaviour(self) -> Behaviour | None:
        """The entry of the catalogue that answers instead, where that is what was ordered."""
        return behaviours()[self.name[len(PREFIX) :]] if self.name.startswith(PREFIX) else None

    def status_for(self, *, overloaded: int) -> int:
        """The HTTP status the fault answers with; 0 for faults that are no status."""
        if self.name == "overload":
            return overloaded
        return int(self.name[len(STATUS) :]) if self.name.startswith(STATUS) else 0

    def error(self, status: int) -> ProviderError:
        """The refusal the fault orders."""
        return ProviderError(
            status,
            self.message or "",
            code=self.code,
            retry_after=self.retry_after,
            anthropic_type=self.code,
        )

    def delay_seconds(self, default_ms: float) -> float:
        """How long the fault waits."""
        return (default_ms if self.delay_ms is None else self.delay_ms) / 1000

    def matches(self, facts: dict[str, Any], raw: bytes) -> bool:
        """Whether the fault is meant for a call with these facts."""
        behaviour = self.behaviour
        if behaviour and not behaviour.answers(path=facts["path"], is_stream=facts["stream"]):
            return False
        for name, value in self.match.items():
            if name == "contains":
                if str(value).encode() not in raw:
                    return False
            elif name == "path":
                if value not in facts["path"]:
                    return False
            elif name == "key":
                if facts["key"] not in (value, key_digest(str(value))):
                    return False
            elif name == "tag":
                if value not in facts["tags"]:
                    return False
            elif facts[name] != value:
                return False
        return True


class FaultQueue:
    """Faults waiting for their calls."""

    def __init__(self, *, chance: random.Random) -> None:
        self._faults: list[Fault] = []
        self._chance = chance

    def __bool__(self) -> bool:
        return bool(self._faults)

    def order(self, orders: list[Any]) -> list[Fault]:
        """Queue faults as `POST /control/faults` describes them; raises InvalidFault and then queues none."""
        faults = [_fault(order) for order in orders]
        self._faults.extend(faults)
        return faults

    def take(self, facts: dict[str, Any], raw: bytes) -> Fault | None:
        """The oldest fault meant for this call, used up by one; None when there is none."""
        for fault in self._faults:
            if not fault.matches(facts, raw):
                continue
            if fault.probability < 1 and self._chance.random() >= fault.probability:
                continue
            if fault.times != FOREVER:
                fault.times -= 1
                if fault.times <= 0:
                    self._faults.remove(fault)
            return fault
        return None

    def waiting(self) -> list[Fault]:
        """What has not been used up."""
        return list(self._faults)

    def forget(self, wanted: dict[str, Any]) -> None:
        """Drop the faults whose match has these values; all of them when nothing is asked for."""
        self._faults = [
            fault
            for fault in self._faults
            if wanted and not all(fault.match.get(name) == value for name, value in wanted.items())
        ]


def _fault(order: Any) -> Fault:
    if not isinstance(order, dict):
        raise InvalidFault("a fault is an object with at least `fault`")
    fields = {name: value for name, value in order.items() if name not in ("fault", "match")}
    name, match = order.get("fault"), order.get("match") or {}
    if not isinstance(name, str) or not _is_known(name):
        known = ", ".join(sorted(BEFORE_ANSWER | IN_ANSWER))
        raise InvalidFault(
            f"`fault` must be status:<code>, behaviour:<name in the catalogue> or one of {known}; got {name!r}"
        )
    if not isinstance(match, dict) or not match.keys() <= MATCHERS:
        raise InvalidFault(f"`match` may name {', '.join(sorted(MATCHERS))}")
    for field_name, value in fields.items():
        if field_name not in FIELDS:
            raise InvalidFault(f"unknown field {field_name!r}")
        if value is not None and not isinstance(value, FIELDS[field_name]):
            raise InvalidFault(f"field {field_name!r} has the wrong type")
    return Fault(name=name, match=match, **fields)


def _is_known(name: str) -> bool:
    if name.startswith(STATUS):
        code = name[len(STATUS) :]
        return code.isdigit() and 400 <= int(code) <= 599
    if name.startswith(PREFIX):
        return name[len(PREFIX) :] in behaviours()
    return name in BEFORE_ANSWER or name in IN_ANSWER
