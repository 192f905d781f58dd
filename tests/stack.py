"""The running product for black-box tests: the sandbox provider, the web server and, on demand, Celery.

Invariant: everything started here is ended by process id at the end of the session, and by the kernel when the
session is killed. What the processes logged during a test that failed stands in its report.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from config.running import web
from config.running.embedded import free_port
from config.running.processes import spawn

ROOT = Path(__file__).resolve().parent.parent
START_TIMEOUT_SECONDS = 300  # the machine may be busy
SHOWN_LOG_CHARACTERS = 6000
DRAIN_SECONDS = 5
_RUNNING: list["Stack"] = []
# the machine's own addresses are never asked for through a proxy
LOCAL = urllib.request.build_opener(urllib.request.ProxyHandler({}))


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
    _celery: Process | None = None

    @property
    def control_url(self) -> str:
        return f"{self.sandbox_url}/control"

    def start(
        self,
        name: str,
        *arguments: str,
        ready: Callable[[], bool] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Process:
        """Start `python ...` in a group of its own and wait until it is ready.

        It ends with the thread that calls, so call from the main one.
        """
        log = self.home / "logs" / f"{name}-{len(self.processes)}.log"
        everything = {**os.environ, **self.environment, **(environment or {})}
        popen = spawn([sys.executable, *arguments], log=log, folder=ROOT, environment=everything)
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
            *("-m", "llm.sandbox", "--port", str(port)),
            ready=lambda: answers(f"{self.control_url}/calls"),
        )

    def start_web(
        self,
        *,
        workers: int = 2,
        environment: Mapping[str, str] | None = None,
        drain_seconds: int = DRAIN_SECONDS,
    ) -> tuple[Process, str]:
        """Another web server on the same database, in the given environment; returns it with its base URL."""
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        static_root = self.home / "static"
        static_root.mkdir(exist_ok=True)
        command = web.granian(
            host="127.0.0.1", port=port, workers=workers, static_root=static_root, drain_seconds=drain_seconds
        )
        process = self.start(
            "web",
            *command[1:],
            ready=lambda: answers(f"{url}/readyz"),
            environment={
                "DRAIN_SECONDS": str(drain_seconds),
                **web.clean_metrics(self.home / f"metrics-{port}"),
                **(environment or {}),
            },
        )
        return process, url

    def start_celery(self) -> Process:
        """Celery's workers and beat, once for the session."""
        if self._celery is None:
            self._celery = self.start("workers", "-m", "config.running.workers", "--beat")
        return self._celery

    def kill_celery(self) -> None:
        """End the workers and beat as a crash would; `start_celery` starts others."""
        if self._celery is not None:
            self._celery.stop(with_signal=signal.SIGKILL)
        self._celery = None

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.stop()


@pytest.fixture(scope="session")
def tests_database_url(django_db_setup: None) -> str:
    """The address of the tests' database, for processes of the product."""
    from django.db import connection

    server, _, _ = os.environ["DATABASE_URL"].rpartition("/")
    return f"{server}/{connection.settings_dict['NAME']}"


@pytest.fixture(scope="session")
def stack(home: Path, tests_database_url: str) -> Iterator[Stack]:
    """The product on the tests' database: sandbox and two web workers."""
    from django.core.management import call_command

    call_command("collectstatic", interactive=False, verbosity=0)
    running = Stack(
        home, {"DATABASE_URL": tests_database_url, "BATCH_POLL_SECONDS": "1", "CACHE_BUDGET_SCALE": "50"}
    )
    _RUNNING.append(running)
    try:
        running.start_sandbox()
        _, running.base_url = running.start_web()
        yield running
    finally:
        _RUNNING.remove(running)
        running.stop()


@pytest.fixture
def without_workers() -> None:
    """Ends the workers that an earlier test started: the test does their work itself. The next `celery` starts others."""
    for running in _RUNNING:
        running.kill_celery()


@pytest.fixture
def celery(stack: Stack) -> Process:
    """Celery's workers and beat, real ones."""
    return stack.start_celery()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to the report of a failed test what the product's processes logged meanwhile."""
    running: Stack | None = getattr(item, "funcargs", {}).get("stack")
    sizes: dict[Path, int] = item.stash.setdefault(_LOG_SIZES, {})
    if running and call.when == "setup":
        sizes.update({process.log: process.log.stat().st_size for process in running.processes})
    report = yield
    if running and report.failed:
        for process in running.processes:
            with process.log.open("rb") as log:
                log.seek(sizes.get(process.log, 0))
                text = log.read().decode(errors="replace")[-SHOWN_LOG_CHARACTERS:]
            if text.strip():
                report.sections.append((f"log of {process.name} ({process.log.name})", text))
    return report


_LOG_SIZES = pytest.StashKey[dict[Path, int]]()


def get_json(url: str) -> Any:
    """What an address of ours answers, decoded."""
    with LOCAL.open(url, timeout=10) as response:
        return json.load(response)


def answers(url: str) -> bool:
    """Whether the address answers with a 200."""
    try:
        with LOCAL.open(url, timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False
