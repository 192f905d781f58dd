"""Deferred calls in real time: one tenant's slow ones do not delay another's."""

import pytest

from config.work import stopping
from llm.jobs.rounds import answer_due
from llm.models import DeferredJob

pytestmark = pytest.mark.slow

SOON = "within=60s"  # no batch makes it


def test_it_works(bureau_for, make_deployment):
    """With real workers: the few of one tenant are answered while most of another's still wait."""
    deployment = make_deployment()
    crowd, one = bureau_for(deferred={"concurrency": 50}), bureau_for()
    crowd.world.fault(match={"key": deployment.account_key}, fault="slow", delay_ms=3000, times=-1)
    many = [crowd.ask(model=deployment.model, urgency=SOON)["id"] for _ in range(80)]
    few = [one.ask(urgency=SOON)["id"] for _ in range(3)]
    assert {one.wait(job)["status"] for job in few} == {"completed"}
    left = DeferredJob.objects.filter(public_id__in=many).exclude(status="completed").count()
    assert left > 0
    assert {crowd.wait(job)["status"] for job in many} == {"completed"}
    assert (crowd.held, one.held) == (0, 0)
    assert (len(crowd.records()), len(one.records())) == (80, 3)


def test_a_worker_that_stops_begins_no_more(bureau_for, stack):
    bureau = bureau_for()
    stack.kill_celery()
    job = bureau.ask(urgency=SOON)["id"]
    stopping.ask()
    try:
        answer_due()
    finally:
        stopping.begin()
    assert bureau.job(job)["status"] == "queued"
    answer_due()
    assert bureau.job(job)["status"] == "completed"
