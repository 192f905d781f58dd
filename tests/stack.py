"""The running product for black-box tests: the sandbox provider, the web server and, on demand, Celery.

Invariant: everything started here is ended by process id at the end of the session, and every log is kept in the
state folder of the run, whose ends are shown when a start fails.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
START_TIMEOUT_SECONDS = 60


@dataclass
class Process:
    """One process of the product, with its log."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path

    def stop(self, *, with_signal: signal.Signals = signal.SIGTERM, timeout_seconds: float = 20) -> None:
        """End the process and all it started."""
        if self.popen.poll() is None:
            self.popen.send_signal(with_signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.popen.wait(timeout_seconds)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()


@dataclass
class Stack:
    """Addresses of the running product; `start` adds processes, `stop` ends them all."""

    home: Path
    environment: dict[str, str]
    processes: list[Process] = field(default_factory=list)
    base_url: str = ""
    sandbox_url: str = ""

    @property
    def control_url(self) -> str:
        return f"{self.sandbox_url}/control"

    def start(self, name: str, *arguments: str, ready: Callable[[], bool] | None = None) -> Process:
        """Start `python -m ...` in a group of its own and wait until it is ready."""
        log = self.home / "logs" / f"{name}-{len(self.processes)}.log"
        log.parent.mkdir(exist_ok=True)
        with log.open("ab") as output:
            popen = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        process = Process(name, popen, log)
        self.processes.append(process)
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while ready and not ready():
            if popen.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{name} did not start:\n{log.read_text(errors='replace')[-4000:]}")
            time.sleep(0.05)
        return process

    def start_sandbox(self) -> Process:
        port = free_port()
        self.sandbox_url = f"http://127.0.0.1:{port}"
        return self.start(
            "sandbox",
            "-m",
            "llm.sandbox",
            "--port",
            str(port),
            ready=lambda: answers(f"{self.control_url}/calls"),
        )

    def start_web(self, *, workers: int = 2) -> tuple[Process, str]:
        """Another web server on the same database; returns it with its base URL."""
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        process = self.start(
            "web",
            *("-m", "granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", str(port)),
            *("--workers", str(workers), "--loop", "uvloop", "--backlog", "4096", "--backpressure", "2048"),
            *("--workers-kill-timeout", "5", "--no-ws", "--log-level", "warning", "config.asgi:application"),
            ready=lambda: answers(f"{url}/readyz"),
        )
        return process, url

    def start_celery(self) -> tuple[Process, Process]:
        """A worker and beat, once for the session."""
        if not hasattr(self, "_celery"):
            worker = self.start(
                "worker",
                *("-m", "celery", "-A", "config", "worker", "--concurrency", "1", "--loglevel", "INFO"),
            )
            schedule = self.home / "beat-schedule"
            beat = self.start(
                "beat", *("-m", "celery", "-A", "config", "beat", "--schedule", str(schedule), "--pidfile=")
            )
            self._celery = worker, beat
        return self._celery

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.stop()


@pytest.fixture(scope="session")
def stack(home: Path, django_db_setup: None, django_db_blocker: pytest.FixtureRequest) -> Iterator[Stack]:
    """The product on the tests' database: sandbox and two web workers."""
    from django.db import connection

    user, _, _rest = os.environ["DATABASE_URL"].rpartition("/")
    running = Stack(
        home, {"DATABASE_URL": f"{user}/{connection.settings_dict['NAME']}", "BATCH_POLL_SECONDS": "1"}
    )
    try:
        running.start_sandbox()
        _, running.base_url = running.start_web()
        yield running
    finally:
        running.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(url: str) -> bool:
    """Whether the address answers with a 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False
