"""A second call when the first byte is late: the faster one answers, the other is cancelled.

Invariant: off unless the tenant's policy says so; both calls are attempts of their own with a hold each, and the one
that is cancelled is booked with what the provider will bill for it. No more than the policy's share of calls has two.
"""

import asyncio
from dataclasses import dataclass, field

from config import resources
from llm import metrics
from llm.calls.call import Call
from llm.providers.client import ProviderReply, ProviderStream
from llm.providers.health import health
from llm.providers.limiter import ProviderSlot, limiter
from llm.providers.target import Target
from llm.steps.hops import order_of
from llm.steps.planning import PlannedAttempt
from llm.steps.relay import Relay
from llm.steps.sending import Reply, hold, send
from llm.steps.underway import Underway
from tenants.errors import ClientError

MOST_SAVED_UP = 5.0


@dataclass(slots=True)
class HedgeAllowance:
    """How many second calls each tenant may still make in this process: a share of a call for each call."""

    left: dict[int, float] = field(default_factory=dict)

    def earn(self, tenant_id: int, *, percent: float) -> None:
        """A call that might be hedged; the first one brings a whole second call."""
        self.left[tenant_id] = min(MOST_SAVED_UP, self.left.get(tenant_id, 1.0) + percent / 100)

    def spend(self, tenant_id: int) -> bool:
        """Whether one more is allowed; then it is counted."""
        if (left := self.left.get(tenant_id, 0.0)) < 1.0:
            return False
        self.left[tenant_id] = left - 1.0
        return True

    def restore(self, tenant_id: int) -> None:
        """The second call that was counted was never sent."""
        self.left[tenant_id] = min(MOST_SAVED_UP, self.left.get(tenant_id, 0.0) + 1.0)


allowance = HedgeAllowance()


async def first_byte(call: Call, first: Underway, *, may_hedge: bool) -> tuple[Underway, Reply]:
    """Send the attempt, and where its first byte is late a second one. Returns whichever answers, or raises the first
    one's ProviderFailure once neither does; the other one is ended then."""
    policy = call.policy.hedging
    is_hedged = may_hedge and (call.facts.stream or policy.whole_answers)
    if policy.after_ms is None or not is_hedged:
        return first, await send(first)
    allowance.earn(call.principal.tenant_id, percent=policy.max_percent)
    racing = {asyncio.ensure_future(send(first)): first}
    try:
        await asyncio.wait(racing, timeout=policy.after_ms / 1000)
        if not _any_done(racing) and (second := await _second(call, first.attempt.target)):
            if _answered(racing):  # it came while the second was held
                await _not_needed(call, second)
            else:
                racing[asyncio.ensure_future(send(second))] = second
        while not _answered(racing) and not all(task.done() for task in racing):
            await asyncio.wait(
                [task for task in racing if not task.done()], return_when=asyncio.FIRST_COMPLETED
            )
    except BaseException:
        for task, underway in racing.items():
            if underway is first:  # ended by who called
                task.add_done_callback(_close)
                task.cancel()
            else:
                resources.background(_call_off(call, task, underway))
        raise
    winner = _answered(racing) or next(iter(racing))
    for task, underway in racing.items():
        if task is not winner:
            call.cancelled.append(resources.background(_call_off(call, task, underway)))
    if len(racing) > 1:
        metrics.HEDGES.add("first" if racing[winner] is first else "second")
    return racing[winner], winner.result()


async def _second(call: Call, asked: Target) -> Underway | None:
    """Hold a second call, at another account of the model if one is free, else at the same; None if it cannot be."""
    policy = call.policy.hedging
    if not allowance.spend(call.principal.tenant_id):
        _note_not_sent(call, f"more than {policy.max_percent:g} % of the calls")
        return None
    slot: ProviderSlot | None = None
    others = [one.target for one in order_of(call, asked) if one.weight > 0 and one.target != asked]
    for target in (*others, asked):
        if not health.is_well(target):
            continue
        taken = await limiter.try_acquire(
            target, tokens=call.most_tokens_at(target), tenant_id=call.principal.tenant_id
        )
        if isinstance(taken, ProviderSlot):
            slot = taken
            break
    if slot is None:
        allowance.restore(call.principal.tenant_id)
        _note_not_sent(call, "no account is free")
        return None
    try:
        async with Underway(call, slot) as second:
            await hold(second, target, why=f"hedge: no first byte after {policy.after_ms} ms")
        return second
    except ClientError as refusal:  # the first call is under way, even if a second one cannot be sent
        allowance.restore(call.principal.tenant_id)
        _note_not_sent(call, f"{refusal.code}: {refusal.message}")
        return None


async def _not_needed(call: Call, second: Underway) -> None:
    """A second call that was held and never sent."""
    allowance.restore(call.principal.tenant_id)
    async with second:
        await second.void(reason="hedge_not_needed")
    call.receipt.note_attempt(second.attempt.number, sent=False, code="hedge_not_needed")


async def _call_off(call: Call, task: "asyncio.Task[Reply]", underway: Underway) -> None:
    """End the attempt that was not the first: cancelled, failed, or answered at the same moment."""
    attempt = underway.attempt
    task.cancel()
    (reply,) = await asyncio.gather(task, return_exceptions=True)
    if isinstance(reply, Exception) or (isinstance(reply, BaseException) and not underway.is_sent):
        await underway.end_by(reply)
        return
    metrics.ATTEMPTS.add(attempt.target.provider, attempt.target.model, "hedge_lost")
    async with underway:
        if isinstance(reply, ProviderReply):
            await underway.capture(reply.body, upstream_id=reply.request_id)
        elif isinstance(reply, ProviderStream) or call.facts.stream:
            # as of a client that hangs up: what came is counted, and before the first byte that is the input
            relay = Relay(attempt.exchange, wants_usage=False)
            if isinstance(reply, ProviderStream):
                relay.feed(_as_stream(attempt, reply) or await reply.read())
                reply.close()
            upstream_id = reply.request_id if isinstance(reply, ProviderStream) else ""
            await underway.capture_stream(relay.meter, upstream_id=upstream_id, reason="hedge_lost")
        else:  # a whole answer is made and billed to its end, even if it is not read
            await underway.estimate(reason="hedge_lost")


def _as_stream(attempt: PlannedAttempt, reply: ProviderStream) -> bytes:
    """An answer that came whole where a stream was asked for, as that stream."""
    if reply.whole is None:
        return b""
    upstream = attempt.exchange.upstream
    return b"".join(map(upstream.encode_event, upstream.events_of(reply.whole.body)))


def _close(task: "asyncio.Task[Reply]") -> None:
    """Its answer is not read: the connection is freed."""
    if (
        not task.cancelled()
        and task.exception() is None
        and isinstance(reply := task.result(), ProviderStream)
    ):
        reply.close()


def _note_not_sent(call: Call, reason: str) -> None:
    metrics.HEDGES.add("not_sent")
    call.receipt.note("hedge", "not sent", reason=reason)


def _any_done(racing: "dict[asyncio.Task[Reply], Underway]") -> bool:
    return any(task.done() for task in racing)


def _answered(racing: "dict[asyncio.Task[Reply], Underway]") -> "asyncio.Task[Reply] | None":
    """The first of them that has an answer."""
    return next(
        (task for task in racing if task.done() and not task.cancelled() and task.exception() is None), None
    )
