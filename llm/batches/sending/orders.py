"""A job as its provider gets it.

Invariant: an order is made from the stored lines alone, comes out the same each time, and is never in memory as a whole.
"""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from billing.models import Attempt, BudgetWindow
from llm.batches.lines import wire_of
from llm.batches.plans.accounts import target_of
from llm.batches.plans.calls import sent_body_of
from llm.models import BatchItem, BatchJob
from llm.output.limits import limit_for
from llm.providers.kinds.batch_api import JobLine, JobOrder
from llm.providers.target import Target
from llm.routing.facts import read_route_facts
from llm.routing.rules import expected_output
from llm.tokens.inputs import count_input
from llm.wire import Exchange, prepare
from tenants.policy import Policy, parse_policy

CHUNK: Final = 200  # lines in memory


def order_of(job: BatchJob, *, submitting_at: datetime, most_bytes: int) -> JobOrder:
    """The job with the body of each line as its provider wants it."""
    target, policy = target_of(job), parse_policy(job.tenant.policy)
    first = job.items.order_by("line").first()
    assert first is not None

    def lines() -> Iterator[JobLine]:
        for item, exchange in _exchanges(job, target=target, policy=policy):
            yield JobLine(name=str(item.request_id), body=exchange.body)

    return JobOrder(
        public_id=job.public_id,
        path=exchange_of(first, job=job, target=target, policy=policy).upstream.path,
        lines=lines,
        count=job.items.count(),
        has=lambda name: name in _names_of(job, [name]),
        submitting_at=submitting_at,
        most_bytes=most_bytes,
    )


def exchange_of(
    item: BatchItem, *, job: BatchJob, target: Target, policy: Policy, is_covered: bool = True
) -> Exchange:
    """One line between its client's protocol and its provider's. One that is covered gets no longer than what is held."""
    wire, body = wire_of(job.batch.endpoint), sent_body_of(item)
    limit = limit_for(
        target,
        facts=read_route_facts(body),
        policy=policy,
        input_tokens=count_input(wire, body, target.tokenizer),
        api=wire.api,
    ).sent
    if (is_covered or limit is None) and target.model_kind != "embedding":
        limit = line_limit(item, job.batch.endpoint, target=target, policy=policy)
    return prepare(wire, body, kind=target.kind, upstream_model=target.upstream, max_output_tokens=limit)


def line_limit(item: BatchItem, endpoint: str, *, target: Target, policy: Policy) -> int:
    """The output tokens that are held for a line: what it asks for, else the tier's default."""
    body = sent_body_of(item)
    return expected_output(
        target,
        facts=read_route_facts(body),
        policy=policy,
        input_tokens=count_input(wire_of(endpoint), body, target.tokenizer),
    )


def _exchanges(job: BatchJob, *, target: Target, policy: Policy) -> Iterator[tuple[BatchItem, Exchange]]:
    """The lines of a job in their order."""
    last = -1
    while items := list(job.items.filter(line__gt=last).order_by("line")[:CHUNK]):
        covered = _counted_by_hard_budgets(items)
        for item in items:
            is_covered = item.attempt_id in covered
            yield item, exchange_of(item, job=job, target=target, policy=policy, is_covered=is_covered)
        last = items[-1].line


def _counted_by_hard_budgets(items: Sequence[BatchItem]) -> Collection[UUID]:
    """The attempts of these lines that a hard budget of dollars or tokens counts."""
    attempts = Attempt.objects.filter(pk__in=[item.attempt_id for item in items])
    windows_of = dict(attempts.values_list("pk", "window_ids"))
    hard = set(
        BudgetWindow.objects.filter(
            pk__in={window for windows in windows_of.values() for window in windows}, budget__mode="hard"
        )
        .exclude(unit="requests")
        .values_list("pk", flat=True)
    )
    return {attempt_id for attempt_id, windows in windows_of.items() if hard.intersection(windows)}


def _names_of(job: BatchJob, names: Sequence[str]) -> Collection[str]:
    """Those of these names that are a line's of the job; a provider may have named lines as it likes."""
    known = job.items.filter(request_id__in=[one for name in names if (one := as_id(name)) is not None])
    return {str(one) for one in known.values_list("request_id", flat=True)}


def as_id(name: str) -> UUID | None:
    """The request that a result's name names; None for a name that is not ours."""
    try:
        return UUID(name)
    except ValueError:
        return None
