"""Real servers for a run of the tests: PostgreSQL with pgvector and Redis, in a state folder of its own.

Invariant: they run before Django reads its settings, which is why this is a plugin named in pyproject.toml and not
part of a conftest; they end with the run, even when it is killed. Addresses in the environment are used as they are,
by one process. Of several (`-n 2`) each has servers of its own, so that a chaos test kills nobody else's.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from config.running import embedded


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Start what the environment does not name, and point the settings to it."""
    options = early_config.known_args_namespace
    if options.help or options.version:
        return
    is_worker = "PYTEST_XDIST_WORKER" in os.environ
    if getattr(options, "numprocesses", None) and not is_worker:  # it tests nothing itself
        if given := {"DATABASE_URL", "REDIS_URL"} & set(os.environ):
            raise pytest.UsageError(
                f"several processes cannot share {' and '.join(sorted(given))}: run with -n 0"
            )
        return
    home = Path(tempfile.mkdtemp(prefix="purser-test-"))
    servers: list[embedded.Server] = []
    atexit.register(_end, home, servers)
    if not os.environ.get("DATABASE_URL"):
        servers.append(embedded.start_postgres(home))
        os.environ["DATABASE_URL"] = servers[-1].url
    if not os.environ.get("REDIS_URL"):
        servers.append(embedded.start_redis(home))
        os.environ["REDIS_URL"] = servers[-1].url
    os.environ |= {
        "PURSER_HOME": str(home),
        "WEBHOOKS_MAY_BE_PRIVATE": "1",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }


def _end(home: Path, servers: list[embedded.Server]) -> None:
    for server in reversed(servers):
        server.stop()
    shutil.rmtree(home, ignore_errors=True)
