"""Jobs that need not be sent: the caches have their answer by now, or the provider has just given it to an equal one.

Invariant: jobs are equal if the exact cache has one key for them: one tenant's, shared as its policy says. Whoever gets the
answer of another is a hit in the ledger: it costs nothing, and its hold is given back. Without an answer to share, a job goes
out itself.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson
import structlog
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from billing.models import Attempt, UsageLine
from caching.answers import CachedAnswer
from caching.exact import store as exact
from config import resources
from config.database import storable
from llm import pipeline
from llm.batches.lines import wire_of
from llm.calls.call import Call
from llm.catalog.loading import load_snapshot
from llm.catalog.snapshot import TenantSnapshot
from llm.jobs import trying
from llm.jobs.calls import calls_of
from llm.models import DeferredJob
from llm.steps import memory
from llm.steps.memory import Hit

CHUNK: Final = 200
MOST_CHUNKS: Final = 20  # of a tenant in one go
AT_ONCE: Final = 32
# jobs of a batch whose questions are compared with others by their meaning, and the bytes of their bodies
MOST_COMPARED: Final = 200
LONGEST_COMPARED: Final = 64 * 1024

Status, Lane = DeferredJob.Status, DeferredJob.Lane
OVER: Final = (Status.COMPLETED, Status.FAILED, Status.CANCELLED)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """An answer for a job, and its call where that was needed to find it."""

    hit: Hit
    call: Call | None = None


def may_share(job: DeferredJob) -> bool:
    """Whether an answer of another may be given to it."""
    return bool(job.exact_key) and job.context.get("cache") != "refresh"


def answer_from_memory(jobs: QuerySet[DeferredJob], *, tenant_id: int, now: datetime) -> int:
    """Answer those of a tenant's waiting jobs whose answer is in the caches by now; how many."""
    snapshot = load_snapshot(tenant_id)
    waiting = [job for job in jobs.only("tenant_id", "exact_key", "context", "body_bytes") if may_share(job)]
    short = [job.pk for job in waiting if job.body_bytes <= LONGEST_COMPARED]
    may_compare = short[:MOST_COMPARED] if snapshot.policy.cache.semantic in ("static", "bounded") else []
    calls = _calls_by_id(may_compare, snapshot)
    found = asyncio.run(_look_up(waiting, calls, is_exact=snapshot.policy.cache.exact)) if waiting else {}
    pks = sorted(found)
    parts = (pks[start : start + CHUNK] for start in range(0, len(pks), CHUNK))
    return sum(_give({pk: found[pk] for pk in part}, snapshot, now=now) for part in parts)


def give_to_equals(*, now: datetime | None = None) -> None:
    """Give the jobs that wait for an equal one its answer, if it is over; without one they go out themselves."""
    now = now or timezone.now()
    waiting = DeferredJob.objects.filter(status=Status.QUEUED, same_as__status__in=OVER)
    for tenant_id in list(waiting.order_by().values_list("tenant_id", flat=True).distinct()):
        snapshot = load_snapshot(tenant_id)
        for _ in range(MOST_CHUNKS):
            if not _give_chunk(waiting.filter(tenant_id=tenant_id), snapshot, now=now):
                break


def remember(answered: Sequence[tuple[DeferredJob, dict[str, Any]]]) -> None:
    """Keep the answers of lines, whose bodies come with them, for requests to come, as far as policies let them be kept."""
    by_tenant: dict[int, list[DeferredJob]] = {}
    for job, body in answered:
        if job.exact_key and body:  # else it was followed before
            job.body = body
            by_tenant.setdefault(job.tenant_id, []).append(job)
    for tenant_id, jobs in by_tenant.items():
        snapshot = load_snapshot(tenant_id)
        answers = _answers_of(jobs, snapshot)
        calls = calls_of([job for job in jobs if job.pk in answers], snapshot)
        asyncio.run(_remember_all([(call, answers[pk]) for pk, call in calls.items()]))


def _give_chunk(waiting: QuerySet[DeferredJob], snapshot: TenantSnapshot, *, now: datetime) -> int:
    """How many of the next jobs that wait for an equal one have moved on."""
    equal_to = {job.pk: job for job in waiting.select_related("same_as").defer("body").order_by("pk")[:CHUNK]}
    leaders = {job.same_as.pk: job.same_as for job in equal_to.values() if job.same_as is not None}
    answers = _answers_of(list(leaders.values()), snapshot)
    found = {
        pk: Found(Hit(answers[job.same_as_id], "exact"))
        for pk, job in equal_to.items()
        if job.same_as_id in answers
    }
    left = DeferredJob.objects.filter(pk__in=equal_to.keys() - found.keys(), status=Status.QUEUED)
    # what its equal one got from the cache is there for it, too
    alone = left.exclude(same_as__lane=Lane.CACHE).values_list("pk", flat=True)
    gone = DeferredJob.objects.filter(pk__in=list(alone)).update(same_as=None, exact_key="")
    return gone + left.update(same_as=None) + _give(found, snapshot, now=now)


def _give(found: Mapping[int, Found], snapshot: TenantSnapshot, *, now: datetime) -> int:
    """Claim jobs and give them what was found; how many were there to be claimed."""
    with transaction.atomic():
        still = DeferredJob.objects.filter(pk__in=list(found), status=Status.QUEUED)
        jobs = list(still.select_for_update(skip_locked=True).order_by("pk"))
        trying.claim(jobs, now=now)
    if jobs:
        calls = calls_of(jobs, snapshot)
        calls |= {pk: one.call for pk, one in found.items() if one.call is not None}
        asyncio.run(_give_all([(job, calls[job.pk], found[job.pk].hit) for job in jobs]))
    return len(jobs)


async def _look_up(
    jobs: Sequence[DeferredJob], calls: Mapping[int, Call], *, is_exact: bool
) -> dict[int, Found]:
    """What the caches have for them, by job; `calls` are of those whose questions may be compared."""
    places = asyncio.Semaphore(AT_ONCE)

    async def look(job: DeferredJob) -> Found | None:
        async with places:
            if is_exact and (answer := await exact.peek(exact.ExactKey(job.tenant_id, job.exact_key))):
                return Found(Hit(answer, "exact"))
            if (call := calls.get(job.pk)) and (hit := await memory.find_similar(call)):
                return Found(hit, call)
            return None

    async with resources.resources():
        hits = await asyncio.gather(*map(look, jobs))
    return {job.pk: hit for job, hit in zip(jobs, hits, strict=True) if hit is not None}


def _calls_by_id(pks: Sequence[int], snapshot: TenantSnapshot) -> dict[int, Call]:
    return calls_of(list(DeferredJob.objects.filter(pk__in=pks)), snapshot) if pks else {}


async def _give_all(given: Sequence[tuple[DeferredJob, Call, Hit]]) -> None:
    places = asyncio.Semaphore(AT_ONCE)

    async def give(job: DeferredJob, call: Call, hit: Hit) -> None:
        async with places:
            await trying.write(job, await _served(job, call, hit))

    async with resources.resources():
        outcomes = await asyncio.gather(*(give(*one) for one in given), return_exceptions=True)
    for (job, _, _), outcome in zip(given, outcomes, strict=True):
        if isinstance(outcome, BaseException):  # its lease ends, and it is tried again
            log.error("deferred_call_not_written_down", job=job.public_id, exc_info=outcome)


async def _served(job: DeferredJob, call: Call, hit: Hit) -> trying.Ended:
    if not memory.may_serve(call, hit):  # of a model that its key may not use: it goes out itself
        return trying.put_back(call, lane=job.lane, next_try_at=timezone.now(), is_alone=True)
    answer = await pipeline.answer_from_memory(call, hit)
    return await trying.finished(call, storable.json_text(orjson.loads(answer.body)))


async def _remember_all(pairs: Sequence[tuple[Call, CachedAnswer]]) -> None:
    places = asyncio.Semaphore(AT_ONCE)

    async def remember_one(call: Call, answer: CachedAnswer) -> None:
        async with places:
            await memory.remember_late(call, answer)

    async with resources.resources():
        work = (remember_one(call, answer) for call, answer in pairs)
        outcomes = await asyncio.gather(*work, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            log.warning("answer_not_remembered", exc_info=outcome)


def _answers_of(jobs: Sequence[DeferredJob], snapshot: TenantSnapshot) -> dict[int, CachedAnswer]:
    """The answers of jobs as the caches keep them, by job: of those that a provider answered whole, with exact usage."""
    answered = [job for job in jobs if job.status == Status.COMPLETED and job.response]
    captured: dict[UUID, list[UUID]] = defaultdict(list)
    paid = Attempt.objects.filter(request_id__in=[job.request_id for job in answered], state="captured")
    for attempt_id, request_id in paid.values_list("pk", "request_id"):
        captured[request_id].append(attempt_id)
    meters: dict[UUID, dict[str, int]] = defaultdict(dict)
    lines = UsageLine.objects.filter(record_id__in=[pk for pks in captured.values() for pk in pks])
    for record_id, meter, quantity in lines.values_list("record_id", "meter", "quantity"):
        meters[record_id][meter] = meters[record_id].get(meter, 0) + int(quantity)
    answers = {}
    for job in answered:
        wire, attempts = wire_of(job.endpoint), captured[job.request_id]
        body = {name: value for name, value in (job.response or {}).items() if name != "purser"}
        if len(attempts) != 1 or not wire.is_complete(body):
            continue
        target = snapshot.catalog.targets.get(job.model)
        answers[job.pk] = CachedAnswer(
            body=body,
            endpoint=job.endpoint,
            model=job.model,
            provider=job.provider,
            tier=target.tier if target else "",
            usage=meters[attempts[0]],
            text=wire.answer_text(body),
            cost_usd=job.cost_usd,
            list_cost_usd=job.list_cost_usd,
            baseline_model=job.context.get("baseline_model", ""),
            removed_input_tokens=_removed_from(job),
            request_id=str(job.request_id),
            earns_from=_earns_from(job),
        )
    return answers


def _earns_from(job: DeferredJob) -> datetime | None:
    """When the answer expires that its own takes the place of, if it was bought ahead of time."""
    moment = job.context.get("earns_from")
    return datetime.fromisoformat(moment) if moment else None


def _removed_from(job: DeferredJob) -> int:
    """The input tokens that compression took out of it."""
    return max(0, (job.context.get("tokens_before") or 0) - (job.context.get("tokens_after") or 0))
