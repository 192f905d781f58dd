"""The product on one page: the whole life of one call.

    identify -> limit -> allocate -> envelope -> exact cache -> semantic cache -> route -> compress -> hold -> call -> settle
    -> remember -> answer

The door identifies the caller (`llm.views.base`); all else is here, in this order. A hit leaves `_live` after `prepare`, which
lines of batches pass too, and comes back in `_give`. A stream leaves it after the call, goes out while it comes, and comes
back in `_give` with its end. A repair, our own calls and deferred ones enter at `_ask`. So a step before the call belongs in
`_send`, one after the answer in `_give`: there every call passes, once.

Invariant: every call ends once (with an answer, a refusal, a failure, or a client that hangs up): its
holds are settled, its slot is free, and one row of the request log says what was done and why.
"""

import asyncio
from collections.abc import Awaitable, Callable

from config import resources
from llm.calls import ending, idempotency
from llm.calls.answers import Answer, StreamedAnswer, answer_headers, purser_block
from llm.calls.call import Call
from llm.deferred import accepting
from llm.providers.client import ProviderReply, ProviderStream
from llm.providers.target import Target
from llm.steps import allocating, attempts, choosing, envelopes, memory, repairing, settled, storing
from llm.steps.hops import FIRST_CHOICE, Manner
from llm.steps.sending import Reply
from llm.steps.settled import Settled
from llm.steps.streams import streaming
from llm.steps.underway import Underway
from tenants.errors import ClientError
from tenants.limits import limiting as limits

Begun = asyncio.Future[Answer | StreamedAnswer]


async def answer(call: Call) -> Answer | StreamedAnswer:
    """Answer a call of an identified caller, or raise the ClientError that says why not.

    The work goes on when the client hangs up: what a provider was asked for is billed, and remembered. With an
    idempotency key it is done once, and who asks again gets the same.
    """
    found = await idempotency.find(call) if call.headers.idempotency_key else None
    begun = _begun(call, found)
    if isinstance(found, idempotency.Claim):
        begun = resources.background(found.keep(begun))
    try:
        return await asyncio.shield(begun)
    except asyncio.CancelledError:
        begun.add_done_callback(_abandon)
        raise


async def answer_ourselves(
    call: Call, find_targets: Callable[[Call], Awaitable[list[Target]]], manner: Manner = FIRST_CHOICE
) -> Answer:
    """Answer one of our own calls: without limits and caches, and whole; else like any other."""
    with ending.ended(call):
        given = await _give(call, await _ask(call, await find_targets(call), manner))
    assert isinstance(given, Answer)
    return given


async def prepare(call: Call) -> memory.Hit | list[Target]:
    """From memory if it is there, else where to send it, its prompt shortened: for every call of a client, live, deferred or
    in a batch."""
    if hit := await memory.find_exact(call) or await memory.find_similar(call):
        return hit
    targets = await choosing.choose(call)
    await choosing.compress(call)
    return targets


async def answer_later(call: Call, find_targets: Callable[[Call], Awaitable[list[Target]]]) -> Answer:
    """Answer a deferred call that goes out in real time, whole: from memory if its answer is there by now."""
    with ending.ended(call):
        hit = await memory.find_exact(call) or await memory.find_similar(call)
        settled = await (
            memory.serve(call, hit) if hit else _ask(call, await find_targets(call), FIRST_CHOICE)
        )
        given = await _give(call, settled)
    assert isinstance(given, Answer)
    return given


async def answer_from_memory(call: Call, hit: memory.Hit) -> Answer:
    """Answer a deferred call that need not be sent, whole."""
    with ending.ended(call):
        given = await _give(call, await memory.serve(call, hit))
    assert isinstance(given, Answer)
    return given


async def _live(
    call: Call, found: idempotency.Found, begin: Callable[[StreamedAnswer], None]
) -> Answer | StreamedAnswer | None:
    """The life of a client's call. A stream is given by `begin`, and ends in here."""
    with ending.ended(call):
        if isinstance(found, Answer | StreamedAnswer):
            return found
        if isinstance(found, ClientError):
            raise found
        choosing.check_user(call)
        choosing.check_model(call)
        choosing.check_length(call)
        await choosing.find_kept(call)
        call.slot = await limits.acquire(
            call.principal, user=call.user, tokens=call.rough_tokens, style=call.wire.vendor
        )
        await allocating.allocate(call)
        await envelopes.find_envelope(call)
        targets = await prepare(call)
        may_wait = call.headers.urgency.may_wait
        if isinstance(targets, memory.Hit):
            given = await _give(call, await memory.serve(call, targets))
            return await accepting.complete(call, given) if may_wait else given
        if may_wait:
            return await accepting.queue(call, targets)
        answering, reply = await _send(call, targets)
        if isinstance(reply, ProviderStream):
            async with streaming.relayed(call, answering, reply, begin) as stream:
                if (streamed := await stream.read()) is not None:
                    await stream.end_with(await _give(call, streamed))
            return None
        return await _give(call, await settled.capture(call, answering, reply))


async def _ask(call: Call, targets: list[Target], manner: Manner) -> Settled:
    """Hold, call and settle: what is asked once more, and what we ask ourselves."""
    answering, reply = await _send(call, targets, manner)
    assert isinstance(reply, ProviderReply)
    return await settled.capture(call, answering, reply)


async def _send(call: Call, targets: list[Target], manner: Manner = FIRST_CHOICE) -> tuple[Underway, Reply]:
    """Hold and call, for everything that is sent to a provider. A step before the call belongs here."""
    return await attempts.first_success(call, targets, manner)


async def _give(call: Call, given: Settled) -> Answer | StreamedAnswer:
    """From its settlement to the client, for every answer there is. A step after the answer belongs here."""
    given = await repairing.ensure_valid(call, given, ask=_ask)
    memory.remember_soon(call, given)
    block = call.block = purser_block(call, given.outcome)
    await storing.keep(call, given.answer if given.is_exact else None, block)
    call.outcome = given.outcome
    if given.is_remembered:
        call.check_soon()
    headers = answer_headers(call, given.outcome)
    if call.facts.stream:
        return StreamedAnswer.of(given.chunks(block), headers=headers)
    return Answer(b"".join(given.chunks(block)), headers)


def _begun(call: Call, found: idempotency.Found) -> Begun:
    """The answer, or its stream as soon as that has begun: then the call lives on until it has ended."""
    begun: Begun = asyncio.get_running_loop().create_future()

    def end(life: "asyncio.Task[Answer | StreamedAnswer | None]") -> None:
        if begun.done():
            return
        if life.cancelled():
            begun.cancel()
        elif error := life.exception():
            begun.set_exception(error)
        elif whole := life.result():
            begun.set_result(whole)

    resources.background(_live(call, found, begun.set_result)).add_done_callback(end)
    return begun


def _abandon(begun: Begun) -> None:
    """The client does not wait any more: a stream that is not read must still be ended."""
    if begun.cancelled() or begun.exception() is not None:
        return
    if isinstance(unread := begun.result(), StreamedAnswer):
        resources.background(unread.chunks.abandon())
