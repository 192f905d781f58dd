"""How granian serves the product: the same in `make run`, in the tests and in the container.

Invariant: one worker per core, an event loop each; the site's static files come from the server itself.
"""

import os
import sys
from pathlib import Path

# Granian counts connections, streams that stay open and idle ones included.
BACKLOG = 8192
BACKPRESSURE = 4096
DRAIN_SECONDS = 15


def granian(
    *, host: str, port: int, workers: int, static_root: Path, drain_seconds: int = DRAIN_SECONDS
) -> list[str]:
    """The server's command line. `drain_seconds`: how long a stop waits for calls that are under way."""
    return [
        *(sys.executable, "-m", "granian", "--interface", "asgi", "--host", host, "--port", str(port)),
        *("--workers", str(workers), "--respawn-failed-workers", "--respawn-interval", "0.5"),
        *("--loop", "uvloop", "--no-ws", "--backlog", str(BACKLOG), "--backpressure", str(BACKPRESSURE)),
        *("--workers-kill-timeout", str(drain_seconds), "--log-level", "warning"),
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
