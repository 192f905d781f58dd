"""Checks structured output: an answer that does not fit its schema is asked for once more, and never called valid.

Invariant: at most one repair for each call, an attempt of its own with its own hold. In any case the client
gets an answer, marked `valid`, `repaired`, `invalid`, or `unchecked`. Streams are only marked.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from llm import metrics
from llm.calls.call import Call
from llm.providers.retries import RetryPolicy
from llm.providers.target import Target
from llm.steps.hops import Manner
from llm.steps.settled import Settled
from llm.structured import Unchecked, asked_of, found_in, problem_with, with_repair
from llm.structured.check import Problem
from llm.wire import Body
from tenants.errors import ClientError

# the same deployment, once, and not for long
REPAIR: Final = Manner(
    why="repair: the answer did not match the schema",
    retries=RetryPolicy(max_attempts=1),
    is_elsewhere=False,
    patience_seconds=5.0,
)

Ask = Callable[[Call, list[Target], Manner], Awaitable[Settled]]


async def judge(call: Call, answer: Body) -> Problem | None:
    """Check an answer against the form that the call asks for; the result is in `call.structured` and in the
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
    metrics.STRUCTURED.add(call.structured)
    call.receipt.note("structured_output", call.structured, reason=why or None)
    return problem


async def ensure_valid(call: Call, settled: Settled, *, ask: Ask) -> Settled:
    """The answer to give: the one that came, or that of a repair where it does not fit."""
    if settled.answer is None or settled.is_remembered:
        return settled
    problem = await judge(call, settled.answer)
    may_repair = call.policy.structured_output == "repair" and not settled.is_streamed and call.facts.n == 1
    if problem is None or not may_repair:
        return settled
    repaired = await _repair(call, settled, problem, ask)
    if repaired is None or repaired.answer is None:
        return settled
    if await judge(call, repaired.answer) is None:
        call.structured = "repaired"
    return repaired


async def _repair(call: Call, settled: Settled, problem: Problem, ask: Ask) -> Settled | None:
    """Ask the same deployment once more; None if that could not be done."""
    api, body = call.wire.api, call.body
    asked = asked_of(api, body)
    assert asked is not None
    assert settled.attempt is not None
    assert settled.answer is not None
    call.body = with_repair(api, body, settled.answer, asked=asked, problem=problem)
    try:
        return await ask(call, [settled.attempt.target], REPAIR)
    except ClientError as refusal:  # what came first is paid for: it is given all the same
        reason = f"{refusal.code}: {refusal.message}"
        call.receipt.note("structured_output", "not repaired", reason=reason)
        return None
    finally:
        call.body = body
