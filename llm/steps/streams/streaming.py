"""Streamed answers: the provider's events on their way to the client, and the books when they end.

Invariant: one task reads the provider and writes to the client: a slow reader costs no memory of ours and slows the
provider down; a reader that is gone leaves the stream to be read on for a while, so that it is billed by the provider's own
figures. A stream that outgrows its hold is extended or cut. However a stream ends, and even if something fails while it is
ended, its attempt is settled once, its call ends, and its client gets an event that says so.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import structlog

from config import resources
from config.door.responses import Write
from config.running import draining
from llm import metrics
from llm.calls.answers import Answer, StreamedAnswer, answer_headers, purser_block
from llm.calls.call import Call
from llm.calls.settled_cost import SettledCost
from llm.errors import InternalError
from llm.providers.client import ProviderStream
from llm.providers.errors import GatewayStopped, StreamBroken
from llm.providers.health import health
from llm.steps.relay import Relay
from llm.steps.settled import Settled
from llm.steps.streams import progress
from llm.steps.streams.line import Line
from llm.steps.streams.overrun import HoldWatch, OutputCount
from llm.steps.underway import Underway
from llm.wire import Body
from llm.wire.error_bodies import status_of
from tenants.errors import ClientError

READER_SECONDS = 300.0  # a client that takes nothing for so long counts as gone
LAST_READER_SECONDS = 1.0  # the same, when the gateway stops
DRAIN_SECONDS = 5.0  # how long a stream is read on when its client is gone

log = structlog.get_logger(__name__)


@asynccontextmanager
async def relayed(
    call: Call, answering: Underway, stream: ProviderStream, begin: Callable[[StreamedAnswer], None]
) -> AsyncIterator["Flow"]:
    """A stream whose first byte is here, on its way to the client, until it has ended for both. A failure inside ends
    it with an event that says so."""
    target = answering.attempt.target
    async with answering:
        call.ttft_ms = round(call.receipt.elapsed_ms())
        metrics.FIRST_TOKEN.add(target.model, amount=call.ttft_ms / 1000)
        headers = answer_headers(call, None) | {"x-purser-model": target.model}
        flow = Flow(call, answering, stream)
        begin(StreamedAnswer(flow, headers))
        async with flow.open():
            yield flow


class Flow:
    """One stream between one provider and one client. Read it to its end, then end it for the client."""

    def __init__(self, call: Call, underway: Underway, stream: ProviderStream) -> None:
        self.call, self.underway, self.attempt, self.stream = call, underway, underway.attempt, stream
        self.relay = Relay(self.attempt.exchange, wants_usage=call.facts.wants_usage)
        self.output = OutputCount(self.attempt.target.tokenizer)
        self.watch = HoldWatch(call, self.attempt, self.output) if call.balances else None
        self.line = Line(patience_seconds=READER_SECONDS, on_cut=self._read_on_alone)
        self.keeper: asyncio.Task[None] | None = None  # of its progress, from the first byte on
        self.is_cut_off = False

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """While it is read; then the client is at its end, too. Nothing of the client's cancels what is done inside."""
        _open.add(self)
        try:
            yield
        except Exception as error:
            log.error("stream_failed", attempt=str(self.attempt.id), exc_info=error)
            self.stream.close()
            await self._end_failed(error)
        finally:
            _open.discard(self)
            if self.keeper is not None:
                self.keeper.cancel()
            self.line.end()

    async def read(self) -> Settled | None:
        """Take it to its end and settle it; None where it was cut short or broke: then its client got the error."""
        call = self.call
        try:
            with call.receipt.provider_time():
                is_cut = await self._pass_on()
        except StreamBroken as broken:
            await call.settle_cancelled()
            await self._end_broken(broken)
            return None
        await call.settle_cancelled()
        if is_cut:
            await self._end_cut()
            return None
        outcome = await self._settle(is_whole=True)
        answer = self._exact_answer()
        return Settled(
            answer,
            outcome,
            lambda block: (self.relay.close(block),),
            self.attempt,
            is_exact=answer is not None,
            is_streamed=True,
        )

    async def end_with(self, rest: Answer | StreamedAnswer) -> None:
        """Give the client the end that was kept back."""
        assert isinstance(rest, StreamedAnswer)
        await rest.chunks.send_to(self.line.put)

    async def send_to(self, write: Write) -> None:
        """What the client gets. Leaving this early lets the stream end by itself."""
        await self.line.carry(write)

    async def abandon(self) -> None:
        """There is no client any more."""
        self.line.cut()

    def cut_off(self) -> None:
        """The gateway stops: end the stream now, with what came."""
        self.is_cut_off = not self.line.is_cut
        self.line.hurry(patience_seconds=LAST_READER_SECONDS)
        self.stream.close()

    def _read_on_alone(self) -> None:
        """The client is gone: the stream has a bounded time to end."""
        asyncio.get_running_loop().call_later(DRAIN_SECONDS, self.stream.close)

    async def _pass_on(self) -> bool:
        """Take the stream to its end, or until its hold is used up and no more can be held: then it is cut here."""
        relay, line, watch = self.relay, self.line, self.watch
        async with aclosing(relay.run(self.stream)) as chunks:
            async for chunk in chunks:
                if self.keeper is None:
                    self.keeper = resources.background(self._keep_progress())
                if chunk:
                    await line.put(chunk)
                read = relay.bytes_read
                if watch and watch.is_due(read) and await watch.has_outgrown(relay.meter, bytes_read=read):
                    return True
        return False

    async def _keep_progress(self) -> None:
        await progress.keep(
            self.attempt.id,
            input_tokens=self.attempt.input_tokens,
            output_tokens=lambda: self.output.look(self.relay.meter),
        )

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
        await self.line.put(ending_bytes)
        call.outcome, call.broken = outcome, "budget_exceeded"

    async def _end_broken(self, broken: StreamBroken) -> None:
        """Send the client a proper error event, and bill what came."""
        call = self.call
        is_abandoned = self.line.is_cut and not self.is_cut_off
        if self.is_cut_off:
            broken = GatewayStopped("The gateway is being restarted and could not wait for the stream's end.")
        reason = "client_gone" if is_abandoned else broken.code
        if not (is_abandoned or self.is_cut_off or _is_the_callers_own(broken)):
            health.failed(self.attempt.target)
        self._count(reason)
        outcome = await (self._void(reason) if self._owes_nothing(broken) else self._settle(reason=reason))
        block = purser_block(call, outcome)
        await self.line.put(self.relay.stated_end(block) or call.wire.error_event(_error_of(broken), block))
        call.outcome, call.broken = outcome, reason

    async def _end_failed(self, error: Exception) -> None:
        """Something failed on our side: end the call all the same, with what came, else at its bound."""
        call = self.call
        stopped = (
            error if isinstance(error, ClientError) else InternalError("Something went wrong on our side.")
        )
        self._count(stopped.code)
        try:
            outcome = await self._settle(reason=stopped.code)
        except Exception:  # what came may be what could not be written
            outcome = await self.underway.estimate(reason=stopped.code)
        error_body = {
            "message": stopped.message,
            "type": stopped.type,
            "code": stopped.code,
            "param": stopped.param,
        }
        await self.line.put(call.wire.error_event(error_body, purser_block(call, outcome)))
        call.outcome, call.broken = outcome, stopped.code

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
        return broken.stated is not None and not (meter.has_output or meter.usage or self.line.is_cut)

    async def _void(self, reason: str) -> SettledCost:
        await self.underway.void(reason=reason)
        return SettledCost(model=self.attempt.target.model, provider=self.attempt.target.provider)

    async def _settle(self, *, reason: str = "", is_whole: bool = False) -> SettledCost:
        """Book what came, once."""
        if self.underway.outcome is not None:
            return self.underway.outcome
        return await self.underway.capture_stream(
            self.relay.meter, upstream_id=self.stream.request_id, reason=reason, is_whole=is_whole
        )

    def _count(self, outcome: str) -> None:
        target = self.attempt.target
        metrics.ATTEMPTS.add(target.provider, target.model, outcome)


def _is_the_callers_own(broken: StreamBroken) -> bool:
    """The provider states what it would state of this request again: that says nothing about how well it is."""
    return broken.stated is not None and status_of(dict(broken.stated)) in (400, 404, 413, 422)


def _error_of(broken: StreamBroken) -> dict[str, Any]:
    """The error as the client gets it: by the provider's own names, where it has named it."""
    stated = broken.stated or {}
    named = {name: stated[name] for name in ("type", "code", "param") if isinstance(stated.get(name), str)}
    return {"type": broken.type, "code": broken.code, "param": None, **named, "message": broken.message}


_open: set[Flow] = set()


@draining.on_deadline
def cut_open_streams() -> None:
    """End every stream that is still open: its client gets an error event, and is billed for what came."""
    for flow in tuple(_open):
        flow.cut_off()
