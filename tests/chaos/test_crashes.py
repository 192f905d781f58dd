"""Servers that die under load: a web worker, Redis, PostgreSQL. Nothing is lost, nothing is counted twice."""

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.db import connections

from billing.ledger.reaper import reap
from config.running import embedded
from tenants.models import Tenant
from tests.api.conftest import turns
from tests.books import OPEN_STATES, Books, eventually
from tests.chaos.conftest import Load, watched
from tests.stack import ROOT
from tests.world import Deployment, Member, World, declare_deployment

pytestmark = pytest.mark.slow

CLIENTS = 16
BUDGETS = [
    {"scope": "tenant", "unit": "usd", "period": "month", "limit": "100", "mode": "hard"},
    {"scope": "tenant", "unit": "tokens", "period": "day", "limit": "100000000", "mode": "hard"},
]
BODY = {"messages": turns("Write 30 words."), "max_tokens": 90, "stream": "sometimes"}


@contextmanager
def under(load: Load) -> Iterator[None]:
    """Run the load beside the block, and end it with the block."""
    thread = threading.Thread(target=lambda: asyncio.run(load.run(clients=CLIENTS)))
    thread.start()
    try:
        yield
    finally:
        load.is_over = True
        thread.join()


def until_answered(load: Load, more: int) -> None:
    """Wait for so many further answers."""
    wanted = load.statuses()[200] + more
    eventually(lambda: load.statuses()[200], until=lambda count: count >= wanted, patience_seconds=40)


def children(pid: int) -> list[int]:
    return [
        int(status.parent.name)
        for status in Path("/proc").glob("[0-9]*/status")
        if f"\nPPid:\t{pid}\n" in _read(status)
    ]


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def check_call_by_call(books: Books, member: Member, deployment: Deployment) -> tuple[int, int]:
    """Assert that each call the provider billed stands in the ledger once, by its figures or as an estimate that
    bounds it; how many of each."""
    calls = books.ended_calls(count=1, key=deployment.account_key)
    billed = {call["request_id"]: call for call in calls if call["billed"]}
    rows = books.rows(member.id)
    exact = [row for row in rows if row.usage_source == "provider"]
    estimated = [row for row in rows if row.usage_source == "estimated"]
    assert len({row.attempt_id for row in rows}) == len(rows)
    for row in exact:
        assert books.meters(row) == billed.pop(row.upstream_id)["billed"]
    # what is left was billed to attempts that a crash took; each has an estimate of its own
    assert len(billed) <= len(estimated)
    attempts = {attempt.id: attempt for attempt in books.attempts(member.id)}
    assert not [attempt for attempt in attempts.values() if attempt.state in OPEN_STATES]
    assert len([attempt for attempt in attempts.values() if attempt.state != "voided"]) == len(rows)
    books.check_windows(member.id)
    return len(exact), len(estimated)


@pytest.fixture
def deployment(make_deployment: Callable[..., Deployment]) -> Deployment:
    return make_deployment()


@pytest.fixture
def load(world: World, make_tenant: Callable[..., Member], deployment: Deployment) -> Load:
    """Plain and streamed calls to a deployment of the test's own, counted by two budgets."""
    member = make_tenant(budgets=BUDGETS)
    return Load(world.stack.base_url, member, BODY | {"model": deployment.model})


def test_it_works(world: World, books: Books, load: Load, deployment: Deployment) -> None:
    """SIGKILL of web workers under load: after the reaper the invoice and the ledger agree call by call."""
    process, load.base_url = world.stack.start_web()
    world.fault(fault="slow", match={"key": deployment.account_key}, delay_ms=150, times=-1, probability=0.3)
    try:
        with under(load):
            for _ in range(2):
                until_answered(load, 60)
                victim = children(process.popen.pid)[0]
                os.kill(victim, signal.SIGKILL)
                eventually(lambda victim=victim: victim not in children(process.popen.pid))
            eventually(lambda: len(children(process.popen.pid)) == 2, patience_seconds=40)
            until_answered(load, 60)
        assert set(load.statuses()) <= {200, 0}
    finally:
        process.stop()
    crashed = [attempt for attempt in books.attempts(load.member.id) if attempt.state in OPEN_STATES]
    reap(datetime.now(UTC) + timedelta(hours=1))
    exact, estimated = check_call_by_call(books, load.member, deployment)
    assert estimated == len(crashed)
    assert exact >= load.statuses()[200]
    reap(datetime.now(UTC) + timedelta(hours=1))  # a second time changes nothing
    assert check_call_by_call(books, load.member, deployment) == (exact, estimated)


def test_redis_may_die(
    world: World, books: Books, load: Load, deployment: Deployment, tmp_path: Path
) -> None:
    """Redis killed under load, and back again: requests go on, balances are exact."""
    redis = embedded.start_redis(tmp_path)
    process, load.base_url = world.stack.start_web(environment={"REDIS_URL": redis.url})
    try:
        with (
            watched(load.member.id, database_url=world.stack.environment["DATABASE_URL"]) as observer,
            under(load),
        ):
            until_answered(load, 60)
            redis.process.send_signal(signal.SIGKILL)
            redis.process.wait()
            until_answered(load, 120)
            redis = embedded.start_redis(tmp_path)
            until_answered(load, 60)
        assert load.statuses() == {200: len(load.outcomes)}
        assert observer.excesses == []
        books.settled(load.member.id, count=len(load.outcomes))
        exact, estimated = check_call_by_call(books, load.member, deployment)
        assert (exact, estimated) == (len(load.outcomes), 0)
    finally:
        process.stop()
        redis.stop()


@contextmanager
def other_database(url: str) -> Iterator[str]:
    """Django's alias of a database that is not the tests'."""
    parts = urlsplit(url)
    connections.databases["other"] = {
        **connections.databases["default"],
        "NAME": parts.path[1:],
        "USER": parts.username,
        "PASSWORD": parts.password,
        "HOST": parts.hostname,
        "PORT": parts.port,
    }
    try:
        yield "other"
    finally:
        connections["other"].close()
        del connections["other"], connections.databases["other"]


def manage(*arguments: str, database_url: str) -> None:
    """Run a command of the product on a database of the test's own."""
    subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": database_url},
        check=True,
        capture_output=True,
    )


def test_postgresql_may_die(world: World, tmp_path: Path) -> None:
    """PostgreSQL killed with all its children under load, and back again: refused meanwhile, and nothing is lost."""
    postgres = embedded.start_postgres(tmp_path)
    url = postgres.url
    deployment, document = declare_deployment(world.stack.sandbox_url)
    secret = secrets.token_hex(16)
    tenant = {
        "slug": "acme",
        "name": "Acme",
        "budgets": BUDGETS,
        "keys": [{"name": "main", "secret": secret}],
    }
    (tmp_path / "acme.yaml").write_text(json.dumps({**document, "tenants": [tenant]}))
    manage("migrate", database_url=url)
    manage("apply", str(tmp_path / "acme.yaml"), database_url=url)
    process, base_url = world.stack.start_web(environment={"DATABASE_URL": url})
    try:
        with other_database(url) as database:
            books = Books(world.stack, database)
            member = Member("acme", secret, Tenant.objects.using(database).get().pk)
            load = Load(base_url, member, BODY | {"model": deployment.model})
            with under(load):
                until_answered(load, 60)
                os.killpg(postgres.process.pid, signal.SIGKILL)
                postgres.process.wait()
                # long enough for what the workers know of the tenant to run out, too
                eventually(
                    lambda: load.statuses()[503],
                    until=lambda count: count >= 3 * CLIENTS,
                    patience_seconds=90,
                )
                postgres = embedded.start_postgres(tmp_path)
                until_answered(load, 60)
            assert set(load.statuses()) <= {200, 503}
            assert {outcome.code for outcome in load.outcomes} == {"", "service_unavailable"}
            connections[database].close()
            books.settled(member.id)
            exact, estimated = check_call_by_call(books, member, deployment)
            assert (exact, estimated) == (load.statuses()[200], 0)
    finally:
        process.stop()
        postgres.stop()
