"""What queues and workers report, through a Redis of the test's own."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from kombu import Connection
from prometheus_client import CollectorRegistry, generate_latest

from config.celery import app
from config.running import embedded
from config.work.queues import QUEUES
from config.work.reports import TASKS_KEY, WORKERS_KEY
from config.work.states import WorkCollector, read_work
from tests.books import eventually
from tests.stack import Stack


@pytest.fixture
def server(tmp_path: Path, settings: Any) -> Iterator[embedded.Server]:
    server = embedded.start_redis(tmp_path)
    settings.REDIS_URL = server.url
    yield server
    server.stop()


def send(server: embedded.Server, task: str, count: int) -> None:
    app.loader.import_default_modules()
    with Connection(server.url) as connection:
        for _ in range(count):
            app.tasks[task].apply_async(connection=connection)


def test_it_works(server: embedded.Server) -> None:
    send(server, "billing.tasks.reap_holds", 3)
    work = read_work()
    assert work is not None
    states = {state.queue.name: state for state in work.queues}
    assert set(states) == {queue.name for queue in QUEUES}
    assert (states["books"].waiting, states["books"].processes) == (3, 0)
    assert 0 < states["books"].oldest_seconds < 60
    assert (states["batches"].waiting, states["batches"].oldest_seconds) == (0, 0)


def test_a_worker_that_fell_silent_is_not_shown(server: embedded.Server) -> None:
    report = '{"at":%f,"host":"m","pid":1,"queues":["books"],"processes":2,"running":[["t",%f]]}'
    now = time.time()
    with redis.Redis.from_url(server.url) as client:
        client.hset(WORKERS_KEY, "here@m", report % (now, now - 5))
        client.hset(WORKERS_KEY, "gone@m", report % (now - 60, now))
    work = read_work()
    assert work is not None
    [worker] = work.workers
    assert (worker.name, worker.running[0][0]) == ("here@m", "t")
    assert worker.running[0][1] >= 5
    assert next(state.processes for state in work.queues if state.queue.name == "books") == 2


def test_prometheus_gets_the_same(server: embedded.Server) -> None:
    send(server, "llm.tasks.take_turns", 2)
    with redis.Redis.from_url(server.url) as client:
        client.hset(TASKS_KEY, mapping={"llm.tasks.take_turns done": 7, "llm.tasks.take_turns seconds": 1.5})
        client.hset(TASKS_KEY, "a.task.of.nobody done", 9)
    registry = CollectorRegistry()
    registry.register(WorkCollector(read_work()))
    text = generate_latest(registry).decode()
    assert 'purser_queue_messages{queue="batches"} 2.0' in text
    assert 'purser_tasks_total{outcome="done",task="llm.tasks.take_turns"} 7.0' in text
    assert 'purser_task_seconds_total{task="llm.tasks.take_turns"} 1.5' in text
    assert "nobody" not in text


def test_without_redis_nothing_is_known(server: embedded.Server) -> None:
    server.stop()
    assert read_work() is None
    registry = CollectorRegistry()
    registry.register(WorkCollector(None))
    assert generate_latest(registry) == b""


def test_a_message_of_another_kind_has_no_age(server: embedded.Server) -> None:
    with redis.Redis.from_url(server.url) as client:
        for text in ("[]", "not json", '{"headers": {"sent_at": "soon"}}'):
            client.delete("books")
            client.lpush("books", text)
            work = read_work()
            assert work is not None
            assert work.queues[0].oldest_seconds == 0


def test_real_workers_report(stack: Stack) -> None:
    """All groups are alive, and what beat sends is done and counted."""
    stack.start_celery()
    names = {"books", "batches", "realtime"}

    def seen() -> bool:
        work = read_work()
        return work is not None and {worker.name.split("@")[0] for worker in work.workers} >= names

    eventually(seen, patience_seconds=60)

    def counted() -> set[str]:
        work = read_work()
        return {task.name for task in work.tasks if task.runs["done"] and task.seconds > 0} if work else set()

    eventually(
        counted,
        until=lambda done: {"billing.tasks.deliver_alerts", "llm.tasks.advance_batches"} <= done,
        patience_seconds=60,
    )
