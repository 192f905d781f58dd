"""Celery: the application, and the schedule of beat in code. Its queues are in `config/work/queues.py`.

Invariant: tasks take ids, are idempotent, and call one domain function. A broker that loses everything loses no work,
because due work is found in PostgreSQL.
"""

import os
import sys
from datetime import timedelta
from pathlib import Path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
if {"celery", "workers"} & {
    Path(sys.argv[0]).stem,
    Path(sys.argv[0]).parent.name,
}:  # this process is a worker or beat
    os.environ.setdefault("PURSER_LOGIN", "worker")

from celery import Celery
from celery.schedules import crontab
from celery.signals import setup_logging, worker_process_init, worker_ready
from django.conf import settings
from django.db import connections
from kombu.entity import Queue

from config.work import queues, reports
from config.work.retries import NOT_RETRIED

app = Celery("purser", task_cls="config.work.retries:RetriedTask")
app.conf.update(
    broker_url=settings.REDIS_URL,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"visibility_timeout": queues.VISIBILITY_SECONDS},
    task_queues=[Queue(queue.name) for queue in queues.QUEUES],  # type: ignore[no-untyped-call]
    task_default_queue=queues.BOOKS.name,
    task_create_missing_queues=False,
    task_routes=queues.routes(),
    task_annotations=queues.limits(),
    task_ignore_result=True,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    worker_send_task_events=False,
    timezone="UTC",
    beat_schedule={
        "reap-holds": {"task": "billing.tasks.reap_holds", "schedule": timedelta(seconds=30)},
        "deliver-alerts": {"task": "billing.tasks.deliver_alerts", "schedule": timedelta(seconds=5)},
        "prune-alerts": {"task": "billing.tasks.prune_alerts", "schedule": crontab(hour="4", minute="29")},
        "watch-spend": {"task": "billing.tasks.watch_spend", "schedule": timedelta(seconds=60)},
        "watch-forecasts": {"task": "billing.tasks.watch_forecasts", "schedule": crontab(minute="41")},
        "propose-reratings": {"task": "billing.tasks.propose_reratings", "schedule": timedelta(seconds=60)},
        "rebuild-rollups": {"task": "billing.tasks.rebuild_rollups", "schedule": timedelta(seconds=60)},
        "import-prices": {"task": "billing.tasks.import_prices", "schedule": crontab(hour="3", minute="17")},
        "read-unread-usage": {
            "task": "billing.tasks.read_unread_usage",
            "schedule": crontab(hour="3", minute="47"),
        },
        "close-months": {"task": "billing.tasks.close_months", "schedule": crontab()},
        "ensure-partitions": {
            "task": "billing.tasks.ensure_partitions",
            "schedule": crontab(hour="2", minute="5"),
        },
        "learn-estimates": {"task": "billing.tasks.learn_estimates", "schedule": timedelta(hours=1)},
        "try-forecasts": {"task": "billing.tasks.try_forecasts", "schedule": crontab(hour="4", minute="37")},
        "prune-events": {"task": "billing.tasks.prune_events", "schedule": crontab(hour="4", minute="53")},
        "expire-raise-requests": {
            "task": "billing.tasks.expire_raise_requests",
            "schedule": timedelta(minutes=1),
        },
        "evict-cache": {"task": "caching.tasks.evict", "schedule": timedelta(minutes=10)},
        "keep-cache-indexes": {"task": "caching.tasks.keep_indexes", "schedule": timedelta(minutes=30)},
        "advance-batches": {
            "task": "llm.tasks.advance_batches",
            "schedule": timedelta(seconds=settings.BATCH_POLL_SECONDS),
        },
        "count-requests": {"task": "llm.tasks.count_requests", "schedule": timedelta(seconds=30)},
        "watch-errors": {"task": "llm.tasks.watch_errors", "schedule": timedelta(seconds=60)},
        "watch-batches": {"task": "llm.tasks.watch_batches", "schedule": timedelta(seconds=10)},
        "advance-jobs": {
            "task": "llm.tasks.advance_jobs",
            "schedule": timedelta(seconds=settings.BATCH_POLL_SECONDS),
        },
        "notify-jobs": {"task": "llm.tasks.notify_jobs", "schedule": timedelta(seconds=5)},
        "refresh-answers": {"task": "llm.tasks.refresh_answers", "schedule": timedelta(minutes=5)},
        "prune-idempotent-calls": {
            "task": "llm.tasks.prune_idempotent_calls",
            "schedule": timedelta(hours=1),
        },
        "sweep-files": {"task": "llm.tasks.sweep_files", "schedule": timedelta(minutes=10)},
        "reconcile-costs": {"task": "llm.tasks.reconcile_costs", "schedule": crontab(hour="6", minute="41")},
        "prune-audit": {"task": "tenants.tasks.prune_audit", "schedule": crontab(hour="4", minute="29")},
        "prune-logs": {"task": "llm.tasks.prune_logs", "schedule": crontab(hour="4", minute="11")},
    },
)
# a run that is late is not worth running after the next one, and one that failed is made good by it
for entry in app.conf.beat_schedule.values():
    if isinstance(entry["schedule"], timedelta):
        entry["options"] = {"expires": max(5, entry["schedule"].total_seconds())}
        app.conf.task_annotations[entry["task"]] |= NOT_RETRIED
reports.report_of(app)
app.autodiscover_tasks()


@setup_logging.connect
def keep_our_logging(**kwargs: object) -> None:
    """Keeps Celery from changing the logging that the settings configured."""


@worker_process_init.connect
def close_inherited_connections(**kwargs: object) -> None:
    """A forked worker must not share its parent's database pool."""
    for connection in connections.all(initialized_only=True):
        connection.close_pool()  # type: ignore[attr-defined]


@worker_ready.connect
def notify_supervisor(**kwargs: object) -> None:
    """Create a file in the state folder that says that tasks are accepted."""
    (settings.PURSER_HOME / "worker.ready").touch()
