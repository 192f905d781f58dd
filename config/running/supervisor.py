"""Starts everything that `make run` needs, supervises it, and stops it again.

Invariant: every process that was started here is ended here, in order and with its children. A program that dies while
the product serves is started again. A program that dies during the start fails the run, with the end of its log.
Signals only set a flag that every wait checks: no child is started and then forgotten.
"""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings

from config.running import embedded, web
from config.running.demo_facts import DemoFacts, kept_secrets, publish
from config.running.embedded import EmbeddedServerFailed, Server
from config.running.processes import POLL_SECONDS, Child, MissingTool, end_group, spawn

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT_SECONDS = 90
GRACE_SECONDS = settings.DRAIN_SECONDS + web.SETTLE_SECONDS + 5
LONGEST_BACKOFF_SECONDS = 30
STEADY_SECONDS = 60  # after this long a program counts as healthy, and its backoff is reset
LOOPBACK = "127.0.0.1,localhost"


class StartFailed(Exception):
    """A part of the product did not start. The message is for the person at the terminal."""


class Interrupted(Exception):
    """A signal asked us to end."""


@dataclass(slots=True)
class Program:
    """A long-running program of the product: its command and its state."""

    name: str
    command: list[str]
    child: Child | None = None
    started_at: float = 0.0
    failures: int = 0
    restart_at: float = 0.0


@dataclass
class Supervisor:
    """Runs the product in the foreground; `once` ends it after the demonstration."""

    home: Path
    port: int
    once: bool = False
    environment: dict[str, str] = field(default_factory=dict)
    servers: dict[Callable[[Path], Server], Server] = field(default_factory=dict)
    programs: list[Program] = field(default_factory=list)
    signals: int = 0

    def run(self) -> int:
        """Start, demonstrate, serve. Returns the exit code: 0 after Ctrl-C, 130 if `once` was interrupted."""
        for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(name, self._note_signal)
        started = time.monotonic()
        try:
            with self._exclusive():
                try:
                    facts = self._start()
                    self._print_step(f"ready after {time.monotonic() - started:.1f} s")
                    code = self._demonstrate(facts)
                    self._print_addresses(facts)
                    if self.once:
                        return code
                    self._serve()
                finally:
                    self._stop()
        except Interrupted:
            return 130 if self.once else 0
        except (StartFailed, EmbeddedServerFailed, MissingTool) as error:
            print(f"\nPurser could not start: {error}", file=sys.stderr, flush=True)
            return 1
        except OSError as error:
            print(f"\nPurser could not start: {self.home}: {error}", file=sys.stderr, flush=True)
            return 1
        return 0

    # ---------------------------------------------------------------- start

    def _start(self) -> DemoFacts:
        self._check_port()
        (self.home / "demo.json").unlink(missing_ok=True)
        self._start_servers()
        facts = DemoFacts(
            base_url=f"http://127.0.0.1:{self.port}",
            sandbox_url=f"http://127.0.0.1:{self._sandbox_port()}",
            secrets=kept_secrets(self.home),
        )
        self._print_step("bringing the database up to date, importing list prices, loading the demo tenants")
        self._manage("prepare", "--static", "--demo", str(ROOT / "demo" / "demo.yaml"), facts=facts)
        self._print_step(f"starting the sandbox provider on {facts.sandbox_url}")
        sandbox_port = facts.sandbox_url.rpartition(":")[2]
        sandbox = self._start_program("sandbox", "-m", "llm.sandbox", "--port", sandbox_port)
        self._print_step(f"starting the web server on {facts.base_url}, the workers and beat")
        web_program = self._start_web()
        ready_file = self.home / "worker.ready"
        ready_file.unlink(missing_ok=True)
        workers = self._start_program("workers", "-m", "config.running.workers", "--beat")
        self._wait_until(sandbox, lambda: _answers(f"{facts.sandbox_url}/control/calls"))
        self._wait_until(web_program, lambda: _answers(f"{facts.base_url}/readyz"))
        self._wait_until(workers, ready_file.exists)
        publish(facts, self.home)
        return facts

    def _start_servers(self) -> None:
        self.environment |= {
            "PURSER_HOME": str(self.home),
            "PORT": str(self.port),
            "PYTHONUNBUFFERED": "1",
            # the demonstration's webhook goes to the sandbox, on this machine
            "WEBHOOKS_MAY_BE_PRIVATE": os.environ.get("WEBHOOKS_MAY_BE_PRIVATE") or "1",
            "BATCH_POLL_SECONDS": os.environ.get("BATCH_POLL_SECONDS") or "2",
            **web.clean_metrics(self.home / "metrics"),
            **{name: _with_loopback(os.environ.get(name, "")) for name in ("NO_PROXY", "no_proxy")},
        }
        if not os.environ.get("DATABASE_URL") and not os.environ.get("DATABASE_URL_FILE"):
            self._start_server("PostgreSQL 18 with pgvector", embedded.start_postgres, "DATABASE_URL")
        if not os.environ.get("REDIS_URL") and not os.environ.get("REDIS_URL_FILE"):
            self._start_server("Redis", embedded.start_redis, "REDIS_URL")

    def _start_server(self, name: str, start: Callable[[Path], Server], variable: str) -> None:
        self._check_signals()
        self._print_step(f"starting {name}")
        self.servers[start] = start(self.home)
        self.environment[variable] = self.servers[start].url

    def _sandbox_port(self) -> int:
        """The sandbox's last port, if it is free: then the providers in the database need no change."""
        file = self.home / "sandbox.port"
        port = embedded.free_port(int(file.read_text()) if file.exists() else 0)
        file.write_text(str(port))
        return port

    def _start_web(self) -> Program:
        command = web.granian(
            host=os.environ.get("HOST") or "127.0.0.1",
            port=self.port,
            workers=web.default_workers(),
            static_root=self.home / "static",
        )
        return self._start_program("web", *command[1:])

    def _manage(self, *arguments: str, facts: DemoFacts) -> None:
        """Run one of our commands to its end. Its output goes to its log."""
        name = arguments[0]
        log = self.home / "logs" / f"{name}.log"
        log.unlink(missing_ok=True)
        command = [sys.executable, "manage.py", *arguments]
        child = self._spawn(name, command, log=log, environment=facts.environment)
        try:
            while child.is_running:
                self._pause()
        finally:
            child.end(within_seconds=0)
        if child.process.returncode != 0:
            raise StartFailed(f"`manage.py {name}` failed. Its log ({log}) ends:\n{child.log_end()}")

    # ---------------------------------------------------------------- demonstrate and serve

    def _demonstrate(self, facts: DemoFacts) -> int:
        self._print_step("driving the main job once, through the OpenAI and Anthropic SDKs")
        process = subprocess.Popen(
            [sys.executable, "manage.py", "demo", "--facts", str(self.home / "demo.json")],
            cwd=ROOT,
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            while process.poll() is None:
                self._restart_all_dead()
                self._pause()
        finally:
            end_group(process.pid)
            process.wait()
        if process.returncode != 0:
            self._print_step(f"the demonstration FAILED; the logs are in {self.home / 'logs'}")
        return process.returncode

    def _print_addresses(self, facts: DemoFacts) -> None:
        """Print the addresses and logins."""
        shown = json.loads(facts.as_json())
        print(
            f"\n  API    {shown['base_url']}/v1   key {shown['api_key']}"
            f"\n  Docs   {shown['base_url']}/docs"
            f"\n  Admin  {shown['admin_url']}   {shown['admin_username']} / {shown['admin_password']}"
            f"\n  Logs   {self.home / 'logs'}\n",
            flush=True,
        )

    def _serve(self) -> None:
        self._print_step("serving; Ctrl-C stops everything")
        while True:
            self._restart_all_dead()
            self._pause(0.2)

    def _restart_all_dead(self) -> None:
        for start, server in self.servers.items():
            if server.process.poll() is not None:
                self._print_step(f"{server.name} ended by itself; starting it again")
                self.servers[start] = start(self.home)
                if self.servers[start].url != server.url:
                    raise StartFailed(f"{server.name} came back, but its port had been taken meanwhile.")
        for program in self.programs:
            self._restart_if_dead(program)

    def _restart_if_dead(self, program: Program) -> None:
        """Start a dead program again, with backoff."""
        now = time.monotonic()
        if program.child is not None and not program.child.is_running:
            program.failures = 1 if now - program.started_at > STEADY_SECONDS else program.failures + 1
            delay = min(2 ** (program.failures - 1), LONGEST_BACKOFF_SECONDS)
            program.child.end(within_seconds=0)
            self._print_step(
                f"{program.name} ended by itself; starting it again in {delay} s (log: {program.child.log})"
            )
            program.child, program.restart_at = None, now + delay
        if program.child is None and now >= program.restart_at:
            self._launch(program)

    # ---------------------------------------------------------------- stop

    def _stop(self) -> None:
        """End the programs, callers first, then the servers that they use."""
        asked_before = self.signals
        if self.programs or self.servers:
            self._print_step("stopping")
        (self.home / "worker.ready").unlink(missing_ok=True)
        callers = [program for program in self.programs if program.name != "sandbox"]
        for group in (callers, [program for program in self.programs if program.name == "sandbox"]):
            children = [program.child for program in group if program.child is not None]
            for child in children:
                child.ask_to_stop()
            deadline = time.monotonic() + GRACE_SECONDS
            while any(child.is_running for child in children) and time.monotonic() < deadline:
                if self.signals > asked_before:  # a second Ctrl-C: do not wait
                    break
                time.sleep(POLL_SECONDS)
            for child in children:
                child.end(within_seconds=0)
        for server in reversed(self.servers.values()):
            server.stop()

    # ---------------------------------------------------------------- processes, waits, words

    def _start_program(self, name: str, *arguments: str) -> Program:
        self._check_signals()
        program = Program(name, [sys.executable, *arguments])
        self.programs.append(program)
        self._launch(program)
        return program

    def _launch(self, program: Program) -> None:
        program.started_at = time.monotonic()
        log = self.home / "logs" / f"{program.name}.log"
        program.child = self._spawn(program.name, program.command, log=log)

    def _spawn(
        self, name: str, command: list[str], *, log: Path, environment: dict[str, str] | None = None
    ) -> Child:
        everything = {**os.environ, **self.environment, **(environment or {})}
        return Child(name, spawn(command, log=log, folder=ROOT, environment=everything), log)

    def _wait_until(self, program: Program, is_ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        child = program.child
        assert child is not None
        while True:
            died = not child.is_running
            if died or time.monotonic() > deadline:
                what = "ended" if died else f"was not ready within {START_TIMEOUT_SECONDS} s"
                raise StartFailed(f"{program.name} {what}. Its log ({child.log}) ends:\n{child.log_end()}")
            if is_ready():
                return
            self._pause(0.1)

    def _pause(self, seconds: float = POLL_SECONDS) -> None:
        time.sleep(seconds)
        self._check_signals()

    def _check_signals(self) -> None:
        if self.signals:
            raise Interrupted

    def _note_signal(self, number: int, frame: object) -> None:
        self.signals += 1

    def _check_port(self) -> None:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((os.environ.get("HOST") or "127.0.0.1", self.port))
            except OSError as error:
                message = f"port {self.port} is taken ({error.strerror}). Choose another: make run PORT=8001"
                raise StartFailed(message) from None

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Hold the state folder's lock. It ends with this process, in any way."""
        (self.home / "logs").mkdir(parents=True, exist_ok=True)
        with (self.home / "run.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                message = f"another copy runs in {self.home}. Give this one its own PORT and PURSER_HOME."
                raise StartFailed(message) from None
            yield

    def _print_step(self, what: str) -> None:
        with suppress(OSError):  # the terminal may be gone
            print(f"==> {what}", flush=True)


def _answers(url: str) -> bool:
    """Whether the address, on this machine, answers with a 200."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=3) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def _with_loopback(no_proxy: str) -> str:
    """The proxy exceptions with our own addresses."""
    return ",".join(part for part in (no_proxy, LOOPBACK) if part)
