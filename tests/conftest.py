"""Real servers for the tests: PostgreSQL with pgvector and Redis, started once for the run, in a folder of its own.

Invariant: no test truncates a table. The ledger is append-only, so a black-box test makes a tenant of its own, and
a test of one app rolls back (`db`).
"""

import atexit
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from config import embedded

pytest_plugins = ["tests.stack", "tests.world"]


def pytest_configure(config: pytest.Config) -> None:
    """Start the servers before Django reads its settings; an address in the environment is used as it is."""
    if os.environ.get("PURSER_HOME", "").startswith(tempfile.gettempdir() + "/purser-test-"):
        return
    home = Path(tempfile.mkdtemp(prefix="purser-test-"))
    home.chmod(0o755)
    servers = []
    if not os.environ.get("DATABASE_URL"):
        servers.append(postgres := embedded.start_postgres(home))
        os.environ["DATABASE_URL"] = postgres.url
    if not os.environ.get("REDIS_URL"):
        servers.append(redis := embedded.start_redis(home))
        os.environ["REDIS_URL"] = redis.url
    os.environ["PURSER_HOME"] = str(home)
    os.environ["WEBHOOKS_MAY_BE_PRIVATE"] = "1"

    def end() -> None:
        for server in reversed(servers):
            server.stop()
        shutil.rmtree(home, ignore_errors=True)

    atexit.register(end)


@pytest.fixture(scope="session")
def home() -> Path:
    """The state folder of the run."""
    return Path(os.environ["PURSER_HOME"])


@pytest.fixture
def committed(django_db_setup: None, django_db_blocker: pytest.FixtureRequest) -> Iterator[None]:
    """The database without a surrounding transaction: what the test writes stays, so it makes tenants of its own."""
    with django_db_blocker.unblock():  # type: ignore[attr-defined]
        yield


@pytest.fixture
async def loop_resources(committed: None) -> AsyncIterator[None]:
    """The event loop's resources, as a worker has them, for tests of async code in this process."""
    from config.resources import resources

    async with resources():
        yield
