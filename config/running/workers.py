"""`python -m config.running.workers`: Celery on one machine. Each group of queues has a worker of its own, forked of one process.


Invariant: what is forked here ends with this process, and is forked again when it ends by itself. What all of them need is
loaded once and shared: each further worker costs its own memory only, and no time to start.
"""

import argparse
import ctypes
import gc
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

import structlog
from django.conf import settings

from config.celery import app
from config.work import stopping
from config.work.queues import BATCHES, BOOKS, LONG, REALTIME

log = structlog.get_logger(__name__)

STEADY_SECONDS: Final = 60  # after this long a process counts as healthy, and its pause is reset
LONGEST_PAUSE_SECONDS: Final = 30
_PDEATHSIG: Final = 1  # of prctl(2)

# Nobody waits for another kind: short work on money not for batches, and neither for a slow provider.
GROUPS: Final = {
    "books": ((BOOKS.name,), 2),
    "batches": ((BATCHES.name, LONG.name), 2),
    "realtime": ((REALTIME.name,), 2),
}


@dataclass(slots=True)
class Forked:
    """A process of ours: what it runs, and how it has done so far."""

    name: str
    run: Callable[[], None]
    pid: int = 0
    began_at: float = 0.0
    failures: int = 0
    fork_at: float = 0.0


def main() -> int:
    """Fork everything and keep it running until a signal; then end it in order."""
    parser = argparse.ArgumentParser(prog="python -m config.running.workers", description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"default: all of {', '.join(GROUPS)}")
    parser.add_argument("--beat", action="store_true", help="and beat, of which an installation has one")
    parser.add_argument("--log-level", default="INFO")
    options = parser.parse_args()
    if unknown := set(options.groups) - set(GROUPS):
        parser.error(f"there is no group {', '.join(sorted(unknown))}")
    app.loader.import_default_modules()
    gc.collect()
    gc.freeze()  # the pages that are shared stay shared
    everything = [_worker(name, log_level=options.log_level) for name in options.groups or GROUPS]
    if options.beat:
        everything.append(Forked("beat", lambda: _beat(log_level=options.log_level)))
    return _keep(everything)


def _worker(name: str, *, log_level: str) -> Forked:
    queues, processes = GROUPS[name]
    command = ["worker", "--hostname", f"{name}@%h", "--queues", ",".join(queues)]
    command += [
        "--concurrency",
        str(processes),
        "--loglevel",
        log_level,
        "--without-gossip",
        "--without-mingle",
    ]
    return Forked(name, lambda: app.worker_main(command))


def _beat(*, log_level: str) -> None:
    app.Beat(schedule=str(settings.PURSER_HOME / "beat-schedule"), pidfile=None, loglevel=log_level).run()


def _keep(everything: list[Forked]) -> int:
    """Fork what is due, again and again, until a signal asks us to end."""
    signals: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, frame: signals.append(received))
    while not signals:
        for one in everything:
            if not one.pid and time.monotonic() >= one.fork_at:
                _fork(one)
        _note_ended(everything)
        time.sleep(0.1)
    for one in everything:
        if one.pid:
            os.kill(one.pid, signal.SIGTERM)
    while any(one.pid for one in everything):
        _note_ended(everything)
        time.sleep(0.05)
    return 0


def _fork(one: Forked) -> None:
    parent = os.getpid()
    one.began_at = time.monotonic()
    one.pid = os.fork()
    if one.pid:
        return
    code = 1
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        _die_with(parent)
        stopping.begin()
        one.run()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _die_with(parent: int) -> None:
    """Have the kernel end this process in order when its parent ends. Linux only; elsewhere the supervisor's group does it."""
    if Path("/proc/self").exists():
        ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)


def _note_ended(everything: list[Forked]) -> None:
    for one in everything:
        if not one.pid or os.waitpid(one.pid, os.WNOHANG) == (0, 0):
            continue
        now = time.monotonic()
        one.failures = 1 if now - one.began_at > STEADY_SECONDS else one.failures + 1
        pause = min(2 ** (one.failures - 1), LONGEST_PAUSE_SECONDS)
        one.pid, one.fork_at = 0, now + pause
        log.info("worker_ended", worker=one.name, pause_seconds=pause)


if __name__ == "__main__":
    sys.exit(main())
