"""Asks questions anew before their answers expire: deferred calls of our own, in batches, on a budget of their own.

Invariant: no more is spent in a month than the policy says, because each call is held in a hard budget like any other; none goes
out in real time, and none is a request of a client. What it cost, and what its answers earned, stands in the ledger.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import orjson
import structlog
import uuid_utils
from django.utils import timezone

from billing.budgets.balances import BudgetExceeded
from billing.budgets.editing import retire_budget, set_budget
from billing.models import Budget
from billing.prices.savings import REFRESH
from config import resources
from llm.batches.lines import wire_of
from llm.calls.call import Call
from llm.calls.headers import CallHeaders
from llm.calls.urgency import Urgency
from llm.catalog.loading import load_snapshot
from llm.catalog.snapshot import TenantSnapshot
from llm.deferred import accepting
from llm.deferred.lanes import NoSuchLane
from llm.models import AskedQuestion
from llm.refresh import questions
from llm.steps import choosing, memory
from llm.wire import Source
from tenants.errors import ClientError
from tenants.models import Tenant
from tenants.principal import Principal

FEATURE: Final = "cache-refresh"  # what budgets and reports know these calls by
LEAST_WAIT: Final = timedelta(minutes=10)  # a batch that has less would be late

log = structlog.get_logger("purser.cache")


def refresh_all(*, now: datetime | None = None) -> int:
    """Ask the questions of every tenant that are due; how many were asked."""
    now = now or timezone.now()
    return sum(refresh(tenant_id, now=now) for tenant_id in questions.wanting_tenants())


def refresh(tenant_id: int, *, now: datetime | None = None) -> int:
    """Ask a tenant's questions that are due; how many were asked. What a budget refuses waits for the next run."""
    now = now or timezone.now()
    tenant = questions.active(tenant_id)
    policy = load_snapshot(tenant_id).policy.refresh
    if tenant is not None:
        _keep_budget(tenant, usd_per_month=policy.usd_per_month if policy.enabled else None)
    due = questions.take_due(tenant_id, policy, now=now) if tenant is not None and policy.enabled else []
    asked = asyncio.run(_ask_all(due, load_snapshot(tenant_id), now=now)) if due else 0
    questions.give_back(due[asked:])
    questions.forget(tenant_id, policy, now=now)
    return asked


def _keep_budget(tenant: Tenant, *, usd_per_month: float | None) -> None:
    if usd_per_month is not None:
        limit = Decimal(str(usd_per_month))
        set_budget(
            tenant,
            scope="feature",
            value=FEATURE,
            unit="usd",
            period="month",
            limit_amount=limit,
            alert_at=(),
        )
        return
    its = Budget.objects.filter(tenant=tenant, scope="feature", value=FEATURE, unit="usd", period="month")
    for budget in its.filter(is_active=True):
        retire_budget(budget)


async def _ask_all(due: Sequence[AskedQuestion], snapshot: TenantSnapshot, *, now: datetime) -> int:
    """How many of them, from the first, are done with: asked, or not to be asked."""
    async with resources.resources():
        for place, question in enumerate(due):
            try:
                await _ask(question, snapshot, now=now)
            except BudgetExceeded as refusal:
                log.info("refresh_stops", tenant=snapshot.tenant.slug, budget=refusal.balance.scope)
                return place
            except (ClientError, NoSuchLane, _NotTheSame) as reason:
                log.info("question_not_refreshed", tenant=snapshot.tenant.slug, reason=str(reason))
    return len(due)


class _NotTheSame(Exception):
    """The question would be answered under another name by now, or under budget pressure."""


async def _ask(question: AskedQuestion, snapshot: TenantSnapshot, *, now: datetime) -> None:
    call = _call_of(orjson.loads(question.question), snapshot, expires_at=question.expires_at, now=now)
    choosing.check_user(call)
    choosing.check_model(call)
    await memory.find_exact(call)  # for its name only: it is to be answered anew
    if call.exact_key is None or call.exact_key.name != question.exact_key:
        raise _NotTheSame("its answer has another name by now")
    call.cache_state = REFRESH
    targets = await choosing.choose(call)
    if call.route and call.route.tier_without_pressure:
        raise _NotTheSame("a budget is under pressure")
    await choosing.compress(call)
    call.receipt.note(REFRESH, "asked", hits=question.hits, expires_at=question.expires_at)
    await accepting.queue_refresh(call, targets, earns_from=question.expires_at)


def _call_of(asked: dict[str, Any], snapshot: TenantSnapshot, *, expires_at: datetime, now: datetime) -> Call:
    wire, body = wire_of(asked["endpoint"]), asked["body"]
    body = {name: value for name, value in body.items() if name not in ("stream", "stream_options")}
    key = next((key for key in snapshot.tenant.keys.values() if key.id == asked["key_id"]), None)
    if key is None or key.revoked_at or (key.expires_at and key.expires_at <= now):
        raise _NotTheSame("its key is not valid any more")
    return Call(
        request_id=UUID(bytes=uuid_utils.uuid7().bytes),
        received_at=now.astimezone(UTC),
        endpoint=asked["endpoint"],
        wire=wire,
        source=Source(orjson.dumps(body), body),
        body=body,
        facts=wire.facts({**body, "model": asked["model"]}),
        headers=CallHeaders(
            user=asked["user"],
            feature=FEATURE,
            cache="refresh",
            tier=asked["tier"],
            compress=asked["compress"],
            urgency=Urgency(may_wait=True, within=max(LEAST_WAIT, expires_at - now)),
            prompt_version=asked["prompt_version"],
        ),
        passed_on=asked["passed_on"],
        principal=Principal(
            tenant_id=snapshot.tenant.id,
            tenant_slug=snapshot.tenant.slug,
            key_id=key.id,
            key_name=key.name,
            key_public_id=key.public_id,
            user=asked["user"],
            tags=key.tags,
            models=key.models,
        ),
        snapshot=snapshot,
    )
