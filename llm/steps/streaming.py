"""Streamed answers: the provider's events on their way to the client, and the books when they end.

Invariant: reading the provider and writing to the client are apart, joined by a bounded queue: a slow reader costs
bounded memory and slows the provider down; a reader that is gone leaves the stream to be read on for a while, so that it
is billed by the provider's own figures. A stream that outgrows its hold is extended or cut. However a stream ends, and
whatever fails while it is ended, its attempt is settled once, its call ends, and its client is told.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import structlog

from billing.ledger import settlements
from config import resources
from config.running import draining
from llm import metrics
from llm.calls import ending
from llm.calls.answers import StreamedAnswer, answer_headers, purser_block
from llm.calls.call import Call
from llm.calls.settled_cost import SettledCost
from llm.providers.client import ProviderStream
from llm.providers.health import health
from llm.providers.limiter import ProviderSlot, limiter
from llm.providers.outcomes import GatewayStopped, StreamBroken
from llm.steps import memory, progress, repairing, settling, storing
from llm.steps.outbox import Outbox
from llm.steps.overrun import HoldWatch, OutputCount
from llm.steps.planning import Attempt
from llm.steps.relay import Relay
from llm.wire import Body
from llm.wire.error_bodies import status_of

QUEUED_BYTES = 64 * 1024
READER_SECONDS = 300.0  # a client that takes nothing for so long counts as gone
DRAIN_SECONDS = 5.0  # how long a stream is read on when its client is gone
FAILED = "internal_error"

log = structlog.get_logger(__name__)


def begin(call: Call, attempt: Attempt, slot: ProviderSlot, stream: ProviderStream) -> StreamedAnswer:
    """The answer of a stream whose first byte is here."""
    call.ttft_ms = round(call.receipt.elapsed_ms())
    metrics.FIRST_TOKEN.labels(attempt.target.model).observe(call.ttft_ms / 1000)
    headers = answer_headers(call, None) | {"x-purser-model": attempt.target.model}
    # the flow reads from here on, and ends the attempt: nothing may fail behind it
    return StreamedAnswer(_Flow(call, attempt, slot, stream).tell(), headers)


class _Flow:
    """One stream between one provider and one client."""

    def __init__(self, call: Call, attempt: Attempt, slot: ProviderSlot, stream: ProviderStream) -> None:
        self.call, self.attempt, self.slot, self.stream = call, attempt, slot, stream
        self.relay = Relay(attempt.exchange, wants_usage=call.facts.wants_usage)
        self.output = OutputCount(attempt.target.tokenizer)
        self.watch = HoldWatch(call, attempt, self.output) if call.balances else None
        self.outbox = Outbox(most_bytes=QUEUED_BYTES)
        self.is_abandoned = False
        self.has_begun = asyncio.Event()
        self.is_cut_off = False
        self.outcome: SettledCost | None = None  # once it is settled
        self.reader = resources.background(self._read())

    async def tell(self) -> AsyncGenerator[bytes, None]:
        """Yield what the client gets. Closing it early leaves the reader to end the stream by itself."""
        try:
            while (chunk := await self.outbox.get()) is not None:
                yield chunk
        finally:
            self._abandon()

    def cut_off(self) -> None:
        """The gateway stops: end the stream now, with what came."""
        self.is_cut_off = True
        self.outbox.let_pass()
        self.stream.close()

    def _abandon(self) -> None:
        """Let the reader go on alone, for a bounded time."""
        if self.is_abandoned or self.reader.done():
            return
        self.is_abandoned = True
        self.outbox.drop()
        asyncio.get_running_loop().call_later(DRAIN_SECONDS, self.stream.close)

    async def _read(self) -> None:
        """Read the provider to its end and settle. Runs as a task of its own; nothing of the client's cancels it."""
        _open.add(self)
        keeper = resources.background(
            progress.keep(
                self.attempt.id,
                input_tokens=self.attempt.input_tokens,
                output_tokens=lambda: self.output.look(self.relay.meter),
                has_begun=self.has_begun,
            )
        )
        try:
            await self._read_and_end()
        except Exception as error:
            log.error("stream_failed", attempt=str(self.attempt.id), exc_info=error)
            self.stream.close()
            async with ending.ended_with(self.call):
                await self._end_failed()
        finally:
            _open.discard(self)
            keeper.cancel()
            resources.background(limiter.release(self.slot, tokens=self._tokens()))
            await self._put(None)

    async def _read_and_end(self) -> None:
        try:
            with self.call.receipt.provider_time():
                is_cut = await self._pass_on()
        except StreamBroken as broken:
            await self.call.settle_cancelled()
            await self._end_broken(broken)
        else:
            await self.call.settle_cancelled()
            await (self._end_cut() if is_cut else self._end_whole())

    async def _pass_on(self) -> bool:
        """Take the stream to its end, or until its hold is used up and no more can be held: then it is cut here."""
        async with aclosing(self.relay.run(self.stream)) as chunks:
            async for chunk in chunks:
                self.has_begun.set()
                if chunk:
                    await self._put(chunk)
                if self.watch and await self.watch.has_outgrown(
                    self.relay.meter, bytes_read=self.relay.bytes_read
                ):
                    return True
        return False

    async def _end_whole(self) -> None:
        call, attempt = self.call, self.attempt
        outcome = await self._settle(is_whole=True)
        answer = self._exact_answer()
        if answer is not None:
            await repairing.judge(call, answer)
        block = purser_block(call, outcome)
        if answer is not None:
            await storing.keep(call, answer, block)
        await self._put(self.relay.close(block))
        if answer is not None:
            memory.remember_soon(call, settling.to_remember(call, attempt, answer, outcome))
        await ending.answered(call, outcome)

    async def _end_cut(self) -> None:
        """End the client's stream as if the model had reached its limit, and bill what came."""
        call = self.call
        self._count("cut")
        call.receipt.note("stream", "cut", reason="budget", output_tokens=self.output.tokens)
        outcome = await self._settle(reason="cut: the hold was used up")
        ending_bytes = self.relay.cut_short(
            input_tokens=outcome.input_tokens,
            output_tokens=outcome.output_tokens,
            block={**purser_block(call, outcome), "cut": "budget"},
        )
        await self._put(ending_bytes)
        await ending.broken(call, outcome, error_code="budget_exceeded")

    async def _end_broken(self, broken: StreamBroken) -> None:
        """Tell the client with a proper event, and bill what came."""
        call = self.call
        if self.is_cut_off and not self.is_abandoned:
            broken = GatewayStopped("The gateway is being restarted and could not wait for the stream's end.")
        reason = "client_gone" if self.is_abandoned else broken.code
        if not (self.is_abandoned or self.is_cut_off or _is_the_callers_own(broken)):
            health.failed(self.attempt.target)
        self._count(reason)
        outcome = await (self._void(reason) if self._owes_nothing(broken) else self._settle(reason=reason))
        block = purser_block(call, outcome)
        await self._put(self.relay.stated_end(block) or call.wire.error_event(_error_of(broken), block))
        await ending.broken(call, outcome, error_code=reason)

    async def _end_failed(self) -> None:
        """Something failed on our side: end the call all the same, with what came, else at its bound."""
        call = self.call
        self._count(FAILED)
        try:
            outcome = await self._settle(reason=FAILED)
        except Exception:  # what came may be what could not be written
            outcome = self.outcome = await settling.estimate(call, self.attempt, reason=FAILED)
        error = {
            "message": "Something went wrong on our side.",
            "type": "api_error",
            "code": FAILED,
            "param": None,
        }
        await self._put(call.wire.error_event(error, purser_block(call, outcome)))
        await ending.broken(call, outcome, error_code=FAILED)

    def _exact_answer(self) -> Body | None:
        """The answer as the client's protocol has it whole; None where it is not what was said, to the letter."""
        try:
            if self.relay.is_exact:
                return self.relay.answer()
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            log.warning("stream_not_put_together", attempt=str(self.attempt.id), error=type(error).__name__)
        self.call.receipt.note("stream", "not put together", reason="it has pieces that do not fit together")
        return None

    def _owes_nothing(self, broken: StreamBroken) -> bool:
        """The provider states that it failed, and nothing came of it before."""
        meter = self.relay.meter
        return broken.stated is not None and not (meter.has_output or meter.usage or self.is_abandoned)

    async def _void(self, reason: str) -> SettledCost:
        target = self.attempt.target
        self.outcome = SettledCost(model=target.model, provider=target.provider)
        self.call.balances = await settlements.void(self.attempt.id, reason=reason) or self.call.balances
        return self.outcome

    async def _settle(self, *, reason: str = "", is_whole: bool = False) -> SettledCost:
        """Book what came, once."""
        if self.outcome is None:
            self.outcome = await settling.capture_stream(
                self.call,
                self.attempt,
                self.relay.meter,
                upstream_id=self.stream.request_id,
                reason=reason,
                is_whole=is_whole,
            )
        return self.outcome

    def _tokens(self) -> int:
        """All that it took of its account, as far as is known."""
        if self.outcome is None:
            return self.slot.tokens
        return self.outcome.input_tokens + self.outcome.output_tokens

    def _count(self, outcome: str) -> None:
        target = self.attempt.target
        metrics.ATTEMPTS.labels(target.provider, target.model, outcome).inc()

    async def _put(self, chunk: bytes | None) -> None:
        if self.is_abandoned:
            return
        try:
            await self.outbox.put(chunk, patience_seconds=READER_SECONDS)
        except TimeoutError:
            self._abandon()
            await self.outbox.put(None, patience_seconds=0)


def _is_the_callers_own(broken: StreamBroken) -> bool:
    """The provider states what it would state of this request again: that says nothing about how well it is."""
    return broken.stated is not None and status_of(dict(broken.stated)) in (400, 404, 413, 422)


def _error_of(broken: StreamBroken) -> dict[str, Any]:
    """The error as the client is told: by the provider's own names, where it has named it."""
    stated = broken.stated or {}
    named = {name: stated[name] for name in ("type", "code", "param") if isinstance(stated.get(name), str)}
    return {"type": broken.type, "code": broken.code, "param": None, **named, "message": broken.message}


_open: set[_Flow] = set()


@draining.on_deadline
def cut_open_streams() -> None:
    """End every stream that is still open: its client is told, and billed for what came."""
    for flow in tuple(_open):
        flow.cut_off()
