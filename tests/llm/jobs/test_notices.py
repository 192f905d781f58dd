"""Webhooks of jobs that are over: signed, sent until taken, and taken once."""

import json
from datetime import datetime, timedelta
from uuid import uuid4

from django.utils import timezone

from billing.alerts.webhook import sign
from llm.jobs.notifying import FIRST_RETRY, MOST_TRIES, notify_due
from llm.models import DeferredJob
from tests.billing.alerts.conftest import Receiver, receiver
from tests.world import Member

__all__ = ["receiver"]


def finished(member: Member, *, notify_at: datetime | None = None) -> DeferredJob:
    now = timezone.now()
    return DeferredJob.objects.create(
        tenant_id=member.id,
        public_id=f"job_{uuid4().hex}",
        key_id=1,
        key_name="main",
        endpoint="/v1/chat/completions",
        status="completed",
        lane="batch",
        request_id=uuid4(),
        model_asked="m",
        created_at=now,
        deadline_at=now,
        move_up_at=now,
        finished_at=now,
        response={"text": "an answer that is not sent"},
        channel="ops",
        notify_at=notify_at,
    )


def of(receiver: Receiver, job: DeferredJob):
    return [
        (headers, body)
        for headers, body in receiver.requests
        if headers["x-purser-event-id"] == job.public_id
    ]


def member_with(make_tenant, receiver: Receiver) -> Member:
    return make_tenant(channels=[{"name": "ops", "kind": "webhook", "url": receiver.url, "secret": "hush"}])


def test_it_works(make_tenant, receiver):
    job = finished(member_with(make_tenant, receiver))
    now = timezone.now()
    notify_due(now=now)
    notify_due(now=now + timedelta(hours=2))
    ((headers, body),) = of(receiver, job)
    assert headers["x-purser-signature"] == sign(body, secret="hush", at=int(now.timestamp()))
    said = json.loads(body)
    assert (said["id"], said["type"], said["lane"]) == (job.public_id, "job.completed", "batch")
    assert b"an answer" not in body


def test_a_notice_that_is_not_taken_is_sent_again_later_and_not_for_ever(make_tenant, receiver):
    job = finished(member_with(make_tenant, receiver))
    receiver.statuses = [500, 200]
    now = timezone.now()
    notify_due(now=now)
    notify_due(now=now + timedelta(seconds=1))
    assert len(of(receiver, job)) == 1
    notify_due(now=now + FIRST_RETRY)
    assert len(of(receiver, job)) == 2
    job.refresh_from_db()
    assert job.is_notified

    lost = finished(member_with(make_tenant, receiver))
    DeferredJob.objects.filter(pk=lost.pk).update(channel="gone", notices=MOST_TRIES - 1)
    notify_due(now=now)
    notify_due(now=now + timedelta(days=1))
    lost.refresh_from_db()
    assert (lost.notices, lost.is_notified, of(receiver, lost)) == (MOST_TRIES, False, [])
