"""The watchdog, on the real server: a loop that stands still is reported, then its worker is replaced; others go on."""

import http.client
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from config.running import web
from config.running.embedded import free_port
from config.running.processes import is_gone
from tests.books import eventually
from tests.stack import LOCAL, Stack, answers

REPORT_SECONDS, REPLACE_SECONDS = 1, 3


class Served:
    """The door behind two workers, each with its watchdog."""

    def __init__(self, port: int, log: Path) -> None:
        self.port, self.log = port, log

    def pids(self) -> set[int]:
        """Which workers answer, on some fresh connections."""
        found = set()
        for _ in range(12):
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
            try:
                found.add(pid_on(connection))
            except OSError:
                pass  # its worker was ended
            finally:
                connection.close()
        return found

    def connections(self) -> dict[int, http.client.HTTPConnection]:
        """An open connection to each worker."""
        found: dict[int, http.client.HTTPConnection] = {}
        while len(found) < 2:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            found.setdefault(pid_on(connection), connection)
        return found

    def told(self, event: str, worker: int) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("event") == event and line.get("worker") == worker]

    def replaced(self) -> float:
        with LOCAL.open(f"http://127.0.0.1:{self.port}/metrics", timeout=20) as response:
            lines = response.read().decode().splitlines()
        return sum(
            float(line.split()[-1]) for line in lines if line.startswith("purser_workers_replaced_total")
        )


def pid_on(connection: http.client.HTTPConnection) -> int:
    connection.request("GET", "/v1/pid")
    return int(connection.getresponse().read())


@pytest.fixture(scope="module")
def served(home: Path, tests_database_url: str) -> Iterator[Served]:
    port = free_port()
    static_root = home / "static"
    static_root.mkdir(exist_ok=True)
    command = web.granian(host="127.0.0.1", port=port, workers=2, static_root=static_root, drain_seconds=2)
    running = Stack(
        home,
        {
            "DATABASE_URL": tests_database_url,
            "DOOR_DIARY": str(home / "watched.diary"),
            "LOOP_REPORT_SECONDS": str(REPORT_SECONDS),
            "LOOP_REPLACE_SECONDS": str(REPLACE_SECONDS),
            **web.clean_metrics(home / f"metrics-{port}"),
        },
    )
    try:
        process = running.start(
            "watched",
            *(*command[1:-1], "tests.config.door.door:application"),
            ready=lambda: answers(f"http://127.0.0.1:{port}/v1/events"),
        )
        yield Served(port, process.log)
    finally:
        running.stop()


def test_a_blocked_worker_is_reported_then_replaced_and_others_go_on(served: Served) -> None:
    """A regular expression that never ends keeps the interpreter to itself: only from outside can that be seen."""
    before = served.replaced()
    (blocked, to_blocked), (other, to_other) = served.connections().items()
    to_blocked.request("GET", "/v1/block?letters=60")
    while not is_gone(blocked):
        assert pid_on(to_other) == other
    with pytest.raises((http.client.HTTPException, OSError)):
        to_blocked.getresponse()
    (report,) = served.told("loop_blocked", blocked)
    assert any("in block" in line for line in report["stack"])
    assert REPORT_SECONDS <= report["seconds"] < REPLACE_SECONDS
    (end,) = served.told("worker_replaced", blocked)
    assert end["seconds"] >= REPLACE_SECONDS
    eventually(lambda: len(pids := served.pids()) == 2 and blocked not in pids and other in pids)
    eventually(lambda: served.replaced() == before + 1)


def test_a_worker_that_was_stopped_is_replaced(served: Served) -> None:
    (stopped, _), (other, to_other) = served.connections().items()
    os.kill(stopped, signal.SIGSTOP)
    while not is_gone(stopped):
        assert pid_on(to_other) == other
    eventually(lambda: len(pids := served.pids()) == 2 and stopped not in pids)


def test_a_worker_that_goes_on_in_time_is_only_reported(served: Served) -> None:
    (worker, connection), _ = served.connections().items()
    os.kill(worker, signal.SIGSTOP)
    eventually(lambda: bool(served.told("loop_blocked", worker)))
    os.kill(worker, signal.SIGCONT)
    eventually(lambda: bool(served.told("loop_resumed", worker)))
    assert pid_on(connection) == worker
    assert not served.told("worker_replaced", worker)


def test_the_watchdogs_end_with_their_workers(served: Served) -> None:
    workers = served.pids()

    def watchdogs() -> set[int]:
        found = set()
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if any(word.endswith(b"config/running/watching.py") for word in words):
                found.add(int(words[words.index(b"-S") + 2]))
        return found

    assert workers <= watchdogs()
    victim = min(workers)
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: victim not in watchdogs())
