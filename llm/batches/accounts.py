"""The provider account behind a job, and the job as that provider gets it.

Invariant: an order is made from the stored lines alone and comes out the same each time; a model or provider
that was switched off meanwhile still finishes what it began.
"""

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from billing.models import Attempt, BudgetWindow
from llm.batches.lines import wire_of
from llm.catalog.loading import target_at
from llm.models import BatchItem, BatchJob, LanguageModel, Provider
from llm.output.limits import limit_for
from llm.providers.kinds import KINDS
from llm.providers.kinds.batch_api import BatchApi, JobLine, JobOrder, UpstreamError
from llm.providers.target import Target
from llm.routing.facts import read_route_facts
from llm.routing.rules import expected_output
from llm.tokens.inputs import count_input
from llm.wire import Exchange, prepare
from tenants.policy import Policy, parse_policy


def batch_api(provider: str) -> BatchApi:
    """The batch API of a provider account, by its name. Raises UpstreamError where its kind has none."""
    account = Provider.objects.get(name=provider)
    open_api = KINDS[account.kind].batches
    if open_api is None:
        raise UpstreamError(f"{provider} is of kind {account.kind}, which has no batches.", is_final=True)
    return open_api(account)


def target_of(job: BatchJob) -> Target:
    """The model and the account a job goes to, active or not. An account's limits a minute are not those of its batches."""
    model = LanguageModel.objects.get(name=job.model)
    account = Provider.objects.get(name=job.provider)
    further = model.deployments.filter(provider=account).first()
    return replace(target_at(model, account, further), limits={})


def order_of(job: BatchJob, *, submitting_at: datetime) -> JobOrder:
    """The job with the body of each line as its provider wants it."""
    target, policy = target_of(job), parse_policy(job.tenant.policy)
    covered = _counted_by_hard_budgets(job)
    exchanges = [
        (
            item,
            exchange_of(item, job=job, target=target, policy=policy, is_covered=item.attempt_id in covered),
        )
        for item in job.items.order_by("line")
    ]
    return JobOrder(
        public_id=job.public_id,
        path=exchanges[0][1].upstream.path,
        lines=[JobLine(name=str(item.request_id), body=exchange.body) for item, exchange in exchanges],
        submitting_at=submitting_at,
    )


def exchange_of(
    item: BatchItem, *, job: BatchJob, target: Target, policy: Policy, is_covered: bool = True
) -> Exchange:
    """One line between its client's protocol and its provider's. One that is covered gets no longer than what is held."""
    wire = wire_of(job.batch.endpoint)
    limit = limit_for(
        target,
        facts=read_route_facts(item.body),
        policy=policy,
        input_tokens=count_input(wire, item.body, target.tokenizer),
        api=wire.api,
    ).sent
    if (is_covered or limit is None) and target.model_kind != "embedding":
        limit = line_limit(item, job.batch.endpoint, target=target, policy=policy)
    return prepare(wire, item.body, kind=target.kind, upstream_model=target.upstream, max_output_tokens=limit)


def _counted_by_hard_budgets(job: BatchJob) -> Collection[UUID]:
    """The attempts of a job's lines that a hard budget of dollars or tokens counts."""
    windows_of = dict(
        Attempt.objects.filter(pk__in=job.items.values("attempt_id")).values_list("pk", "window_ids")
    )
    hard = set(
        BudgetWindow.objects.filter(
            pk__in={window for windows in windows_of.values() for window in windows}, budget__mode="hard"
        )
        .exclude(unit="requests")
        .values_list("pk", flat=True)
    )
    return {attempt_id for attempt_id, windows in windows_of.items() if hard.intersection(windows)}


def line_limit(item: BatchItem, endpoint: str, *, target: Target, policy: Policy) -> int:
    """The output tokens that are held for a line: what it asks for, else the tier's default."""
    return expected_output(
        target,
        facts=read_route_facts(item.body),
        policy=policy,
        input_tokens=count_input(wire_of(endpoint), item.body, target.tokenizer),
    )
