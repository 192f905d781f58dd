"""Accepts a deferred call: a job is written down, and what it may cost is held.

Invariant: the job is written down before its hold, so that a hold is found again after a crash; the client gets its id after
both are committed. What is held is the price of the dearest lane, so a job can go out in real time whenever it has to.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, Final

import orjson
from psycopg.rows import dict_row

from billing.budgets.balances import BudgetExceeded
from billing.errors import LedgerUnavailable
from billing.ledger import holds
from config.database import storable
from llm.calls.answers import Answer, StreamedAnswer, answer_headers
from llm.calls.call import Call
from llm.calls.job_objects import COLUMNS, job_object
from llm.calls.urgency import HEADER
from llm.deferred import lanes
from llm.deferred.delays import known_delays
from llm.errors import InvalidRequest
from llm.output import covering
from llm.providers.target import Target
from llm.steps.baseline import baseline_model
from llm.steps.planning import PlannedAttempt, plan
from tenants.errors import QuotaExceeded
from tenants.policy import Quotas
from tenants.rls import tenant_connection

HOLD_OUTLIVES_DEADLINE: Final = timedelta(hours=48)

LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended('llm_deferredjob', %s::bigint))"
OPEN: Final = """
SELECT count(*), coalesce(sum(body_bytes), 0)::bigint FROM llm_deferredjob
WHERE tenant_id = %s AND status IN ('accepting', 'queued', 'running')
"""
INSERT: Final = f"""
INSERT INTO llm_deferredjob (
    public_id, tenant_id, key_id, key_name, "user", feature, tags, endpoint, status, lane, lanes, request_id, attempt_id,
    model_asked, model, provider, fallbacks, body, body_bytes, context, exact_key, steps, input_tokens, output_tokens,
    estimate_usd, hold_usd, cost_usd, list_cost_usd, response, created_at, deadline_at, move_up_at, finished_at, is_held, tries,
    channel, notices, is_notified, is_refresh)
VALUES (
    %(public_id)s, %(tenant)s, %(key_id)s, %(key_name)s, %(user)s, %(feature)s, %(tags)s, %(endpoint)s, %(status)s,
    %(lane)s, %(lanes)s, %(request_id)s, %(attempt_id)s, %(model_asked)s, %(model)s, %(provider)s, %(fallbacks)s, %(body)s,
    %(body_bytes)s, %(context)s, %(exact_key)s, %(steps)s, %(input_tokens)s, %(output_tokens)s, %(estimate_usd)s, %(hold_usd)s, 0,
    %(list_cost_usd)s, %(response)s, %(created_at)s, %(deadline_at)s, %(move_up_at)s, %(finished_at)s, %(is_held)s, 0,
    %(channel)s, 0, false, %(is_refresh)s)
RETURNING {COLUMNS}
"""
QUEUE: Final = f"""
UPDATE llm_deferredjob SET status = 'queued', hold_usd = %(hold_usd)s, body = coalesce(%(body)s::jsonb, body)
WHERE tenant_id = %(tenant)s AND public_id = %(public_id)s AND status = 'accepting' RETURNING {COLUMNS}
"""
FORGET: Final = """
DELETE FROM llm_deferredjob WHERE tenant_id = %(tenant)s AND public_id = %(public_id)s AND status = 'accepting'
"""


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is known of a job when it is accepted."""

    attempt: PlannedAttempt
    offers: list[lanes.Offer]
    chosen: lanes.Offer
    deadline: datetime


def check(call: Call) -> None:
    """Refuse a call that cannot wait though it says so. A call that does not is left alone."""
    if not call.headers.urgency.may_wait:
        return
    if call.wire.api not in lanes.ENDPOINTS:
        raise InvalidRequest(
            f"Only calls to {', '.join(lanes.ENDPOINTS.values())} may be deferred, not to {call.endpoint}.",
            param=HEADER,
        )
    if call.facts.stream:
        raise InvalidRequest(
            "A deferred call cannot be streamed: its answer comes with its job.", param="stream"
        )
    if call.facts.continues or call.facts.references:
        field = "previous_response_id" if call.facts.continues else call.facts.references[0].param
        raise InvalidRequest("A deferred call cannot refer to what a provider keeps.", param=field)
    _deadline(call)


async def complete(call: Call, answer: Answer | StreamedAnswer) -> Answer:
    """The job of a call that was answered from memory: complete from the beginning."""
    assert isinstance(answer, Answer)
    outcome = call.outcome
    assert outcome is not None
    deadline = _deadline(call)
    row = await _write(
        call,
        status="completed",
        lane="cache",
        model=outcome.model,
        provider=outcome.provider,
        response=storable.json_text(orjson.loads(answer.body)),
        list_cost_usd=outcome.list_cost_usd,
        deadline_at=deadline,
        move_up_at=deadline,
        finished_at=call.received_at,
    )
    return Answer(orjson.dumps(job_object(row)), answer.headers)


async def queue(call: Call, targets: list[Target]) -> Answer:
    """Write the job down, hold its money, and queue it. Raises what `plan` raises, QuotaExceeded, BudgetExceeded."""
    row = await _queue(call, targets, await _plan(call, targets[0]))
    return Answer(orjson.dumps(job_object(row)), answer_headers(call, None))


async def queue_refresh(call: Call, targets: list[Target], *, earns_from: datetime) -> None:
    """The same for a call of our own that buys an answer ahead of time: only in a batch. Raises NoSuchLane, too."""
    planned = await _plan(call, targets[0], may_miss=1.0)  # it needs no time to go out otherwise
    context = storable.json_text({**_context(call), "earns_from": earns_from}, default=str)
    planned = replace(planned, chosen=lanes.only_batch(planned.offers))
    await _queue(call, targets, planned, is_refresh=True, channel="", context=context)


async def _queue(call: Call, targets: list[Target], planned: _Plan, **facts: Any) -> dict[str, Any]:
    attempt = planned.attempt
    call.receipt.note(
        "deferred",
        planned.chosen.lane,
        deadline=planned.deadline,
        lanes=[offer.to_json() for offer in planned.offers],
    )
    await _write(
        call,
        quotas=call.policy.quotas,
        status="accepting",
        lane=planned.chosen.lane,
        lanes=storable.json_text([offer.to_json() for offer in planned.offers]),
        attempt_id=attempt.id,
        model=attempt.target.model,
        provider=attempt.target.provider,
        fallbacks=storable.json_text([target.model for target in targets[1:]]),
        body=_body_text(call.body),
        input_tokens=attempt.input_tokens,
        estimate_usd=planned.chosen.expected_usd,
        hold_usd=attempt.hold_usd,
        deadline_at=planned.deadline,
        move_up_at=lanes.move_up_at(planned.chosen, at=call.received_at),
        is_held=True,
        **facts,
    )
    try:
        attempt = await _hold(call, attempt, deadline=planned.deadline)
    except BudgetExceeded:
        await _execute(call, FORGET)
        raise
    row = await _execute(call, QUEUE, hold_usd=attempt.hold_usd, body=_pinned(call, attempt))
    if not row:  # its hold was confirmed so late that the job was given up meanwhile
        raise LedgerUnavailable("The call was not accepted in time; try again.")
    call.is_deferred = True
    return row


def _deadline(call: Call) -> datetime:
    usual = timedelta(hours=call.policy.deferred.deadline_hours)
    return call.headers.urgency.deadline(at=call.received_at, usual=usual)


async def _plan(call: Call, target: Target, *, may_miss: float = lanes.MAY_MISS) -> _Plan:
    deadline = _deadline(call)
    attempt = await call.read_by(partial(plan, call, target, call.next_attempt()))
    delays = await known_delays()
    offers = lanes.offers_for(call, attempt, deadline=deadline, delays=delays, may_miss=may_miss)
    return _Plan(attempt, offers, lanes.choose(offers), deadline)


async def _hold(call: Call, attempt: PlannedAttempt, *, deadline: datetime) -> PlannedAttempt:
    """Hold the attempt until it goes out, shorter where our own limit is more than a budget affords."""
    seconds = (deadline - call.received_at + HOLD_OUTLIVES_DEADLINE).total_seconds()
    waiting = partial(replace, is_sent=False, ttl_seconds=seconds)
    try:
        call.balances = await holds.admit(waiting(attempt.reservation(call)))
    except BudgetExceeded as refusal:
        smaller = attempt.within(call, refusal.balance)
        if smaller is None:
            raise
        attempt = smaller
        call.balances = await holds.admit(waiting(attempt.reservation(call)))
    return attempt


def _pinned(call: Call, attempt: PlannedAttempt) -> str | None:
    """The body with the limit that is held, where nothing may come that is not held; None where it stays as it is."""
    windows = call.windows(model=attempt.target.model, provider=attempt.target.provider)
    if not (attempt.limit.is_ours and covering.counts_for_a_hard_budget(windows)):
        return None
    return _body_text(call.wire.with_max_tokens(call.body, attempt.held_output_tokens // call.facts.n))


def _body_text(body: Any) -> str:
    text = orjson.dumps(body).decode()
    if storable.has_null(text):
        raise InvalidRequest("The body of a deferred call cannot have a null character.", param="body")
    return text


async def _write(call: Call, *, quotas: Quotas | None = None, **facts: Any) -> dict[str, Any]:
    """Insert the job, within the tenant's quotas where they are given; its row."""
    row = {
        "public_id": public_id_of(call),
        "tenant": call.principal.tenant_id,
        "key_id": call.principal.key_id,
        "key_name": call.principal.key_name,
        "user": call.user,
        "feature": call.headers.feature,
        "tags": storable.json_text(dict(call.headers.tags)),
        "endpoint": lanes.ENDPOINTS[call.wire.api],
        "lanes": "[]",
        "request_id": call.request_id,
        "attempt_id": None,
        "model_asked": call.facts.model[:128],
        "fallbacks": "[]",
        "body": "{}",
        "context": storable.json_text(_context(call)),
        "exact_key": call.exact_key.name if _may_be_shared(call) and call.exact_key else "",
        "steps": storable.json_text(call.receipt.steps, default=str),
        "input_tokens": 0,
        "output_tokens": 0,
        "estimate_usd": Decimal(0),
        "hold_usd": Decimal(0),
        "list_cost_usd": Decimal(0),
        "response": None,
        "created_at": call.received_at,
        "finished_at": None,
        "is_held": False,
        "is_refresh": False,
        "channel": call.policy.deferred.channel,
        **facts,
    }
    row["body_bytes"] = len(row["body"])
    async with tenant_connection(call.principal.tenant_id) as connection:
        if quotas is not None:
            # so that jobs accepted in parallel are counted one after another
            await connection.execute(LOCK, (call.principal.tenant_id,))
            cursor = await connection.execute(OPEN, (call.principal.tenant_id,))
            _check_quotas(quotas, row["body_bytes"], *(await cursor.fetchone() or (0, 0)))
        rows = connection.cursor(row_factory=dict_row)
        await rows.execute(INSERT, row)
        found = await rows.fetchone()
    assert found is not None
    return found


def _check_quotas(quotas: Quotas, body_bytes: int, jobs: int, bytes_kept: int) -> None:
    if jobs >= quotas.open_jobs:
        raise QuotaExceeded(
            f"The tenant has {jobs} deferred calls without an answer, the most it may have; wait for some or cancel them."
        )
    if bytes_kept + body_bytes > quotas.job_bytes:
        raise QuotaExceeded(
            f"The tenant's deferred calls without an answer have {bytes_kept} bytes; with this one they would be more than "
            f"{quotas.job_bytes}, the most they may have."
        )


async def _execute(call: Call, statement: str, **parameters: Any) -> dict[str, Any]:
    everything = {"tenant": call.principal.tenant_id, "public_id": public_id_of(call), **parameters}
    async with tenant_connection(call.principal.tenant_id) as connection:
        rows = connection.cursor(row_factory=dict_row)
        await rows.execute(statement, everything)
        return (await rows.fetchone() if rows.description else None) or {}


def public_id_of(call: Call) -> str:
    """The id of a call's job: the same at every try to accept it."""
    return f"job_{call.request_id.hex}"


def _may_be_shared(call: Call) -> bool:
    """Whether its answer may be kept: that of a smaller model, chosen under budget pressure, must not outlive the pressure."""
    return not (call.route and call.route.tier_without_pressure)


def _context(call: Call) -> dict[str, Any]:
    """What a call in real time, and the caches, need to know besides its body."""
    headers, route, fingerprint = call.headers, call.route, call.fingerprint
    return {
        "route": {
            "tier": route.tier,
            "reason": route.reason,
            "tier_without_pressure": route.tier_without_pressure,
        }
        if route
        else None,
        "baseline_model": baseline_model(call),
        "tokens_before": call.tokens_before_compression,
        "tokens_after": call.tokens_after_compression,
        "fingerprint": {"whole": fingerprint.whole, "rest": fingerprint.rest, "why_not": fingerprint.why_not}
        if fingerprint
        else {},
        "cache": headers.cache,
        "compress": headers.compress,
        "tier": headers.tier,
        "prompt_version": headers.prompt_version,
        "session": headers.session,
        "run": headers.run,
        "run_tags": dict(call.run_tags),
        "envelope": call.envelope.to_json() if call.envelope else None,
        "agent": dict(headers.agent),
        "passed_on": dict(call.passed_on),
    }
