"""Compares what a stream has produced with what was held for it.

Invariant: a stream goes on past its hold only after more has been held in every budget that counts it. A model that
keeps to its limit is never cut: where its tokenizer is not ours, only what is beyond any doubt counts against it.
"""

from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal

from billing.budgets.balances import Balance, BudgetExceeded
from billing.errors import LedgerUnavailable
from billing.estimates.costs import hold_for
from billing.ledger.extensions import Extension, extend
from llm.calls.call import Call
from llm.steps.planning import PlannedAttempt
from llm.tokens.counting import count_text, has_exact_vocabulary
from llm.wire import StreamMeter

EXTENSION_TOKENS = 256  # at least so many at a time
FEWEST_BYTES = 2048  # between two looks: about ten tokens of a usual stream
BYTES_PER_TOKEN = 4  # of a stream's bytes at the very least, before its own density is known
DENSITY_FROM_TOKENS = 50


@dataclass(slots=True)
class OutputCount:
    """Counts a growing output; each look costs what has come since the last one."""

    model: str
    tokens: int = 0
    characters: int = 0

    def look(self, meter: StreamMeter) -> int:
        """The output tokens so far, a little high: a token that is cut in two counts twice."""
        text = meter.text()
        if len(text) > self.characters:
            self.tokens += count_text(text[self.characters :], self.model)
            self.characters = len(text)
        return self.tokens

    def recount(self, meter: StreamMeter) -> int:
        """The same, exactly; costs the whole text."""
        text = meter.text()
        self.tokens, self.characters = count_text(text, self.model), len(text)
        return self.tokens


class HoldWatch:
    """Watches one stream. Ask after each read whether a look `is_due`, and only then whether it `has_outgrown` its hold."""

    def __init__(self, call: Call, attempt: PlannedAttempt, count: OutputCount) -> None:
        self._call, self._attempt, self._count = call, attempt, count
        self._held_tokens = attempt.held_output_tokens
        self._look_at = self._held_tokens * BYTES_PER_TOKEN

    def is_due(self, bytes_read: int) -> bool:
        """Whether the hold may be used up."""
        return bytes_read >= self._look_at

    async def has_outgrown(self, meter: StreamMeter, *, bytes_read: int) -> bool:
        """Whether the stream must end here: it has produced more than is held, and no more can be."""
        if meter.has_ended:
            return False
        produced = self._count.look(meter)
        if produced > self._held_tokens:
            produced = self._count.recount(meter)
        if produced > self._held_tokens and self._call.policy.budgets.stream_overrun == "extend":
            await self._extend(produced)
        self._look_at = bytes_read + self._bytes_until_next_look(produced, bytes_read)
        return produced > self._held_tokens + self._tolerance_tokens()

    async def _extend(self, produced: int) -> None:
        """Hold more, as far as the budgets go; `_held_tokens` says how far that was."""
        step = max(EXTENSION_TOKENS, self._held_tokens // 4)
        try:
            await self._hold(produced + step)
        except BudgetExceeded as refusal:
            more = self._affordable(refusal.balance)
            if self._held_tokens + more < produced:
                return
            try:
                await self._hold(self._held_tokens + more)
            except (BudgetExceeded, LedgerUnavailable):
                return  # another call took it meanwhile
        except LedgerUnavailable:
            return

    async def _hold(self, output_tokens: int) -> None:
        attempt = self._attempt
        extension = Extension(
            attempt_id=attempt.id,
            hold_usd=self._bound(output_tokens),
            hold_tokens=attempt.input_tokens + output_tokens,
        )
        self._call.balances = await extend(extension) or self._call.balances
        self._held_tokens = output_tokens
        self._call.receipt.note(
            "hold",
            "extended",
            attempt=attempt.number,
            max_output_tokens=output_tokens,
            hold_usd=f"{extension.hold_usd:f}",
            hold_tokens=extension.hold_tokens,
        )

    def _affordable(self, balance: Balance) -> int:
        """How many more output tokens a budget that had no room for a whole step still has room for."""
        if balance.remaining <= 0:
            return 0
        if balance.unit == "tokens":
            return int(balance.remaining)
        each = self._bound(self._held_tokens + 1) - self._bound(self._held_tokens)
        return int((balance.remaining / each).to_integral_value(rounding=ROUND_FLOOR)) if each else 0

    def _bound(self, output_tokens: int) -> Decimal:
        return hold_for(
            self._attempt.held_rates,
            input_tokens=self._attempt.input_tokens,
            max_output_tokens=output_tokens,
            input_meters=self._attempt.held_meters,
        )

    def _tolerance_tokens(self) -> int:
        """By how much our count may be above the provider's: not at all, nearly, where we have its vocabulary."""
        if has_exact_vocabulary(self._count.model):
            return 4 + self._held_tokens // 100
        return 16 + self._held_tokens // 4

    def _bytes_until_next_look(self, produced: int, bytes_read: int) -> int:
        """So few that the stream cannot have outgrown its hold by much before; half of what its density suggests."""
        density = bytes_read // (2 * produced) if produced >= DENSITY_FROM_TOKENS else BYTES_PER_TOKEN
        return max(FEWEST_BYTES, (self._held_tokens - produced) * density)
