"""The Celery tasks of the gateway: driving batches and deferred calls, pruning old logs and files.

Invariant: a task takes an id or nothing, calls one function and may run twice or not at all; what is due is
found in the database.
"""

from celery import shared_task

from llm import pruning
from llm.batches.driver import drive, due_batches
from llm.jobs import following, gathering, notifying, online
from llm.reconciliation.pulling import pull_due


@shared_task
def advance_batches() -> None:
    """Give every batch that is due to a worker."""
    for batch_id in due_batches():
        advance_batch.apply_async((batch_id,), expires=60)


@shared_task
def advance_batch(batch_id: int) -> None:
    """Take one batch as far as it goes now, and the deferred calls in it."""
    drive(batch_id)
    following.follow(batch_id=batch_id)


@shared_task
def advance_jobs() -> None:
    """Take every deferred call a step on: into a batch, to a worker that answers it in real time, or to its end."""
    following.follow()
    online.recover_lost()
    gathering.cancel_unwanted()
    for batch_id in gathering.gather():
        advance_batch.apply_async((batch_id,), expires=60)
    for tenant_id in online.due_tenants():
        answer_jobs.apply_async((tenant_id,), expires=60)
    following.forget_unconfirmed()
    following.release_ended()


@shared_task
def notify_jobs() -> None:
    """Send the notices of deferred calls that are over."""
    notifying.notify_due()


@shared_task
def answer_jobs(tenant_id: int) -> None:
    """Answer a tenant's deferred calls that are due in real time."""
    online.answer_due(tenant_id)


@shared_task
def prune_logs() -> None:
    """Delete requests' logs past their age, and the contents of files that nothing needs any more."""
    pruning.prune()


@shared_task
def prune_idempotent_calls() -> None:
    """Delete the answers kept for idempotency keys that are over."""
    pruning.prune_idempotent_calls()


@shared_task
def reconcile_costs() -> None:
    """Pull the last days' bill of every provider account and compare it with the ledger."""
    pull_due()
