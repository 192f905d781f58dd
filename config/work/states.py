"""The state of queues and workers, as `/metrics` and the admin show it.

Invariant: reads Redis and nothing else, a bounded amount, and waits for no worker. Without Redis nothing is known.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import orjson
import redis
from django.conf import settings
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from redis.exceptions import RedisError

from config.work.queues import QUEUES, ROUTES, Queue
from config.work.reports import OUTCOMES, SENT_AT, SILENT_SECONDS, TASKS_KEY, WORKERS_KEY

PATIENCE_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class QueueState:
    """A queue: messages that no worker has taken, since when the oldest waits, and the processes that work for it."""

    queue: Queue
    waiting: int
    oldest_seconds: float
    processes: int


@dataclass(frozen=True, slots=True)
class WorkerState:
    """A worker that is alive. `running`: the tasks that its processes have, with the seconds that each has run."""

    name: str
    host: str
    pid: int
    queues: tuple[str, ...]
    processes: int
    running: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class TaskState:
    """What was done of a task since Redis began to count: runs by outcome, their seconds, and how long their messages waited."""

    name: str
    queue: Queue
    runs: dict[str, int]
    seconds: float
    waited_seconds: float


@dataclass(frozen=True, slots=True)
class Work:
    """Everything that is known."""

    queues: tuple[QueueState, ...]
    workers: tuple[WorkerState, ...]
    tasks: tuple[TaskState, ...]


def read_work() -> Work | None:
    """Read it; None where Redis does not answer."""
    client = redis.Redis.from_url(
        settings.REDIS_URL, socket_timeout=PATIENCE_SECONDS, socket_connect_timeout=PATIENCE_SECONDS
    )
    try:
        with client.pipeline(transaction=False) as pipeline:
            for queue in QUEUES:
                pipeline.llen(queue.name)
                pipeline.lindex(queue.name, -1)
            pipeline.hgetall(WORKERS_KEY)
            pipeline.hgetall(TASKS_KEY)
            *of_queues, reports, figures = pipeline.execute()
    except (RedisError, OSError):
        return None
    finally:
        client.close()
    now = time.time()
    workers = tuple(sorted(_workers(reports, now=now), key=lambda worker: worker.name))
    lengths, oldest = of_queues[::2], of_queues[1::2]
    queues = tuple(
        QueueState(
            queue,
            waiting,
            _age_seconds(message, now=now),
            sum(worker.processes for worker in workers if queue.name in worker.queues),
        )
        for queue, waiting, message in zip(QUEUES, lengths, oldest, strict=True)
    )
    return Work(
        queues, workers, tuple(_tasks({key.decode(): float(value) for key, value in figures.items()}))
    )


class WorkCollector(Collector):
    """The same for Prometheus. Labels are queues and tasks of ours."""

    def __init__(self, work: Work | None) -> None:
        self._work = work

    def collect(self) -> Iterator[Metric]:
        if self._work is None:
            return
        waiting = GaugeMetricFamily(
            "purser_queue_messages", "Messages that wait for a worker", labels=["queue"]
        )
        oldest = GaugeMetricFamily(
            "purser_queue_oldest_seconds", "How long the oldest message has waited", labels=["queue"]
        )
        processes = GaugeMetricFamily(
            "purser_queue_processes", "Processes of live workers that serve the queue", labels=["queue"]
        )
        for state in self._work.queues:
            waiting.add_metric([state.queue.name], state.waiting)
            oldest.add_metric([state.queue.name], state.oldest_seconds)
            processes.add_metric([state.queue.name], state.processes)
        runs = CounterMetricFamily("purser_tasks", "Runs of tasks", labels=["task", "outcome"])
        seconds = CounterMetricFamily("purser_task_seconds", "Seconds that tasks ran", labels=["task"])
        waited = CounterMetricFamily(
            "purser_task_waited_seconds", "Seconds that their messages waited", labels=["task"]
        )
        for task in self._work.tasks:
            for outcome, count in task.runs.items():
                runs.add_metric([task.name, outcome], count)
            seconds.add_metric([task.name], task.seconds)
            waited.add_metric([task.name], task.waited_seconds)
        yield from (waiting, oldest, processes, runs, seconds, waited)


def _workers(reports: dict[bytes, bytes], *, now: float) -> Iterator[WorkerState]:
    for name, text in reports.items():
        report = orjson.loads(text)
        if now - report["at"] <= SILENT_SECONDS:
            yield WorkerState(
                name=name.decode(),
                host=report["host"],
                pid=report["pid"],
                queues=tuple(report["queues"]),
                processes=report["processes"],
                running=tuple((task, max(0.0, now - began)) for task, began in report["running"] if began),
            )


def _tasks(figures: dict[str, float]) -> Iterator[TaskState]:
    for name, queue in ROUTES.items():
        runs = {outcome: int(figures.get(f"{name} {outcome}", 0)) for outcome in OUTCOMES}
        if any(runs.values()):
            yield TaskState(
                name, queue, runs, figures.get(f"{name} seconds", 0.0), figures.get(f"{name} waited", 0.0)
            )


def _age_seconds(message: bytes | None, *, now: float) -> float:
    """How long ago a message of Celery was sent; 0 where it does not say so."""
    if message is None:
        return 0.0
    try:
        sent_at = orjson.loads(message)["headers"][SENT_AT]
        return max(0.0, now - float(sent_at))
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return 0.0
