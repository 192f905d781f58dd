"""One try at a job by a worker: claimed, renewed, and written down.

Invariant: every statement names the try, so that a worker whose lease ran out, and whose job another one has by now, changes
nothing. A job that ends has its answer or its error in the same statement.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import structlog
from django.utils import timezone

from billing.errors import LedgerUnavailable
from billing.ledger import connection as ledger_connection
from billing.ledger import settlements
from config.database import storable
from llm.calls.answers import costs_of
from llm.calls.call import Call
from llm.models import DeferredJob, RequestLog
from tenants.errors import ClientError
from tenants.rls import tenant_connection

LEASE: Final = timedelta(seconds=60)
RENEW_SECONDS: Final = 15.0

_OURS: Final = "tenant_id = %(tenant)s AND id = %(id)s AND status = 'running' AND tries = %(tries)s"
RENEW: Final = f"UPDATE llm_deferredjob SET leased_until = %(until)s WHERE {_OURS}"
FINISH: Final = f"""
UPDATE llm_deferredjob
SET status = %(status)s, lane = coalesce(%(lane)s, lane), response = %(response)s, error = %(error)s, finished_at = %(now)s,
    leased_until = NULL, body = '{{}}', model = %(model)s, provider = %(provider)s, input_tokens = %(input)s,
    output_tokens = %(output)s, cost_usd = cost_usd + %(cost)s, list_cost_usd = list_cost_usd + %(list)s,
    is_held = %(is_held)s
WHERE {_OURS}
"""
PUT_BACK: Final = f"""
UPDATE llm_deferredjob
SET status = 'queued', leased_until = NULL, next_try_at = %(next_try_at)s, lane = %(lane)s, is_held = %(is_held)s,
    move_up_at = coalesce(%(move_up_at)s, move_up_at), attempt_id = coalesce(%(attempt_id)s, attempt_id), same_as_id = NULL,
    exact_key = CASE WHEN %(is_alone)s THEN '' ELSE exact_key END
WHERE {_OURS}
"""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a try has ended: what the job's row says then."""

    statement: str
    facts: dict[str, Any]


def claim(jobs: Sequence[DeferredJob], *, now: datetime) -> None:
    """Take queued jobs, which the caller has locked, for a try."""
    for job in jobs:
        job.status, job.started_at, job.leased_until = DeferredJob.Status.RUNNING, now, now + LEASE
        job.tries += 1
    DeferredJob.objects.bulk_update(jobs, ["lane", "status", "started_at", "leased_until", "tries"])
    # of a try before, or a line that was not answered: this one's row says how it ended
    RequestLog.objects.filter(request_id__in=[job.request_id for job in jobs]).delete()


@asynccontextmanager
async def renewed(job: DeferredJob) -> AsyncIterator[None]:
    """Say from time to time that the job is being answered."""
    renewing = asyncio.create_task(_renew(job))
    try:
        yield
    finally:
        renewing.cancel()


async def write(job: DeferredJob, ended: Ended) -> None:
    """Write down how a try has ended, unless another worker has the job by now."""
    await _execute(job, ended.statement, **ended.facts)


async def finished(call: Call, result: str | ClientError) -> Ended:
    """The end of a job: its answer as JSON, or the error. What still holds its money is given back."""
    if (left := waiting_of(call)) and isinstance(result, str):
        await settlements.void(left, reason="deferred call answered")
    cost_usd, list_cost_usd = costs_of(call, call.outcome)
    outcome, error = call.outcome, None
    if isinstance(result, ClientError):
        error = storable.json_text({"code": result.code, "message": result.message, "status": result.status})
    target = call.route.target if call.route else None
    return Ended(
        FINISH,
        {
            "status": "completed" if error is None else "failed",
            "lane": "cache" if error is None and call.cache_state in ("exact", "semantic") else None,
            "response": result if isinstance(result, str) else None,
            "error": error,
            "now": timezone.now(),
            "model": outcome.model if outcome else target.model if target else "",
            "provider": outcome.provider if outcome else target.provider if target else "",
            "input": outcome.input_tokens if outcome else 0,
            "output": outcome.output_tokens if outcome else 0,
            "cost": cost_usd,
            "list": list_cost_usd,
            "is_held": left is not None and error is not None,
        },
    )


def put_back(
    call: Call,
    *,
    lane: str,
    next_try_at: datetime,
    move_up_at: datetime | None = None,
    is_alone: bool = False,
) -> Ended:
    """The end of a try that another one follows, in a lane that may have another end; alone: it shares no answer any more."""
    return Ended(
        PUT_BACK,
        {
            "next_try_at": next_try_at,
            "lane": lane,
            "move_up_at": move_up_at,
            "attempt_id": waiting_of(call),
            "is_alone": is_alone,
            "is_held": waiting_of(call) is not None,
        },
    )


def waiting_of(call: Call) -> UUID | None:
    """What still holds its money, as no attempt has taken it over."""
    return call.reserve.attempt_id if call.reserve else None


async def _renew(job: DeferredJob) -> None:
    while True:
        await asyncio.sleep(RENEW_SECONDS)
        try:
            await _execute(job, RENEW, until=timezone.now() + LEASE)
        except LedgerUnavailable:
            log.warning("deferred_lease_not_renewed", job=job.public_id)


async def _execute(job: DeferredJob, statement: str, **facts: Any) -> None:
    parameters = {"tenant": job.tenant_id, "id": job.pk, "tries": job.tries, **facts}

    async def execute() -> None:
        async with tenant_connection(job.tenant_id) as connected:
            await connected.execute(statement, parameters)

    await ledger_connection.twice(execute)
