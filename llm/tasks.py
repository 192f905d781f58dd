"""The Celery tasks of the gateway: driving batches, pruning old logs and files.

Invariant: a task takes an id or nothing, calls one function and may run twice or not at all; what is due is
found in the database. The batch APIs' SDKs are heavy, so they are imported where they are used and not by the
web workers.
"""

from celery import shared_task


@shared_task
def advance_batches() -> None:
    """Give every batch that is due to a worker."""
    from llm.batches.driver import due_batches

    for batch_id in due_batches():
        advance_batch.apply_async((batch_id,), expires=60)


@shared_task
def advance_batch(batch_id: int) -> None:
    """Take one batch as far as it goes now."""
    from llm.batches.driver import drive

    drive(batch_id)


@shared_task
def prune_logs() -> None:
    """Delete requests' logs past their age, and the contents of files that nothing needs any more."""
    from llm.pruning import prune

    prune()


@shared_task
def prune_idempotent_calls() -> None:
    """Delete the answers kept for idempotency keys that are over."""
    from llm.pruning import prune_idempotent_calls

    prune_idempotent_calls()


@shared_task
def reconcile_costs() -> None:
    """Pull the last days' bill of every provider account and compare it with the ledger."""
    from llm.reconciliation.pulling import pull_due

    pull_due()
