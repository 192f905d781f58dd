"""How granian serves the product: the same in `make run`, in the tests and in the container.

Invariant: one worker per core, an event loop each; the site's static files come from the server itself.
"""

import os
import resource
import sys
from contextlib import suppress
from pathlib import Path

from django.conf import settings

BACKLOG = 8192
IDLE_CONNECTIONS = 4096  # of each worker, beside those with a call: probes and the site find room among them
SETTLE_SECONDS = 5  # after the time for open calls is over: to end and settle them


def granian(
    *, host: str, port: int, workers: int, static_root: Path, drain_seconds: int | None = None
) -> list[str]:
    """The server's command line. `drain_seconds`: the workers' DRAIN_SECONDS, where it is not ours.

    Granian's own bound counts connections, idle ones included, and lets the others wait unheard: it stands above ours,
    which answers.
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
    """An empty folder where this start's workers sum their Prometheus figures, as their variable."""
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("*.db"):
        stale.unlink()
    return {"PROMETHEUS_MULTIPROC_DIR": str(folder)}


def allow_open_files() -> None:
    """Let this process open as many files as it may: a stream is two, and the usual limit is a thousand."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
