"""What goes back to the client: the answer's bytes, and our own facts about it.

Invariant: the headers and the `purser` object say the same, and say it on hits, misses and streams alike.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from billing.budgets.balances import Balance
from config.door.responses import Chunks, Write
from config.values import value_type
from llm.calls.call import Call
from llm.calls.early_warnings import early_warning
from llm.calls.settled_cost import SettledCost


@value_type
class Answer:
    """A whole answer, ready to send."""

    body: bytes
    headers: dict[str, str]


@value_type
class StreamedAnswer:
    """An answer that is still coming."""

    chunks: Chunks
    headers: dict[str, str]

    @classmethod
    def of(cls, chunks: Iterable[bytes], *, headers: dict[str, str]) -> "StreamedAnswer":
        """A stream of chunks that are here already."""
        return cls(_ChunksHere(chunks), headers)


@value_type
class _ChunksHere:
    chunks: Iterable[bytes]

    async def send_to(self, write: Write) -> None:
        for chunk in self.chunks:
            await write(chunk)

    async def abandon(self) -> None:
        """There is nothing to end."""


def costs_of(call: Call, outcome: SettledCost | None) -> tuple[Decimal, Decimal]:
    """What a call cost in all, and at list price: its answer, and every other attempt that was booked for it."""
    if outcome and all(one is outcome for one in call.booked):
        return outcome.cost_usd, outcome.list_cost_usd
    others = [one for one in call.booked if one is not outcome]
    everything = [*others, outcome] if outcome else others
    return (
        sum((one.cost_usd for one in everything), Decimal(0)),
        sum((one.list_cost_usd for one in everything), Decimal(0)),
    )


def purser_block(call: Call, outcome: SettledCost) -> dict[str, Any]:
    """The `purser` object of a body or of a stream's last event: `views.schemas.calls.PurserBlock`."""
    balance = call.tightest_balance()
    cost_usd, list_cost_usd = costs_of(call, outcome)
    return {
        "request_id": call.id_text,
        "cache": call.cache_state,
        "similarity": call.similarity,
        "model": outcome.model,
        "provider": outcome.provider,
        "route": call.route.to_receipt() if call.route else None,
        "tokens": {
            "input": outcome.input_tokens,
            "output": outcome.output_tokens,
            "prompt_before_compression": call.tokens_before_compression,
            "prompt_after_compression": call.tokens_after_compression,
        },
        "cost_usd": usd(cost_usd),
        "list_cost_usd": usd(list_cost_usd),
        "saved_usd": usd(list_cost_usd - cost_usd),
        "budget_remaining": describe_remaining(balance) if balance else None,
        **({"structured_output": call.structured} if call.structured else {}),
    }


def answer_headers(call: Call, outcome: SettledCost | None) -> dict[str, str]:
    """The response headers of the contract. A stream's go out before its cost is known: that is in its last event."""
    headers = {
        "x-request-id": call.id_text,
        "x-purser-cache": call.cache_state,
        "server-timing": call.receipt.server_timing(),
    }
    if call.similarity is not None:
        headers["x-purser-similarity"] = f"{call.similarity:.4f}"
    if call.route:
        headers["x-purser-route"] = f"{call.route.tier or 'named'}; {call.route.reason}"
    if balance := call.tightest_balance():
        headers["x-purser-budget-remaining"] = f"{balance.remaining:f} {balance.unit}; {balance.describe()}"
        headers |= early_warning(call)
    if call.slot:
        headers |= call.slot.headers(call.wire.vendor)
    if call.structured:
        headers["x-purser-structured-output"] = call.structured
    if outcome:
        headers["x-purser-model"] = outcome.model
        cost_usd, list_cost_usd = costs_of(call, outcome)
        headers["x-purser-cost-usd"] = usd(cost_usd)
        headers["x-purser-list-cost-usd"] = usd(list_cost_usd)
    return headers


def describe_remaining(balance: Balance) -> dict[str, Any]:
    """The tightest budget as the `purser` object shows it: `views.schemas.calls.BudgetRemaining`."""
    return {
        "budget": balance.describe(),
        "unit": balance.unit,
        "remaining": f"{balance.remaining:f}",
        "resets_at": balance.resets_at.isoformat() if balance.resets_at else None,
    }


def usd(amount: Decimal) -> str:
    """An exact amount in USD as the API writes it: 12 places, never an exponent."""
    return f"{amount:.12f}"
