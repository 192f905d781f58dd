"""The end of a call: its slot is freed, its row of the request log written, its figures counted.

Invariant: every call ends exactly once, at the end of `ended`; nothing here can fail an answer.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from config import plain_lines, resources
from llm import metrics
from llm.calls import refusals, request_log
from llm.calls.answers import costs_of, purser_block
from llm.calls.call import Call
from llm.calls.dimensions import described
from llm.calls.settled_cost import SettledCost
from tenants.errors import ClientError
from tenants.limits import limiting as limits


@contextmanager
def ended(call: Call) -> Iterator[None]:
    """A call's life: it ends when this is left, with its answer, or with the exception that stopped it, which is raised again."""
    outcome, status, error_code = None, 500, "internal_error"
    try:
        yield
        outcome, status, error_code = call.outcome, 200, call.broken
    except ClientError as error:
        call.refusal = refusals.described(error)
        call.receipt.note("refused", error.code, status=error.status, message=call.refusal["message"])
        status, error_code = error.status, error.code
        raise
    finally:
        _end(call, outcome=outcome, status=status, error_code=error_code)


def _end(call: Call, *, outcome: SettledCost | None, status: int, error_code: str) -> None:
    if call.flight is not None and not call.is_remembering:
        resources.background(call.flight.publish(None))
    _count(call, outcome, status, error_code)
    row = _row(call, outcome, status, error_code)
    is_answered = outcome or call.receipt.attempts or status < 400
    is_logged = not call.is_deferred and (is_answered or refusals.may_log(call.principal.tenant_id))
    resources.background(_leave(call, outcome, row if is_logged else None))
    plain_lines.info(
        "call",
        logger="purser.calls",
        request_id=row["request_id"],
        tenant=call.principal.tenant_slug,
        endpoint=call.endpoint,
        model=row["model"],
        cache=call.cache_state,
        status=status,
        code=error_code or None,
        cost_usd=str(row["cost_usd"]),
        latency_ms=row["latency_ms"],
    )


async def _leave(call: Call, outcome: SettledCost | None, row: dict[str, Any] | None) -> None:
    """What nobody waits for: its slot is freed, and its row written."""
    try:
        if call.slot is not None:
            await _free(call, call.slot, outcome)
    finally:
        if row is not None:
            await request_log.write(row)


async def _free(call: Call, slot: limits.Slot, outcome: SettledCost | None) -> None:
    """Free its slot: with all the tokens it took, or without a trace where nothing was sent and nothing answered."""
    if outcome is None and not call.was_sent and not call.is_deferred:
        await limits.take_back(slot)
        return
    booked = call.booked or ([outcome] if outcome else [])
    await limits.release(slot, tokens=sum(one.input_tokens + one.output_tokens for one in booked))


def _count(call: Call, outcome: SettledCost | None, status: int, error_code: str) -> None:
    model = outcome.model if outcome else ""
    metrics.REQUESTS.add(call.endpoint, model, call.cache_state, status, error_code)
    metrics.OVERHEAD.add(call.endpoint, amount=call.receipt.overhead_ms() / 1000)
    for one in call.booked or ([outcome] if outcome else ()):
        metrics.TOKENS.add(one.model, "input", amount=one.input_tokens)
        metrics.TOKENS.add(one.model, "output", amount=one.output_tokens)
        metrics.COST.add(one.model, amount=float(one.cost_usd))
        metrics.LIST_COST.add(one.model, amount=float(one.list_cost_usd))


def _row(call: Call, outcome: SettledCost | None, status: int, error_code: str) -> dict[str, Any]:
    """The call as a row of the log: the columns of RequestLog, by name."""
    route = call.route
    cost_usd, list_cost_usd = costs_of(call, outcome)
    return {
        "request_id": call.id_text,
        "tenant_id": call.principal.tenant_id,
        "at": call.received_at,
        "key_id": call.principal.key_id,
        "user": call.user,
        "session": call.session,
        "run": call.headers.run,
        "agent": call.headers.agent.get("id", ""),
        "feature": call.headers.feature,
        "endpoint": call.endpoint,
        "model_asked": call.facts.model[:128],
        "model": outcome.model if outcome else "",
        "provider": outcome.provider if outcome else "",
        "tier": route.tier if route else "",
        "route_reason": (route.reason if route else "")[:200],
        "cache_state": call.cache_state,
        "similarity": call.similarity,
        "status": status,
        "error_code": error_code,
        "is_stream": call.facts.stream,
        "input_tokens": outcome.input_tokens if outcome else 0,
        "output_tokens": outcome.output_tokens if outcome else 0,
        "tokens_before_compression": call.tokens_before_compression,
        "cost_usd": cost_usd,
        "list_cost_usd": list_cost_usd,
        "latency_ms": round(call.receipt.elapsed_ms()),
        "ttft_ms": call.ttft_ms,
        "receipt": _receipt(call, outcome, status, error_code),
    }


def _receipt(call: Call, outcome: SettledCost | None, status: int, error_code: str) -> dict[str, Any]:
    """What `/v1/requests/{id}` answers with: `views.schemas.figures.ReceiptAnswer`."""
    return {
        "object": "receipt",
        "request_id": call.id_text,
        "at": call.received_at,
        "endpoint": call.endpoint,
        "model_asked": call.facts.model,
        "user": call.user,
        "user_named": call.user_named if call.user_named != call.user else None,
        "session": call.session or None,
        "run": call.headers.run or None,
        "agent": dict(call.headers.agent) or None,
        "feature": call.headers.feature,
        "key": call.principal.key_name,
        **described(call.allocation),
        "status": status,
        "error_code": error_code or None,
        "refusal": call.refusal,
        "is_stream": call.facts.stream,
        "ttft_ms": call.ttft_ms,
        "total_ms": call.receipt.elapsed_ms(),
        "provider_ms": round(call.receipt.provider_ms, 2),
        "steps": call.receipt.steps,
        "attempts": call.receipt.attempts,
        "result": (call.block or purser_block(call, outcome)) if outcome else None,
    }
