"""What an operator's switches do to batches: those of a drained account go on, those of a disabled one wait."""

from django.utils.timezone import now

from llm.batches import jobs
from llm.batches.turns import Turn
from llm.configuration import switching
from llm.models import BatchJob, Provider
from tests.books import eventually
from tests.llm.batches.test_accounts import BATCH, questions


def test_it_works(desk_for, make_deployment):
    """A batch that has begun is finished though its account is drained."""
    deployment = make_deployment(prices=BATCH)
    desk = desk_for()
    desk.world.control("POST", "/settings", {"batch_delay_s": 3})
    try:
        begun = desk.order(questions(deployment.model, 2)).id
        eventually(
            lambda: BatchJob.objects.filter(batch__public_id=begun).exclude(upstream_id="").exists(),
            patience_seconds=60,
        )
        assert switching.drain(Provider.objects.get(name=deployment.provider))
        found = desk.wait(begun)
        assert (found.status, found.request_counts.completed) == ("completed", 2)
    finally:
        desk.world.control("POST", "/settings", {"batch_delay_s": 0.5})


def test_a_job_of_a_disabled_account_is_not_sent(desk_for, books, make_deployment):
    """A job that is not at its provider yet waits, and its provider hears nothing."""
    deployment = make_deployment(prices=BATCH)
    desk = desk_for()
    order = desk.order(questions(deployment.model, 2)).id
    assert desk.wait(order).status == "completed"  # from here on nobody but the test drives it
    job = BatchJob.objects.get(batch__public_id=order)
    BatchJob.objects.filter(pk=job.pk).update(state=BatchJob.State.NEW, upstream_id="")
    job.refresh_from_db()
    account = Provider.objects.get(name=deployment.provider)
    before = len(books.calls(key=deployment.account_key))
    try:
        assert switching.disable(account)
        jobs._advance(job, batch=job.batch, turn=Turn(), is_ending=False, now=now())
        assert (job.state, len(books.calls(key=deployment.account_key))) == (BatchJob.State.NEW, before)
        assert job.next_look_at > now()
    finally:
        BatchJob.objects.filter(pk=job.pk).update(state=BatchJob.State.FINISHED)
