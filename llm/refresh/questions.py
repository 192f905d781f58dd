"""The questions whose answers are about to expire, and are worth being bought anew.

Invariant: a question is taken once for each of its answers, by the one worker whose UPDATE took it, and has to be asked as often
again before it is taken again. What has expired is forgotten.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from django.db.models import F, Q

from llm.models import AskedQuestion
from tenants.models import Tenant
from tenants.policy import RefreshPolicy

MOST_AT_ONCE: Final = 500  # of a tenant in one run
CHUNK: Final = 1_000


def wanting_tenants() -> list[int]:
    """The tenants that have questions, or had them before they switched this off."""
    return list(AskedQuestion.objects.order_by().values_list("tenant_id", flat=True).distinct())


def take_due(tenant_id: int, policy: RefreshPolicy, *, now: datetime) -> list[AskedQuestion]:
    """Take the questions that were asked most and whose answers expire soon."""
    soon = Q(expires_at__gt=now, expires_at__lte=now + timedelta(seconds=policy.before_seconds))
    # one that was taken has its new answer's time only when that was met
    fresh = Q(refreshed_at=None) | Q(
        refreshed_at__lt=F("expires_at") - timedelta(seconds=policy.before_seconds)
    )
    due = AskedQuestion.objects.filter(soon, fresh, tenant_id=tenant_id, hits__gte=policy.least_hits)
    return [one for one in due.order_by("-hits", "pk")[:MOST_AT_ONCE] if _take(one, now=now)]


def give_back(questions: Sequence[AskedQuestion]) -> None:
    """Leave questions that could not be asked for the next run."""
    for one in questions:
        AskedQuestion.objects.filter(pk=one.pk).update(hits=F("hits") + one.hits, refreshed_at=None)


def forget(tenant_id: int, policy: RefreshPolicy, *, now: datetime) -> None:
    """Delete the questions whose answers have expired, those beyond the policy's number, and all where it is off."""
    its = AskedQuestion.objects.filter(tenant_id=tenant_id)
    if not policy.enabled:
        its.delete()
        return
    its.filter(expires_at__lte=now).delete()
    beyond = list(its.order_by("-hits", "-pk").values_list("pk", flat=True)[policy.max_questions :][:CHUNK])
    its.filter(pk__in=beyond).delete()


def active(tenant_id: int) -> Tenant | None:
    """The tenant, unless it is suspended or gone."""
    return Tenant.objects.filter(pk=tenant_id, status="active").first()


def _take(question: AskedQuestion, *, now: datetime) -> bool:
    same = AskedQuestion.objects.filter(pk=question.pk, refreshed_at=question.refreshed_at)
    return bool(same.update(hits=0, refreshed_at=now))
