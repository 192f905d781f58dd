"""What every test may ask for: the run's state folder, the committed database, the event loop's resources.

Invariant: no test truncates a table. The ledger is append-only, so a black-box test makes a tenant of its own, and
a test of one app rolls back (`db`).
"""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The machine may be busy: an example that is slow is no failure.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

pytest_plugins = ["tests.stack", "tests.world"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A second run needs a reason that a reader can judge."""
    for item in items:
        for mark in item.iter_markers("flaky"):
            if not mark.kwargs.get("reason"):
                raise pytest.UsageError(f"{item.nodeid}: @pytest.mark.flaky needs a reason")


@pytest.fixture(scope="session", autouse=True)
def _passwords_are_hashed_once() -> Iterator[None]:
    """A test makes several people who log in; each hash of a password takes a third of a second."""
    from django.test import override_settings

    with override_settings(PASSWORD_HASHERS=["tests.hashing.OnceHasher"]):
        yield


@pytest.fixture(scope="session")
def home() -> Path:
    """The state folder of the run."""
    return Path(os.environ["PURSER_HOME"])


@pytest.fixture(scope="session")
def django_db_setup(
    django_test_environment: None, django_db_blocker: pytest.FixtureRequest
) -> Iterator[None]:
    """The tests' database, by our migrations: also for tests that see it only through the running product."""
    from django.test.utils import setup_databases, teardown_databases

    from config.database import roles as database_roles

    with django_db_blocker.unblock():  # type: ignore[attr-defined]
        databases = setup_databases(verbosity=0, interactive=False, aliases={"default"})
        database_roles.ensure(reset=True)  # on a server of yours, those of the last run are still there
    yield
    with django_db_blocker.unblock():  # type: ignore[attr-defined]
        teardown_databases(databases, verbosity=0)


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
