"""`python -m config.running.workers`: forks workers, forks again what died, and leaves nothing behind."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from config.running import embedded
from config.running.processes import is_gone
from tests.books import eventually
from tests.stack import Process, Stack

pytestmark = pytest.mark.slow

PATIENCE_SECONDS = 60


def children(pid: int) -> list[int]:
    """The processes that a process has started, the oldest first."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return sorted(int(child) for task in tasks for child in task.read_text().split())


def family(pid: int) -> list[int]:
    found = children(pid)
    return [*found, *(grandchild for child in found for grandchild in family(child))]


@pytest.fixture
def start(stack: Stack, tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Starts workers on a Redis of the test's own, so that they take no other test's work."""
    redis = embedded.start_redis(tmp_path)
    started: list[Process] = []

    def start(*arguments: str) -> Process:
        environment = {"REDIS_URL": redis.url, "PURSER_HOME": str(tmp_path)}
        process = stack.start(
            "own-workers",
            *("-m", "config.running.workers", *arguments),
            environment=environment,
            ready=(tmp_path / "worker.ready").exists,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.stop()
    redis.stop()


def test_it_works(start: Callable[..., Process]) -> None:
    """One process has a worker for each group and beat, and ends all of them when asked to."""
    main = start("--beat").popen
    everything = eventually(
        lambda: family(main.pid),
        until=lambda found: len(found) == 3 * 3 + 1,
        patience_seconds=PATIENCE_SECONDS,
    )
    assert len(children(main.pid)) == 4
    main.terminate()
    assert main.wait(PATIENCE_SECONDS) == 0
    assert all(is_gone(pid) for pid in everything)


def test_what_died_is_forked_again(start: Callable[..., Process]) -> None:
    main = start("books").popen
    [first] = children(main.pid)
    os.kill(first, signal.SIGKILL)
    [second] = eventually(
        lambda: children(main.pid),
        until=lambda found: found and found != [first],
        patience_seconds=PATIENCE_SECONDS,
    )
    assert second != first
    eventually(lambda: len(children(second)) == 2, patience_seconds=PATIENCE_SECONDS)


def test_nothing_outlives_a_killed_parent(start: Callable[..., Process]) -> None:
    main = start("books", "realtime").popen
    everything = eventually(
        lambda: family(main.pid), until=lambda found: len(found) == 6, patience_seconds=PATIENCE_SECONDS
    )
    main.kill()
    main.wait()
    eventually(lambda: all(is_gone(pid) for pid in everything), patience_seconds=PATIENCE_SECONDS)


def test_a_group_that_does_not_exist_is_an_error(stack: Stack) -> None:
    process = stack.start("wrong-workers", "-m", "config.running.workers", "bookz")
    assert process.popen.wait(PATIENCE_SECONDS) == 2
    assert "there is no group bookz" in process.log.read_text()
