"""Health, readiness and metrics, with dependencies that are there, away, or silent."""

import asyncio
import json
import os
import signal
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
from django.conf import settings
from django.db import connection as django_connection
from django.test import AsyncRequestFactory, override_settings
from psycopg_pool import AsyncConnectionPool

from config import health, resources
from config.file_storage import storage_of
from config.running import embedded
from tests.stack import LOCAL, Stack

AWAY_REDIS = "redis://127.0.0.1:1/0"


def get(url: str) -> tuple[int, dict[str, object]]:
    try:
        with LOCAL.open(url, timeout=10) as response:
            return response.status, json.load(response)
    except OSError as error:
        return error.code, json.load(error)  # type: ignore[attr-defined]


async def readiness() -> tuple[int, dict[str, object]]:
    response = await health.readyz(AsyncRequestFactory().get("/readyz"))
    return response.status_code, json.loads(response.content)


def test_it_works(stack: Stack) -> None:
    assert get(f"{stack.base_url}/healthz") == (200, {"status": "ok"})
    status, body = get(f"{stack.base_url}/readyz")
    assert (status, body["status"]) == (200, "ok")
    names = ("postgresql", "migrations", "embedder", "redis", "files")
    assert body["dependencies"] == dict.fromkeys(names, "ok")


def test_a_probe_may_use_any_name_for_the_host(stack: Stack) -> None:
    request = urllib.request.Request(f"{stack.base_url}/healthz", headers={"host": "10.1.2.3"})
    with LOCAL.open(request, timeout=10) as response:
        assert response.status == 200


def test_without_redis_it_is_degraded_and_ready(stack: Stack) -> None:
    process, url = stack.start_web(workers=1, environment={"REDIS_URL": AWAY_REDIS})
    status, body = get(f"{url}/readyz")
    process.stop()
    assert (status, body["status"]) == (200, "degraded")
    assert body["dependencies"]["redis"].startswith("away")  # type: ignore[index]


async def test_without_a_place_for_files_it_is_degraded(
    loop_resources: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FILES_S3_BUCKET", "nowhere")
    monkeypatch.setenv("FILES_S3_ENDPOINT_URL", "http://127.0.0.1:1")
    with override_settings(STORAGES={"files": storage_of(tmp_path)}):
        status, body = await readiness()
    assert (status, body["status"]) == (200, "degraded")
    assert body["dependencies"]["files"].startswith("away")  # type: ignore[index]


async def test_a_migration_that_is_missing_makes_it_unready(loop_resources: None) -> None:
    latest = "llm", "0001_tables"
    url = f"{settings.DATABASE_URL.rpartition('/')[0]}/{django_connection.settings_dict['NAME']}"
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(
            "UPDATE django_migrations SET app = 'gone' WHERE (app, name) = (%s, %s)", latest
        )
        try:
            status, body = await readiness()
        finally:
            await connection.execute("UPDATE django_migrations SET app = %s WHERE app = 'gone'", latest[:1])
    assert (status, body["status"]) == (503, "unready")
    assert "llm.0001_tables" in body["dependencies"]["migrations"]  # type: ignore[index]


@pytest.fixture
def other_postgres(tmp_path: Path) -> Iterator[embedded.Server]:
    server = embedded.start_postgres(tmp_path)
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("CREATE ROLE purser_app")
    yield server
    os.killpg(server.process.pid, signal.SIGCONT)
    server.stop()


@pytest.fixture
async def other_pool(loop_resources: None, other_postgres: embedded.Server) -> AsyncIterator[None]:
    """The event loop's resources, on a server that we may freeze."""
    usual = resources.db
    async with AsyncConnectionPool(other_postgres.url, min_size=2, open=False) as resources.db:
        await resources.db.wait()
        yield
        os.killpg(other_postgres.process.pid, signal.SIGCONT)
    resources.db = usual


async def test_a_silent_postgresql_does_not_make_it_hang(
    other_pool: None, other_postgres: embedded.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "DEADLINE_SECONDS", 0.3)
    backends = [int(pid) for pid in _children(other_postgres.process.pid)]
    for pid in (other_postgres.process.pid, *backends):
        os.kill(pid, signal.SIGSTOP)
    try:
        async with asyncio.timeout(20):
            for _ in range(3):
                status, body = await readiness()
                assert (status, body["status"]) == (503, "unready")
                assert "away" in body["dependencies"]["postgresql"]  # type: ignore[index]
    finally:
        for pid in (*backends, other_postgres.process.pid):
            os.kill(pid, signal.SIGCONT)


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
