"""The product on one page: the whole life of one call.

    identify -> limit -> exact cache -> semantic cache -> route -> compress -> hold -> call -> settle -> remember -> answer

Invariant: whatever happens to a call (an answer, a refusal, a failure, a client that hangs up), it ends once: its
holds are settled, its slot is free, and one row of the request log says what was done and why.
"""

import asyncio

from config import resources
from llm.calls import ending, idempotency
from llm.calls.answers import Answer, StreamedAnswer
from llm.calls.call import Call
from llm.learning import checks as shadow
from llm.learning import judge
from llm.learning.embedding.remote import finder_for
from llm.steps import attempts, choosing, memory
from tenants.errors import ClientError
from tenants.limits import limiting as limits


async def answer(call: Call) -> Answer | StreamedAnswer:
    """Answer a call of an identified caller, or raise the ClientError that tells why not.

    The work goes on when the client hangs up: what a provider was asked for is billed, and remembered. With an
    idempotency key it is done once, and whoever asks again gets the same.
    """
    if call.headers.idempotency_key:
        claim = await _claim(call)
        if not isinstance(claim, idempotency.Claim):
            return claim
        work = resources.background(claim.keep(_answer(call)))
    else:
        work = resources.background(_answer(call))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        work.add_done_callback(_abandon)
        raise


async def _answer(call: Call) -> Answer | StreamedAnswer:
    async with ending.ended_with(call):
        choosing.check_user(call)
        choosing.check_model(call)
        choosing.check_length(call)
        await choosing.find_kept(call)
        call.slot = await limits.acquire(
            call.principal, user=call.user, tokens=call.rough_tokens, style=call.wire.vendor
        )
        call.judge = judge.judge_of(call)
        call.find_embedder = finder_for(call)
        hit = await memory.find_exact(call) or await memory.find_similar(call)
        if hit is not None:
            served = await memory.serve(call, hit)
            shadow.check_soon(call)
            return served
        targets = await choosing.choose(call)
        await choosing.compress(call)
        return await attempts.first_success(call, targets)


async def _claim(call: Call) -> idempotency.Claim | Answer | StreamedAnswer:
    try:
        found = await idempotency.claim(call)
    except ClientError as error:
        await ending.refused(call, error)
        raise
    if not isinstance(found, idempotency.Claim):
        await ending.replayed(call)
    return found


def _abandon(work: "asyncio.Task[Answer | StreamedAnswer]") -> None:
    """Nobody waits for the answer any more: a stream that nobody reads must still be ended."""
    if work.cancelled() or work.exception() is not None:
        return
    if isinstance(unread := work.result(), StreamedAnswer):
        resources.background(unread.abandon())
