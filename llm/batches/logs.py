"""The log of a batch's lines: one row each, in the table of the requests.

Invariant: written when a line is settled, once; it holds no prompt and no answer.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from llm.batches.lines import wire_of
from llm.calls.dimensions import trace_of
from llm.models import Batch, BatchItem, DeferredJob, RequestLog


def log_lines(batch: Batch, items: Sequence[BatchItem]) -> None:
    """Write the rows of lines that are over; a line logged before is left alone."""
    jobs = DeferredJob.objects.filter(item__in=items) if batch.is_gathered else DeferredJob.objects.none()
    asked = {job.item_id: job for job in jobs}
    RequestLog.objects.bulk_create(
        [_row(asked.get(item.pk, batch), item) for item in items], ignore_conflicts=True, batch_size=200
    )


def _row(asked: Batch | DeferredJob, item: BatchItem) -> RequestLog:
    """The row of a line that was asked for by a batch of a client, or by a deferred call."""
    assert item.settled_at is not None
    is_answered = item.status == BatchItem.Status.COMPLETED
    error = item.error or {}
    trace = _trace(asked)
    return RequestLog(
        request_id=item.request_id,
        tenant_id=item.tenant_id,
        at=item.settled_at,
        key_id=asked.key_id,
        user=_user(asked, item),
        session=trace.get("session", ""),
        run=trace.get("run", ""),
        agent=trace.get("agent", ""),
        feature=asked.feature,
        endpoint=asked.endpoint,
        model_asked=_model_asked(asked, item),
        model=item.model if is_answered else "",
        provider=item.provider if is_answered else "",
        tier=item.plan.get("tier", ""),
        route_reason=f"{item.plan.get('reason') or 'named model'}, in a batch"[:200],
        cache_state=_cache_state(item),
        similarity=item.plan.get("similarity"),
        tokens_before_compression=item.plan.get("tokens_before"),
        status=200 if is_answered else int(error.get("status") or 499),
        error_code="" if is_answered else str(error.get("code", ""))[:64],
        input_tokens=item.input_tokens,
        output_tokens=item.output_tokens,
        cost_usd=item.cost_usd,
        list_cost_usd=item.list_cost_usd,
        latency_ms=round((item.settled_at - asked.created_at).total_seconds() * 1000),
        receipt=_receipt(asked, item),
    )


def _receipt(asked: Batch | DeferredJob, item: BatchItem) -> dict[str, object]:
    """A line's receipt: that of a call (`views.schemas.figures.ReceiptAnswer`) as far as a batch has it, with `batch` and
    `line`, or with `job`."""
    return {
        "object": "receipt",
        "request_id": str(item.request_id),
        **_of(asked, item),
        "endpoint": asked.endpoint,
        "model_asked": _model_asked(asked, item),
        "user": _user(asked, item),
        "feature": asked.feature,
        **item.plan.get("allocation", {"tags": asked.tags}),
        "status": item.status,
        "error": item.error,
        "processing": item.lane,
        "cache": _cache_state(item),
        "attempts": [] if _is_remembered(item) else [_attempt(item)],
        "result": {
            "model": item.model,
            "provider": item.provider,
            "tokens": {"input": item.input_tokens, "output": item.output_tokens},
            "cost_usd": _usd(item.cost_usd),
            "list_cost_usd": _usd(item.list_cost_usd),
            "saved_usd": _usd(item.list_cost_usd - item.cost_usd),
        },
    }


def _attempt(item: BatchItem) -> dict[str, object]:
    return {
        "attempt": item.attempt_no,
        "attempt_id": str(item.attempt_id),
        "model": item.model,
        "provider": item.provider,
    }


def _is_remembered(item: BatchItem) -> bool:
    """Whether no provider was asked for it."""
    return _cache_state(item) in {"exact", "semantic"}


def _cache_state(item: BatchItem) -> str:
    return str(item.plan.get("cache_state") or ("miss" if item.exact_key else "bypass"))


def _of(asked: Batch | DeferredJob, item: BatchItem) -> dict[str, object]:
    if isinstance(asked, DeferredJob):
        return {"job": asked.public_id, "steps": asked.steps}
    return {"batch": asked.public_id, "line": item.line, "steps": item.plan.get("steps", [])}


def _trace(asked: Batch | DeferredJob) -> Mapping[str, str]:
    if isinstance(asked, Batch):
        trace: Mapping[str, str] = asked.context.get("trace", {})
        return trace
    said = asked.context
    return trace_of(session=said.get("session", ""), run=said.get("run", ""), agent=said.get("agent") or {})


def _model_asked(asked: Batch | DeferredJob, item: BatchItem) -> str:
    return (
        asked.model_asked if isinstance(asked, DeferredJob) else str(item.body.get("model", item.model))[:128]
    )


def _user(asked: Batch | DeferredJob, item: BatchItem) -> str:
    return asked.user or wire_of(asked.endpoint).facts(item.body).user


def _usd(amount: Decimal) -> str:
    return f"{amount:.12f}"
