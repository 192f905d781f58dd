"""The call of a job, as it was accepted: for its key and its user, at the prices and in the budgets of then.

Invariant: what the caches know it by is what its client sent, even where the body was shortened since.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from uuid import uuid5

import orjson

from billing.ledger.waiting import Reserve
from billing.models import Attempt
from billing.runs.opening import Envelope
from caching.exact.store import ExactKey
from caching.scope import Fingerprint, fingerprint_of
from llm.batches.lines import wire_of
from llm.calls.call import Call
from llm.calls.headers import CallHeaders
from llm.catalog.snapshot import TenantSnapshot
from llm.errors import ModelNotFound
from llm.models import DeferredJob
from llm.providers.target import Target
from llm.routing.decision import Route
from llm.wire import Source
from tenants.allocation import NO_TAGS
from tenants.principal import ModelGlobs, Principal


def calls_of(jobs: Sequence[DeferredJob], snapshot: TenantSnapshot) -> dict[int, Call]:
    """The calls of a tenant's jobs, by job."""
    attempts: dict[object, list[Attempt]] = {job.request_id: [] for job in jobs}
    for attempt in Attempt.objects.filter(request_id__in=list(attempts)).order_by("attempt_no"):
        attempts[attempt.request_id].append(attempt)
    return {job.pk: _call_of(job, snapshot, attempts[job.request_id]) for job in jobs}


def targets_of(job: DeferredJob) -> Callable[[Call], Awaitable[list[Target]]]:
    """Finds the model that was chosen when the job was accepted, and those that may take its place."""

    async def find(call: Call) -> list[Target]:
        catalog = call.snapshot.catalog
        targets = [catalog.targets[name] for name in (job.model, *job.fallbacks) if name in catalog.targets]
        if not targets:
            raise ModelNotFound(f"The model '{job.model}' is not served any more.", param="model")
        route = job.context["route"] or {"tier": targets[0].tier, "reason": "named model"}
        call.route = Route(
            tier=route["tier"],
            target=targets[0],
            reason=route["reason"],
            max_tokens=targets[0].output_bound,
            fallbacks=tuple(targets[1:]),
            tier_without_pressure=route.get("tier_without_pressure", ""),
        )
        return targets

    return find


def _call_of(job: DeferredJob, snapshot: TenantSnapshot, attempts: Sequence[Attempt]) -> Call:
    wire, context = wire_of(job.endpoint), job.context
    body = {**job.body, "service_tier": "flex"} if job.lane == DeferredJob.Lane.FLEX else job.body
    waiting = next((one for one in reversed(attempts) if one.state == Attempt.State.HELD), None)
    key = next((key for key in snapshot.tenant.keys.values() if key.id == job.key_id), None)
    call = Call(
        request_id=job.request_id,
        received_at=job.created_at,
        endpoint=job.endpoint,
        wire=wire,
        source=Source(orjson.dumps(body), body),
        body=body,
        facts=replace(wire.facts(body), model=job.model_asked),
        headers=CallHeaders(
            feature=job.feature,
            tags=job.tags,
            cache=context.get("cache", "off"),
            tier=context["tier"],
            compress=context.get("compress"),
            prompt_version=context["prompt_version"],
            session=context["session"],
            run=context.get("run", ""),
            agent=context["agent"],
        ),
        passed_on=context["passed_on"],
        principal=Principal(
            tenant_id=job.tenant_id,
            tenant_slug=snapshot.tenant.slug,
            key_id=job.key_id,
            key_name=job.key_name,
            key_public_id="",
            user=job.user,
            tags=key.tags if key else NO_TAGS,
            models=key.models if key else ModelGlobs(()),
        ),
        snapshot=snapshot,
        exact_key=ExactKey(job.tenant_id, job.exact_key) if job.exact_key else None,
        fingerprint=_fingerprint_of(job),
        hit_id=uuid5(job.request_id, "hit"),
        tokens_before_compression=context.get("tokens_before"),
        tokens_after_compression=context.get("tokens_after"),
        tries=len(attempts),
        run_tags=context.get("run_tags") or NO_TAGS,
        envelope=Envelope.from_json(context["envelope"]) if context.get("envelope") else None,
        reserve=_reserve_of(waiting) if waiting else None,
    )
    call.receipt.steps += job.steps
    return call


def _reserve_of(waiting: Attempt) -> Reserve:
    return Reserve(waiting.pk, waiting.hold_usd, waiting.hold_tokens, waiting.expires_at)


def _fingerprint_of(job: DeferredJob) -> Fingerprint:
    """That of the body as it came; only the question is read from the body as it is kept."""
    kept = fingerprint_of(job.body)
    return replace(kept, **job.context.get("fingerprint", {}))
