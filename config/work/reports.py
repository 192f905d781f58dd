"""What workers report through Redis, for `/metrics` and the admin: who is alive and what was done.

Invariant: no decision uses what is reported; Redis may lose it at any moment. A report that cannot be sent delays no task by
more than half a second.
"""

import os
import socket
import time
from contextlib import suppress
from typing import Any, Final

import orjson
import redis
from celery import Celery, bootsteps
from celery.signals import before_task_publish, task_postrun, task_prerun, worker_process_init
from celery.worker import state
from django.conf import settings
from redis.exceptions import RedisError

from config.work.queues import ROUTES

WORKERS_KEY: Final = "purser:work:workers"
TASKS_KEY: Final = "purser:work:tasks"
SENT_AT: Final = "sent_at"  # a header of each message: since then it waits
REPORT_SECONDS: Final = 5.0
SILENT_SECONDS: Final = 30.0  # after which a worker is taken for gone
KEPT_SECONDS: Final = 3600
OUTCOMES: Final = ("done", "retried", "failed")
_PATIENCE_SECONDS: Final = 0.5

_client: "redis.Redis | None" = None
_began: dict[str, float] = {}


class Reporter(bootsteps.StartStopStep):  # type: ignore[misc]
    """Says every few seconds that a worker is alive, and what it does. Part of each worker's main process."""

    requires = {"celery.worker.consumer.tasks:Tasks"}

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self._entry: Any = None

    def start(self, consumer: Any) -> None:
        self._report(consumer)
        self._entry = consumer.timer.call_repeatedly(REPORT_SECONDS, self._report, (consumer,))

    def stop(self, consumer: Any) -> None:
        if self._entry is not None:
            self._entry.cancel()
            self._entry = None

    def shutdown(self, consumer: Any) -> None:
        self.stop(consumer)
        with suppress(RedisError, OSError):
            _redis().hdel(WORKERS_KEY, consumer.hostname)

    def _report(self, consumer: Any) -> None:
        report = {
            "at": time.time(),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "queues": sorted(queue.name for queue in consumer.task_consumer.queues),
            "processes": consumer.pool.num_processes if consumer.pool else 0,
            "running": [(request.name, request.time_start) for request in list(state.active_requests)],
        }
        with suppress(RedisError, OSError), _redis().pipeline(transaction=False) as pipeline:
            pipeline.hset(WORKERS_KEY, consumer.hostname, orjson.dumps(report))
            pipeline.expire(WORKERS_KEY, KEPT_SECONDS)
            pipeline.execute()


def report_of(app: Celery) -> None:
    """Have every worker of the application report."""
    app.steps["consumer"].add(Reporter)


@before_task_publish.connect  # type: ignore[untyped-decorator]
def note_when_sent(headers: dict[str, Any] | None = None, **_: object) -> None:
    if headers is not None:
        headers.setdefault(SENT_AT, time.time())


@worker_process_init.connect  # type: ignore[untyped-decorator]
def forget_connection(**_: object) -> None:
    """A forked process has a connection of its own."""
    global _client
    _client = None


@task_prerun.connect  # type: ignore[untyped-decorator]
def note_begin(task_id: str = "", **_: object) -> None:
    _began[task_id] = time.monotonic()


@task_postrun.connect  # type: ignore[untyped-decorator]
def note_end(task_id: str = "", task: Any = None, state: str = "", **_: object) -> None:
    """Add a run to the figures of its task: how it ended, its seconds, and how long its message had waited."""
    began = _began.pop(task_id, None)
    if began is None or task.name not in ROUTES:
        return
    seconds = time.monotonic() - began
    sent_at = task.request.get(SENT_AT)
    waited = max(0.0, time.time() - seconds - sent_at) if isinstance(sent_at, int | float) else 0.0
    done, retried, failed = OUTCOMES
    outcome = {"SUCCESS": done, "RETRY": retried}.get(state, failed)
    with suppress(RedisError, OSError), _redis().pipeline(transaction=False) as pipeline:
        pipeline.hincrby(TASKS_KEY, f"{task.name} {outcome}", 1)
        pipeline.hincrbyfloat(TASKS_KEY, f"{task.name} seconds", round(seconds, 6))
        pipeline.hincrbyfloat(TASKS_KEY, f"{task.name} waited", round(waited, 6))
        pipeline.execute()


def _redis() -> "redis.Redis":
    global _client
    if _client is None:
        _client = redis.Redis.from_url(
            settings.REDIS_URL, socket_timeout=_PATIENCE_SECONDS, socket_connect_timeout=_PATIENCE_SECONDS
        )
    return _client
