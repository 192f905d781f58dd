"""The Celery tasks of the gateway: driving batches and deferred calls, pruning old logs and files.

Invariant: a task takes an id or nothing, calls one function and may run twice or not at all; what is due is
found in the database.
"""

import time
from typing import Final

from celery import shared_task
from django.utils.timezone import now

from billing.alerts import watching
from config.work import stopping
from llm import error_rate, pruning, request_days
from llm.batches import driver
from llm.batches.operations import alerting
from llm.files import sweeping
from llm.jobs import following, gathering, known, notifying, online, rounds
from llm.reconciliation.pulling import pull_due
from llm.refresh import refreshing

MOST_WOKEN: Final = 8
ROUND_SECONDS: Final = 10.0  # of one task; the next one goes on behind what waits in the queue


@shared_task
def advance_batches() -> None:
    """Wake as many workers as there are batches that wait for one."""
    for _ in range(driver.count_waiting(most=MOST_WOKEN)):
        take_turns.apply_async(expires=60)


@shared_task
def take_turns() -> None:
    """Take batches as far as they go now, tenant after tenant, and the deferred calls in them."""
    until = time.monotonic() + ROUND_SECONDS
    for batch_id in driver.take_turns():
        following.follow(batch_id=batch_id)
        known.give_to_equals()
        if stopping.is_asked():
            return
        if time.monotonic() > until:
            take_turns.apply_async(expires=60)
            return


@shared_task
def count_requests() -> None:
    """Add the requests of the last seconds to their days."""
    until = time.monotonic() + ROUND_SECONDS
    while request_days.add_tallies() and time.monotonic() < until:
        pass


@shared_task
def watch_batches() -> None:
    """Count batches, and alert of those that are stuck or whose lines failed."""
    alerting.watch()


@shared_task
def watch_errors() -> None:
    """Look for tenants whose requests fail, and count it in alerts."""
    watching.look([error_rate.find], at=now())


@shared_task
def advance_jobs() -> None:
    """Take every deferred call a step on: into a batch, to a worker that answers it in real time, or to its end."""
    following.follow()
    online.recover_lost()
    known.give_to_equals()
    gathering.cancel_unwanted()
    if gathering.gather():
        take_turns.apply_async(expires=60)
    if online.due_tenants():
        answer_jobs.apply_async(expires=60)
    following.end_late_refreshes()
    following.forget_unconfirmed()
    following.release_ended()


@shared_task
def notify_jobs() -> None:
    """Send the notices of deferred calls that are over."""
    notifying.notify_due()


@shared_task
def refresh_answers() -> None:
    """Ask the questions anew that are asked most, before their answers expire."""
    refreshing.refresh_all()


@shared_task
def answer_jobs() -> None:
    """Answer the deferred calls that are due in real time, of all tenants together."""
    rounds.answer_due()


@shared_task
def prune_logs() -> None:
    """Delete requests' logs past their age, and the contents of files that nothing needs any more."""
    pruning.prune()


@shared_task
def sweep_files() -> None:
    """Remove the contents of deleted files, and what killed uploads left."""
    sweeping.sweep()


@shared_task
def prune_idempotent_calls() -> None:
    """Delete the answers kept for idempotency keys that are over."""
    pruning.prune_idempotent_calls()


@shared_task
def reconcile_costs() -> None:
    """Pull the last days' bill of every provider account and compare it with the ledger."""
    pull_due()
