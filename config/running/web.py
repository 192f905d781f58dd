"""The command line of the web server (granian), the same in `make run`, in the tests and in the container.

Invariant: one worker per core, each with one event loop. The server itself serves the site's static files.
"""

import os
import resource
import sys
from contextlib import suppress
from pathlib import Path

from django.conf import settings

BACKLOG = 8192
IDLE_CONNECTIONS = 4096  # of each worker, in addition to those with a call; also for probes and the site
SETTLE_SECONDS = 5  # after the deadline for open calls: to end and settle them


def granian(
    *, host: str, port: int, workers: int, static_root: Path, drain_seconds: int | None = None
) -> list[str]:
    """The server's command line. `drain_seconds`: the workers' DRAIN_SECONDS, if it differs from ours.

    Granian's own limit counts connections, including idle ones, and lets further ones wait without an answer. It is
    higher than ours, so that ours applies first and answers.
    """
    most_connections = settings.MAX_CALLS_IN_FLIGHT + settings.MAX_CALLS_WAITING + IDLE_CONNECTIONS
    drain_seconds = settings.DRAIN_SECONDS if drain_seconds is None else drain_seconds
    return [
        *(sys.executable, "-m", "granian", "--interface", "asgi", "--host", host, "--port", str(port)),
        *("--workers", str(workers), "--respawn-failed-workers", "--respawn-interval", "0.5"),
        *("--loop", "uvloop", "--no-ws", "--backlog", str(BACKLOG), "--backpressure", str(most_connections)),
        *("--workers-kill-timeout", str(drain_seconds + SETTLE_SECONDS), "--log-level", "warning"),
        *("--static-path-route", "/static", "--static-path-mount", str(static_root)),
        "config.asgi:application",
    ]


def default_workers() -> int:
    """WEB_WORKERS, else one per core that we may use."""
    return int(os.environ.get("WEB_WORKERS") or len(os.sched_getaffinity(0)))


def clean_metrics(folder: Path) -> dict[str, str]:
    """Empty the folder in which the workers share their Prometheus metrics. Returns its environment variable."""
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("*.db"):
        stale.unlink()
    return {"PROMETHEUS_MULTIPROC_DIR": str(folder)}


def allow_open_files() -> None:
    """Raise the limit of open files: a stream needs two, and the usual limit is a thousand."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
