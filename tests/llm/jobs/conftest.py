"""What the tests of deferred calls share: a running worker, and a tenant's way to its jobs through the real SDKs."""

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

from billing.models import Attempt, BudgetWindow, UsageRecord
from llm.models import DeferredJob
from tests.books import eventually
from tests.world import Member, World

PATIENCE_SECONDS = 90
BUDGET = {"scope": "tenant", "unit": "usd", "period": "month", "limit": "1", "mode": "hard"}
AT_ONCE = {"max_age_seconds": 0}
OVER = frozenset({"completed", "failed", "cancelled"})


@dataclass
class Bureau:
    """One tenant's way to deferred calls, and what the books say of it."""

    world: World
    member: Member

    def ask(
        self, text: str = "", *, urgency: str = "deferred", headers: dict[str, str] | None = None, **body: Any
    ) -> dict[str, Any]:
        """Defer a chat completion through OpenAI's SDK; the job that comes back."""
        text = text or f"What is {uuid.uuid4().int % 1000} plus 1?"
        order = {"model": "gpt-4o-mini", "max_tokens": 40, "messages": [{"role": "user", "content": text}]}
        raw = self.world.openai(self.member).chat.completions.with_raw_response.create(
            **{**order, **body}, extra_headers={"x-purser-urgency": urgency, **(headers or {})}
        )
        assert raw.status_code == 202
        job: dict[str, Any] = json.loads(raw.text)
        return job

    def job(self, job_id: str, *, wait: float = 0) -> dict[str, Any]:
        status, job = self.world.get(f"/v1/jobs/{job_id}?wait={wait}", self.member)
        assert status == 200, job
        return dict(job)

    def wait(self, job_id: str, *, until: frozenset[str] = OVER) -> dict[str, Any]:
        return eventually(
            lambda: self.job(job_id),
            until=lambda job: job["status"] in until,
            patience_seconds=PATIENCE_SECONDS,
        )

    def row(self, job_id: str) -> DeferredJob:
        return DeferredJob.objects.get(public_id=job_id)

    def receipt(self, request_id: Any) -> dict[str, Any]:
        """The receipt of a request, which is written after its answer."""
        _, receipt = eventually(
            lambda: self.world.get(f"/v1/requests/{request_id}", self.member),
            until=lambda answer: answer[0] == 200,
        )
        return dict(receipt)

    def records(self) -> list[UsageRecord]:
        return list(UsageRecord.objects.filter(tenant_id=self.member.id).order_by("occurred_at"))

    def attempts(self) -> list[Attempt]:
        return list(Attempt.objects.filter(tenant_id=self.member.id).order_by("attempt_no"))

    @property
    def held(self) -> Decimal:
        return BudgetWindow.objects.get(budget__tenant_id=self.member.id).held

    @property
    def spent(self) -> Decimal:
        return BudgetWindow.objects.get(budget__tenant_id=self.member.id).spent

    def billed_upstream(self) -> list[dict[str, Any]]:
        """What the provider's invoice has for the tenant's requests that went out in batches."""
        names = {
            str(pk)
            for pk in DeferredJob.objects.filter(tenant_id=self.member.id).values_list(
                "request_id", flat=True
            )
        }
        calls = self.world.control("GET", "/calls?processing=batch")["calls"]
        return [call for call in calls if call["custom_id"] in names and call["status"] == 200]


@pytest.fixture
def bureau_for(world: World, celery: Any, make_tenant: Callable[..., Member]) -> Callable[..., Bureau]:
    """A bureau of a tenant made for the test, whose jobs go out immediately unless its policy says otherwise."""

    def make(
        *, deferred: dict[str, Any] | None = None, policy: dict[str, Any] | None = None, **tenant: Any
    ) -> Bureau:
        return Bureau(
            world,
            make_tenant(
                policy={"deferred": AT_ONCE | (deferred or {}), **(policy or {})},
                **{"budgets": [BUDGET], **tenant},
            ),
        )

    return make
