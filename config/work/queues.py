"""The queues: which there are, which task waits in which, and how long it may take.

Invariant: every task of ours is named here, in one queue. A task that passes the hard limit of its queue is killed, and the
broker hands a message to another worker only after the longest limit: so no task runs twice because it was slow.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Queue:
    """Work of one kind. `soft_seconds`: then the task is asked to end; `hard_seconds`: then its process is killed."""

    name: str
    purpose: str
    soft_seconds: int
    hard_seconds: int


BOOKS: Final = Queue(
    "books",
    "short work: holds, sums, alerts, notices, looking for batches and deferred calls that are due",
    240,
    300,
)
BATCHES: Final = Queue("batches", "turns of batches", 1200, 1500)
REALTIME: Final = Queue("realtime", "deferred calls that are answered in real time", 1500, 1800)
LONG: Final = Queue("long", "closing, re-rating, prices, bills of providers, deleting old data", 3300, 3600)
QUEUES: Final = (BOOKS, BATCHES, REALTIME, LONG)

VISIBILITY_SECONDS: Final = 2 * max(queue.hard_seconds for queue in QUEUES)

ROUTES: Final[Mapping[str, Queue]] = {
    "billing.tasks.reap_holds": BOOKS,
    "billing.tasks.deliver_alerts": BOOKS,
    "billing.tasks.watch_forecasts": BOOKS,
    "billing.tasks.watch_spend": BOOKS,
    "billing.tasks.rebuild_rollups": BOOKS,
    "billing.tasks.expire_raise_requests": BOOKS,
    "billing.tasks.ensure_partitions": BOOKS,
    "llm.tasks.notify_jobs": BOOKS,
    "llm.tasks.advance_batches": BOOKS,
    "llm.tasks.advance_jobs": BOOKS,
    "llm.tasks.count_requests": BOOKS,
    "llm.tasks.watch_batches": BOOKS,
    "llm.tasks.watch_errors": BOOKS,
    "llm.tasks.take_turns": BATCHES,
    "llm.tasks.answer_jobs": REALTIME,
    "billing.tasks.propose_reratings": LONG,
    "billing.tasks.prune_alerts": LONG,
    "billing.tasks.import_prices": LONG,
    "billing.tasks.read_unread_usage": LONG,
    "billing.tasks.close_months": LONG,
    "billing.tasks.learn_estimates": LONG,
    "billing.tasks.try_forecasts": LONG,
    "billing.tasks.prune_events": LONG,
    "caching.tasks.evict": LONG,
    "caching.tasks.keep_indexes": LONG,
    "llm.tasks.refresh_answers": LONG,
    "llm.tasks.prune_idempotent_calls": LONG,
    "llm.tasks.reconcile_costs": LONG,
    "llm.tasks.prune_logs": LONG,
    "llm.tasks.sweep_files": LONG,
    "tenants.tasks.prune_audit": LONG,
}


def routes() -> dict[str, dict[str, str]]:
    """What Celery calls `task_routes`."""
    return {task: {"queue": queue.name} for task, queue in ROUTES.items()}


def limits() -> dict[str, dict[str, Any]]:
    """What Celery calls `task_annotations`: the time limits of each task."""
    return {
        task: {"soft_time_limit": queue.soft_seconds, "time_limit": queue.hard_seconds}
        for task, queue in ROUTES.items()
    }
