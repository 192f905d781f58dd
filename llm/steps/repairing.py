"""Structured output kept honest: an answer that does not fit its schema is asked for once more, and never called valid.

Invariant: at most one repair for each call, an attempt of its own with its own hold. Whatever comes of it, the client
gets an answer, and is told which: `valid`, `repaired`, `invalid`, or `unchecked`. Streams are only told.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from config import resources
from llm import metrics
from llm.calls.call import Call
from llm.calls.settled_cost import SettledCost
from llm.providers.client import ProviderReply
from llm.providers.limiter import limiter
from llm.providers.outcomes import ProviderError
from llm.providers.target import Target
from llm.steps import settling
from llm.steps.planning import Attempt
from llm.steps.sending import Underway, ended_by_whatever_stops_it, hold, send
from llm.structured import Unchecked, asked_of, found_in, problem_with, with_repair
from llm.structured.check import Problem
from llm.wire import Body
from tenants.errors import ClientError

WHY: Final = "repair: the answer did not match the schema"
PATIENCE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Settled:
    """An answer that is in the ledger."""

    attempt: Attempt
    reply: ProviderReply
    outcome: SettledCost
    answer: Body  # in the client's protocol


def answer_of(attempt: Attempt, reply: ProviderReply) -> Body:
    """The answer in the client's protocol; raises ProviderError for one that cannot be told in it."""
    try:
        return attempt.exchange.answer(reply.body)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ProviderError(
            f"{attempt.target.provider} gave an answer that is not as its protocol says ({type(error).__name__}).",
            upstream_status=200,
            upstream_request_id=reply.request_id,
        ) from None


async def judge(call: Call, answer: Body) -> Problem | None:
    """Check an answer against the form that the call asks for; what came of it stands in `call.structured` and in the
    receipt."""
    asked = None if call.policy.structured_output == "off" else asked_of(call.wire.api, call.body)
    if asked is None:
        return None
    call.structured, problem, why = "valid", None, ""
    try:
        for found in found_in(call.wire.api, answer, asked):
            if found.why_not:
                call.structured, why = "unchecked", found.why_not
            elif problem := await asyncio.to_thread(problem_with, found.text, asked.schema):
                call.structured, why = "invalid", problem.place
                break
    except Unchecked as unchecked:
        call.structured, why = "unchecked", str(unchecked)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        call.structured, why = "unchecked", f"the answer is not as its protocol says ({type(error).__name__})"
    metrics.STRUCTURED.labels(call.structured).inc()
    call.receipt.note("structured_output", call.structured, reason=why or None)
    return problem


async def honest(call: Call, settled: Settled, numbers: Iterator[int]) -> Settled:
    """The answer to give: the one that came, or that of a repair where it does not fit."""
    problem = await judge(call, settled.answer)
    if problem is None or call.policy.structured_output != "repair" or call.facts.n > 1:
        return settled
    repaired = await _repair(call, settled, problem, numbers)
    if repaired is None:
        return settled
    if await judge(call, repaired.answer) is None:
        call.structured = "repaired"
    return repaired


async def _repair(call: Call, settled: Settled, problem: Problem, numbers: Iterator[int]) -> Settled | None:
    """Ask the same deployment once more; None if that could not be done."""
    target, api = settled.attempt.target, call.wire.api
    asked = asked_of(api, call.body)
    assert asked is not None
    body = with_repair(api, call.body, settled.answer, asked=asked, problem=problem)
    try:
        underway = await _held(call, target, body, numbers)
        attempt = underway.attempt
        async with ended_by_whatever_stops_it(call, underway):
            with call.receipt.provider_time():
                reply = await send(call, underway)
            assert isinstance(reply, ProviderReply)
            outcome = await settling.capture(call, attempt, reply.body, upstream_id=reply.request_id)
        underway.free_place(tokens=outcome.input_tokens + outcome.output_tokens)
        return Settled(attempt, reply, outcome, answer_of(attempt, reply))
    except ClientError as refusal:  # what came first is paid for: it is given all the same
        _note_failed(call, refusal)
        return None


async def _held(call: Call, target: Target, body: Body, numbers: Iterator[int]) -> Underway:
    """A repair that has its place and is held."""
    slot = await limiter.acquire(
        target,
        tokens=call.most_tokens_at(target),
        tenant_id=call.principal.tenant_id,
        patience_seconds=PATIENCE_SECONDS,
    )
    try:
        return Underway(await hold(call, target, number=next(numbers), why=WHY, body=body), slot)
    except BaseException:
        resources.background(limiter.take_back(slot))
        raise


def _note_failed(call: Call, refusal: ClientError) -> None:
    reason = f"{refusal.code}: {refusal.message}"
    call.receipt.note("structured_output", "not repaired", reason=reason)
