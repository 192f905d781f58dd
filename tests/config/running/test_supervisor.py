"""`manage.py run`, as `make run` starts it: what it starts, heals, refuses and leaves behind."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from config.running.embedded import free_port
from tests.books import eventually
from tests.stack import answers

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_SECONDS = 120


class Copy:
    """A copy of the product with a port and a state folder of its own."""

    def __init__(self, home: Path, *, output: str = "output") -> None:
        self.home = home
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.output = home.parent / output
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start it on embedded servers; the tests' own addresses stay out of it."""
        ours = ("DATABASE_URL", "REDIS_URL", "PURSER_HOME", "PORT", "PROMETHEUS_MULTIPROC_DIR")
        environment = {name: value for name, value in os.environ.items() if name not in ours}
        (self.home / "demo.json").unlink(missing_ok=True)  # an earlier start's
        environment |= {"PURSER_HOME": str(self.home), "PORT": str(self.port), "WEB_WORKERS": "1"}
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "run", *arguments],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self.process

    def facts(self) -> dict[str, str]:
        return dict(json.loads((self.home / "demo.json").read_text()))

    def processes(self, *words: str) -> list[int]:
        """The processes of this copy, all or those with these words in their command line."""
        found = []
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                environment = (folder / "environ").read_bytes().decode(errors="replace")
                is_in_home = (folder / "cwd").readlink() == self.home
            except OSError:
                continue
            if is_in_home or f"PURSER_HOME={self.home}\0" in environment or f" {self.home}/" in command:
                found += [int(folder.name)] if all(word in command for word in words) else []
        return found

    def wait_until_ready(self) -> None:
        self.until(lambda: (self.home / "demo.json").exists())

    def until(self, holds: Callable[[], bool]) -> None:
        def look() -> bool:
            assert self.process is not None
            assert self.process.poll() is None
            return holds()

        try:
            eventually(look, patience_seconds=PATIENCE_SECONDS)
        except AssertionError:
            raise AssertionError(self.output.read_text()) from None


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    """One state folder for all tests of this file, each of which starts and ends it."""
    made = Copy(tmp_path_factory.mktemp("run") / "home")
    yield made
    for pid in made.processes():
        os.kill(pid, signal.SIGKILL)


def test_it_serves_heals_and_leaves_nothing_behind(copy: Copy) -> None:
    process = copy.start()
    copy.wait_until_ready()
    facts = copy.facts()
    assert (copy.home / "demo.json").stat().st_mode & 0o777 == 0o600
    assert facts["base_url"] == copy.url
    assert answers(f"{copy.url}/readyz")
    assert answers(f"{facts['sandbox_control_url']}/calls")
    assert answers(f"{facts['admin_url']}login/")
    assert answers(f"{copy.url}/static/unfold/css/styles.css")
    assert sorted(facts) == sorted(
        [
            "base_url",
            "api_key",
            "admin_url",
            "admin_username",
            "admin_password",
            "sandbox_url",
            "sandbox_control_url",
        ]
    )

    (sandbox,) = copy.processes("llm.sandbox")
    (redis,) = copy.processes("redis-server")
    os.kill(sandbox, signal.SIGKILL)
    os.kill(redis, signal.SIGKILL)
    copy.until(lambda: copy.processes("llm.sandbox") not in ([], [sandbox]))
    copy.until(lambda: copy.processes("redis-server") not in ([], [redis]))
    copy.until(lambda: answers(f"{facts['sandbox_control_url']}/calls"))

    other = Copy(copy.home, output="other")
    assert other.start().wait(PATIENCE_SECONDS) == 1
    assert "another copy runs in" in other.output.read_text()

    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_SECONDS) == 0, copy.output.read_text()
    assert copy.processes() == []


def test_a_killed_supervisor_takes_its_children_along_and_the_next_start_recovers(copy: Copy) -> None:
    secrets_before = (copy.home / "demo-secrets.json").read_text()
    process = copy.start()
    copy.until(lambda: bool(copy.processes("config.running.workers")))
    process.kill()
    process.wait()
    eventually(copy.processes, until=lambda found: not found, patience_seconds=PATIENCE_SECONDS)
    process = copy.start()
    copy.wait_until_ready()
    assert (copy.home / "demo-secrets.json").read_text() == secrets_before
    process.terminate()
    assert process.wait(PATIENCE_SECONDS) == 0
    assert copy.processes() == []


def test_a_port_that_is_taken_is_one_clear_error(tmp_path: Path) -> None:
    copy = Copy(tmp_path / "home")
    with socket.create_server(("127.0.0.1", copy.port)):
        assert copy.start().wait(PATIENCE_SECONDS) == 1
    assert f"port {copy.port} is taken" in copy.output.read_text()
    assert copy.processes() == []


def test_a_signal_while_it_starts_ends_it_clean(tmp_path: Path) -> None:
    copy = Copy(tmp_path / "home")
    process = copy.start("--once")
    copy.until(lambda: bool(copy.processes("postgres", "-D")))
    process.terminate()
    assert process.wait(PATIENCE_SECONDS) == 130
    assert copy.processes() == []
