"""Decides how much of the reported usage is booked, by comparing it with what we know of the call.

Invariant: pure. Reported usage is never booked at less, unless it is beyond what the model can do: then it is not
believed, and the hold is booked. A result that is not exact says so, and why.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, field, replace
from enum import StrEnum
from typing import Any, Final

from billing.errors import InvalidUsage
from billing.prices.rating import input_tokens, output_tokens
from billing.usage.blocks.doubts import Doubt, Kind
from billing.usage.reading import Meters, read_usage
from config.values import value_type

# What tokenizers, chat templates and catalogues may differ by from what is true, at the very most.
MOST_OF_WINDOW: Final = 1.5
# A provider that runs tools by itself reads the conversation again for each of their results.
MOST_ROUNDS: Final = 10
MOST_OF_ASKED: Final = 4
SLACK: Final = 8192  # there are servers that know no limit, or another one than was sent
LEAST_OF_COUNTED: Final = 4
FEW: Final = 32
MOST_WHAT: Final = 100


class Certainty(StrEnum):
    """How far an amount in the ledger is known."""

    EXACT = "exact"
    ESTIMATED = "estimated"  # counted, or bounded, by us
    UNREAD = "unread"  # the provider's figures could not be read or believed: at a bound, until explained


@value_type
class KnownFacts:
    """What we know of a call besides its reported usage.

    `input_tokens` is the most it may have, `output_tokens` what came, counted. `is_whole`: the provider ended its answer.
    """

    input_tokens: int
    output_tokens: int
    asked_output_tokens: int
    context_window: int
    is_whole: bool = True
    has_server_tools: bool = False
    held_output_tokens: int = 0  # if that is less than may come


@value_type
class Source:
    """What usage was read from."""

    api: str
    context: Mapping[str, Any]
    evidence: KnownFacts

    def to_reading(self) -> dict[str, Any]:
        return {"api": self.api, "context": dict(self.context), "evidence": asdict(self.evidence)}


@value_type
class Used:
    """What is booked. `is_beyond`: the provider's figures are beyond what the model can do.

    `unread_tokens` may have to be paid in addition to the meters.
    """

    meters: Meters
    certainty: Certainty
    doubts: tuple[Doubt, ...] = ()
    unread_tokens: int = 0
    is_beyond: bool = False
    source: Source | None = field(default=None, compare=False)

    def to_reading(self) -> dict[str, Any]:
        """What the ledger keeps of a reading that is not exact, so that a later release, or a person, can read it again."""
        return {
            "what": "; ".join(sorted(doubt.what for doubt in self.doubts))[:MOST_WHAT],
            "doubts": [doubt.detail for doubt in self.doubts],
            "meters": self.meters,
            **(self.source.to_reading() if self.source else {}),
        }

    def doubted(self, doubts: tuple[Doubt, ...]) -> "Used":
        """The same with more reasons to doubt it."""
        if not doubts:
            return self
        return replace(self, doubts=(*self.doubts, *doubts), certainty=Certainty.UNREAD)

    @property
    def reason(self) -> str:
        """Why it is not exact; empty if it is."""
        return "; ".join(doubt.detail for doubt in self.doubts)[:1000]


def used(api: str, usage: Mapping[str, Any], *, context: Mapping[str, Any], evidence: KnownFacts) -> Used:
    """What a call has used, by its provider's usage block as far as that can be true, else by what we counted."""
    counted = {"input": evidence.input_tokens, "output": evidence.output_tokens}
    source = Source(api, context, evidence)
    try:
        reading = read_usage(api, usage, context=context)
    except InvalidUsage:
        doubt = Doubt("no usage reported", "no usage reported", Kind.BOUNDED)
        return Used(_without_zeros(counted), Certainty.ESTIMATED, doubts=(doubt,))
    meters, doubts = dict(reading.meters), [*reading.doubts]
    reported_input, reported_output = input_tokens(meters), output_tokens(meters)
    beyond = [
        *_beyond(reported_input, reported_output - reading.unseen_output, reported_output, meters, evidence)
    ]
    if beyond:
        held_output = evidence.held_output_tokens or evidence.asked_output_tokens
        bound = {"input": evidence.input_tokens, "output": held_output}
        return Used(
            _without_zeros(bound),
            Certainty.UNREAD,
            doubts=(*beyond, *doubts),
            is_beyond=True,
            source=source,
        )
    if not reported_input and evidence.input_tokens:
        meters["input"] = evidence.input_tokens
        doubts.append(Doubt("input reported as zero", "no input tokens reported: counted", Kind.BOUNDED))
    missing = evidence.output_tokens - reported_output
    if missing > 0 and not reported_output:
        meters["output"] = evidence.output_tokens
        doubts.append(Doubt("output reported as zero", "no output tokens reported: counted", Kind.BOUNDED))
    elif not evidence.is_whole or any(doubt.kind is Kind.CONTRADICTION for doubt in doubts):
        meters["output"] = meters.get("output", 0) + max(0, missing)
        if not evidence.is_whole:
            doubts.append(Doubt("not whole", "the answer, or its report, broke off", Kind.BOUNDED))
    elif missing > FEW and evidence.output_tokens > reported_output * LEAST_OF_COUNTED:
        what = "output far below what came"
        doubts.append(
            Doubt(
                what,
                f"{reported_output} output tokens reported, {evidence.output_tokens} counted",
                Kind.UNREAD,
            )
        )
    return Used(
        _without_zeros(meters), _certainty(doubts), doubts=tuple(doubts),
        unread_tokens=min(reading.unread_tokens, evidence.context_window), source=source,
    )  # fmt: skip


def _beyond(
    reported_input: int, text: int, reported_output: int, meters: Meters, evidence: KnownFacts
) -> Iterator[Doubt]:
    """What no such call can have used."""
    runs_tools = evidence.has_server_tools or any(
        not meter.startswith(("input", "cache_", "output")) for meter in meters
    )
    rounds = MOST_ROUNDS if runs_tools else 1
    # of texts to embed, each fits the window and all together need not
    window = int(max(evidence.context_window, evidence.input_tokens) * MOST_OF_WINDOW) * rounds
    if reported_input > window:
        what = "input beyond the context window"
        yield Doubt(
            what,
            f"{reported_input} input tokens, of a model that takes {evidence.context_window}",
            Kind.UNREAD,
        )
    came = evidence.output_tokens * MOST_OF_ASKED + SLACK
    asked = evidence.asked_output_tokens * MOST_OF_ASKED + SLACK
    if text > max(came, asked * rounds) or reported_output > max(came, window, asked * rounds):
        what = "output beyond what was asked for"
        yield Doubt(
            what,
            f"{reported_output} output tokens, where {evidence.asked_output_tokens} were asked for",
            Kind.UNREAD,
        )


def _certainty(doubts: list[Doubt]) -> Certainty:
    if any(doubt.kind in (Kind.UNREAD, Kind.CONTRADICTION) for doubt in doubts):
        return Certainty.UNREAD
    return Certainty.ESTIMATED if doubts else Certainty.EXACT


def _without_zeros(meters: Meters) -> Meters:
    return {name: quantity for name, quantity in meters.items() if quantity}
