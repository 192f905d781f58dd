"""Starts everything `make run` needs, watches it, and stops it again.

Invariant: whatever was started here is ended here, by process id and in order; a part that dies while the product
serves is started again, one that dies while it starts fails the run with the end of its log.
"""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from config import embedded
from config.embedded import EmbeddedServerFailed, Server

ROOT = Path(__file__).resolve().parent.parent
READY_TIMEOUT_SECONDS = 60
GRACE_SECONDS = 20
LONGEST_BACKOFF_SECONDS = 30
ADMIN_USERNAME = "admin"


class StartFailed(Exception):
    """A part of the product did not come up; the message is for the person at the terminal."""


class Interrupted(Exception):
    """Somebody asked us to end."""


@dataclass(slots=True)
class Child:
    """One process of the product and how to start it again."""

    name: str
    command: list[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    failures: int = 0
    restart_at: float = 0.0


@dataclass
class Supervisor:
    """Runs the product in the foreground. `once` ends after the demonstration."""

    home: Path
    port: int
    once: bool = False
    environment: dict[str, str] = field(default_factory=dict)
    servers: list[Server] = field(default_factory=list)
    children: list[Child] = field(default_factory=list)

    def run(self) -> int:
        """Start, demonstrate, serve. Returns the exit code."""
        for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(name, _interrupt)
        try:
            self._start()
            code = self._demonstrate()
            if self.once or code:
                return code
            self._tell("serving; Ctrl-C stops everything")
            self._serve()
        except Interrupted:
            self._tell("stopping")
        except (StartFailed, EmbeddedServerFailed) as error:
            print(f"\n{error}", file=sys.stderr, flush=True)
            return 1
        finally:
            self._stop()
        return 0

    def _start(self) -> None:
        self._check_port()
        self.home.mkdir(parents=True, exist_ok=True)
        self._start_servers()
        self._tell("bringing the database up to date")
        self._manage("migrate", "--verbosity", "0")
        self._manage("collectstatic", "--noinput", "--verbosity", "0")
        self._tell("importing the list prices")
        self._manage("import_prices")
        facts = self._facts()
        self._tell("starting the sandbox provider, the web server, the worker and beat")
        self._start_child("sandbox", "-m", "llm.sandbox", "--port", facts["sandbox_url"].rpartition(":")[2])
        self._wait_for(f"{facts['sandbox_control_url']}/calls", self.children[-1])
        self._tell("loading the demo tenants")
        self._manage("apply", str(ROOT / "demo" / "demo.yaml"), quiet=True)
        self._create_admin(facts)
        self._start_child("web", *web_command(port=self.port, static_root=self.home / "static"))
        self._start_child("worker", "-m", "celery", "-A", "config", "worker", "--concurrency", "2", "--loglevel", "WARNING")
        schedule = str(self.home / "beat-schedule")
        self._start_child("beat", "-m", "celery", "-A", "config", "beat", "--schedule", schedule, "--pidfile=", "--loglevel", "WARNING")
        self._wait_for(f"http://127.0.0.1:{self.port}/readyz", self.children[1])
        embedded.write_private(self.home / "demo.json", json.dumps(facts, indent=2))

    def _start_servers(self) -> None:
        if not os.environ.get("DATABASE_URL"):
            self._tell("starting PostgreSQL 18 with pgvector")
            self.servers.append(embedded.start_postgres(self.home))
            self.environment["DATABASE_URL"] = self.servers[-1].url
        if not os.environ.get("REDIS_URL"):
            self._tell("starting Redis")
            self.servers.append(embedded.start_redis(self.home))
            self.environment["REDIS_URL"] = self.servers[-1].url
        metrics = self.home / "metrics"
        metrics.mkdir(exist_ok=True)
        for stale in metrics.glob("*.db"):
            stale.unlink()
        self.environment |= {
            "PURSER_HOME": str(self.home),
            "PORT": str(self.port),
            "PROMETHEUS_MULTIPROC_DIR": str(metrics),
            "WEBHOOKS_MAY_BE_PRIVATE": "1",  # the demonstration's webhook goes to the sandbox, on this machine
            "BATCH_POLL_SECONDS": os.environ.get("BATCH_POLL_SECONDS", "2"),
        }

    def _facts(self) -> dict[str, str]:
        """What demo.json says; keys and passwords of an earlier run are kept."""
        kept: dict[str, str] = {}
        with suppress(OSError, ValueError):
            kept = json.loads((self.home / "demo-secrets.json").read_text())
        for name in ("PURSER_DEMO_KEY", "PURSER_DEMO_BOUNDED_KEY", "PURSER_HOOK_SECRET", "PURSER_SANDBOX_KEY", "ADMIN_PASSWORD"):
            prefix = {"PURSER_SANDBOX_KEY": "sk-sandbox-", "PURSER_DEMO_KEY": "demo-", "PURSER_DEMO_BOUNDED_KEY": "demo-bounded-"}
            kept.setdefault(name, prefix.get(name, "") + secrets.token_urlsafe(24))
        embedded.write_private(self.home / "demo-secrets.json", json.dumps(kept))
        sandbox_url = f"http://127.0.0.1:{embedded.free_port()}"
        self.environment |= {**kept, "PURSER_SANDBOX_URL": sandbox_url}
        self.environment.pop("ADMIN_PASSWORD")
        base_url = f"http://127.0.0.1:{self.port}"
        return {
            "base_url": base_url,
            "api_key": kept["PURSER_DEMO_KEY"],
            "admin_url": f"{base_url}/admin/",
            "admin_username": ADMIN_USERNAME,
            "admin_password": kept["ADMIN_PASSWORD"],
            "sandbox_url": sandbox_url,
            "sandbox_control_url": f"{sandbox_url}/control",
        }

    def _create_admin(self, facts: dict[str, str]) -> None:
        self._manage("ensure_admin", ADMIN_USERNAME, secret=facts["admin_password"])

    def _demonstrate(self) -> int:
        self._tell("driving the main job once, through the OpenAI and Anthropic SDKs")
        done = subprocess.run(self._python("manage.py", "demo"), cwd=ROOT, env=self._env(), check=False)
        facts = json.loads((self.home / "demo.json").read_text())
        print(
            f"\n  API    {facts['base_url']}/v1   key {facts['api_key']}"
            f"\n  Docs   {facts['base_url']}/docs"
            f"\n  Admin  {facts['admin_url']}   {facts['admin_username']} / {facts['admin_password']}\n",
            flush=True,
        )
        return done.returncode

    def _serve(self) -> None:
        while True:
            time.sleep(0.5)
            for server in self.servers:
                if server.process.poll() is not None:
                    raise StartFailed(f"{server.name} ended by itself; its log is in {self.home / 'logs'}.")
            for child in self.children:
                self._look_after(child)

    def _look_after(self, child: Child) -> None:
        """Start a dead child again, later each time it dies."""
        if child.process is not None and child.process.poll() is not None:
            child.failures += 1
            delay = min(2**child.failures, LONGEST_BACKOFF_SECONDS)
            child.process, child.restart_at = None, time.monotonic() + delay
            self._tell(f"{child.name} ended by itself; starting it again in {delay} s (log: {child.log})")
        if child.process is None and time.monotonic() >= child.restart_at:
            self._spawn(child)

    def _stop(self) -> None:
        """End the children together, then the servers they use."""
        for child in reversed(self.children):
            if child.process is not None and child.process.poll() is None:
                child.process.terminate()
        deadline = time.monotonic() + GRACE_SECONDS
        for child in reversed(self.children):
            if child.process is None:
                continue
            with suppress(subprocess.TimeoutExpired):
                child.process.wait(max(0.1, deadline - time.monotonic()))
            with suppress(ProcessLookupError):
                os.killpg(child.process.pid, signal.SIGKILL)
            child.process.wait()
        for server in reversed(self.servers):
            server.stop()

    def _start_child(self, name: str, *arguments: str) -> None:
        child = Child(name, self._python(*arguments), self.home / "logs" / f"{name}.log")
        self.children.append(child)
        self._spawn(child)

    def _spawn(self, child: Child) -> None:
        with child.log.open("ab") as output:
            child.process = subprocess.Popen(
                embedded.with_death_signal(child.command),
                cwd=ROOT,
                env=self._env(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _wait_for(self, url: str, child: Child) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_SECONDS
        while not _answers(url):
            died = child.process is not None and child.process.poll() is not None
            if died or time.monotonic() > deadline:
                tail = "\n".join(child.log.read_text(errors="replace").splitlines()[-15:])
                raise StartFailed(f"{child.name} {'ended' if died else 'did not answer'} while starting. Its log ({child.log}) ends:\n{tail}")
            time.sleep(0.1)

    def _manage(self, *arguments: str, quiet: bool = False, secret: str = "") -> None:
        done = subprocess.run(
            self._python("manage.py", *arguments),
            cwd=ROOT,
            env=self._env() | ({"PURSER_ADMIN_PASSWORD": secret} if secret else {}),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise StartFailed(f"manage.py {arguments[0]} failed:\n{done.stderr[-3000:] or done.stdout[-3000:]}")
        if done.stdout.strip() and not quiet:
            print("\n".join(f"    {line}" for line in done.stdout.strip().splitlines()[-3:]), flush=True)

    def _check_port(self) -> None:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", self.port))
            except OSError:
                raise StartFailed(f"Port {self.port} is taken. Choose another: make run PORT=8001") from None

    def _env(self) -> dict[str, str]:
        return {**os.environ, **self.environment}

    def _python(self, *arguments: str) -> list[str]:
        return [sys.executable, *arguments]

    def _tell(self, what: str) -> None:
        print(f"==> {what}", flush=True)


def web_command(*, port: int, static_root: Path, workers: int | None = None, host: str = "127.0.0.1") -> list[str]:
    """Granian's arguments: one worker per core, many open streams, the site's static files beside."""
    return [
        *("-m", "granian", "--interface", "asgi", "--host", host, "--port", str(port)),
        *("--workers", str(workers or os.cpu_count() or 1), "--loop", "uvloop"),
        # both count connections, streams that stay open included
        *("--backlog", "8192", "--backpressure", "4096"),
        *("--workers-kill-timeout", str(GRACE_SECONDS - 5), "--respawn-failed-workers", "--no-ws", "--log-level", "warning"),
        *("--static-path-route", "/static", "--static-path-mount", str(static_root)),
        "config.asgi:application",
    ]


def _interrupt(signum: int, frame: FrameType | None) -> None:
    signal.signal(signum, signal.SIG_IGN)  # a second Ctrl-C must not leave half of us running
    raise Interrupted


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=3) as response:
            return bool(response.status == 200)
    except OSError:
        return False
