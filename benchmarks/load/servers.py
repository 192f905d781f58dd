"""Starting one server of a benchmark, waiting until it answers, and ending it.

Invariant: every server is ended by its process id, with all that it started, and by the kernel when the benchmark is
killed.
"""

import contextlib
import os
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from config.running.processes import Child, spawn

ROOT = Path(__file__).resolve().parent.parent.parent
START_SECONDS = 180
LOCAL = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class ServerDied(Exception):
    """A server ended, or did not answer in time. The message has the end of its log."""


@contextlib.contextmanager
def started(
    name: str,
    command: list[str],
    *,
    home: Path,
    ready: str | Callable[[], bool],
    environment: Mapping[str, str] | None = None,
    folder: Path = ROOT,
    is_ours: bool = True,
) -> Iterator[Child]:
    """The server, once the address `ready` answers 200 or the function says so.

    Another product's (`is_ours` false) gets nothing of our environment, such as DATABASE_URL.
    """
    log = home / "logs" / f"{name}.log"
    inherited = os.environ if is_ours else {name: os.environ[name] for name in ("PATH", "HOME")}
    process = spawn(command, log=log, folder=folder, environment={**inherited, **(environment or {})})
    child = Child(name, process, log)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not (answers(ready) if isinstance(ready, str) else ready()):
            if not child.is_running or time.monotonic() > deadline:
                raise ServerDied(f"{name} did not start; the end of its log:\n{child.log_end()}")
            time.sleep(0.1)
        yield child
    finally:
        child.ask_to_stop()
        child.end(within_seconds=20)


def answers(url: str) -> bool:
    """Whether the address answers with a 200."""
    try:
        with LOCAL.open(url, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False
