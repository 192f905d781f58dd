"""A whole site of its own to be destroyed: PostgreSQL, Redis, the sandbox and four web workers, and calls of every kind.

Invariant: nothing here touches the servers of other tests; a victim is always one process of this site, by its id; and
whatever dies, the site is whole again before the audit.
"""

import asyncio
import contextlib
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import aiohttp
import redis

from config.running import embedded
from llm.sandbox.behaviours import PREFIX, behaviours
from tests.books import eventually
from tests.stack import ROOT, Process, Stack, answers

WORKERS = 4
CLIENTS = 32
# granian takes a worker that dies sooner after its birth for one that cannot start, and ends
YOUNGEST_VICTIM_SECONDS = 6.0
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
PRICES = {
    "gpt-4o-mini": {"input": "0.15", "cache_read": "0.075", "output": "0.60"},
    "claude-haiku-4-5": {"input": "1", "cache_read": "0.10", "cache_write_5m": "1.25", "output": "5"},
}
BUDGETS = [
    {"scope": "tenant", "unit": "usd", "period": "month", "limit": "1000"},
    {"scope": "feature", "unit": "usd", "period": "day", "limit": "1000"},
    {"scope": "tenant", "unit": "tokens", "period": "day", "limit": "1000000000"},
    {"scope": "key", "unit": "requests", "period": "total", "limit": "1000000000"},
]
PROTOCOLS = {"gpt-4o-mini": "chat", "claude-haiku-4-5": "messages"}
# What other servers answer, where they do answer, and bill the prompt and no more output than was asked for: so what is
# booked without their figures must cover it, too.
BEHAVIOURS = {
    model: [
        behaviour.name
        for behaviour in behaviours().values()
        if behaviour.protocol == protocol
        and behaviour.bills.get("input") == "input"
        and behaviour.bills.keys() <= {"input", "output"}
        and not (behaviour.error or behaviour.breaks or behaviour.request)
    ]
    for model, protocol in PROTOCOLS.items()
}
BEHAVING_SHARE = 0.25
REAP_LATER = """
import datetime, django
django.setup()
from billing.ledger.reaper import reap
print(reap(datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)))
"""


@dataclass
class Site:
    """The product on servers of its own; call from the main thread, to whose life its processes are tied."""

    home: Path
    stack: Stack
    postgres: embedded.Server
    redis: embedded.Server
    key: str
    call_log: Path
    sandbox: Process | None = None
    web: Process | None = None
    workers_of_celery: Process | None = None
    base_url: str = ""
    destroyed: Counter[str] = field(default_factory=Counter)

    def manage(self, *arguments: str) -> str:
        """Run `python ...` with the site's environment to its end; what it printed."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={**os.environ, **self.stack.environment},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout

    def reap(self) -> None:
        """The reaper's run an hour from now."""
        self.manage("-c", REAP_LATER)

    def workers(self) -> list[int]:
        """The process ids of the web workers, the oldest first."""
        assert self.web
        return sorted(_children(self.web.popen.pid), key=lambda pid: -_age_seconds(pid))

    def kill_a_worker(self, chance: random.Random) -> None:
        """SIGKILL one of the workers that have been up for a while, once there is one."""
        old = eventually(
            lambda: [pid for pid in self.workers() if _age_seconds(pid) > YOUNGEST_VICTIM_SECONDS],
            patience_seconds=60,
        )
        os.kill(chance.choice(old), signal.SIGKILL)
        self.destroyed["web worker killed"] += 1

    def start_celery(self) -> None:
        """Celery's workers and beat, as one group of processes."""
        self.workers_of_celery = self.stack.start("workers", "-m", "config.running.workers", "--beat")

    def kill_of_celery(self, chance: random.Random, *, what: str) -> None:
        """SIGKILL one process of Celery: of a pool (`task`), a worker or beat (`worker`), or all (`everything`)."""
        assert self.workers_of_celery
        main = self.workers_of_celery.popen.pid
        if what == "everything":
            self.workers_of_celery.stop(with_signal=signal.SIGKILL)
            self.start_celery()
        else:
            victims = _children(main)
            if what == "task":
                victims = [child for victim in victims for child in _children(victim)]
            with contextlib.suppress(ProcessLookupError):
                os.kill(chance.choice(victims or [main]), signal.SIGKILL)
        self.destroyed[f"Celery: {what} killed"] += 1

    def kill_postgres(self) -> None:
        """SIGKILL PostgreSQL with all its backends, and start it again on what it had committed."""
        self.postgres.process.send_signal(signal.SIGSTOP)  # it starts no other backend while we count them
        backends = _children(self.postgres.process.pid)
        for pid in [*backends, self.postgres.process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.postgres.process.wait()
        eventually(lambda: not any(_is_running(pid) for pid in backends))
        self.postgres = embedded.start_postgres(self.home)
        self.destroyed["PostgreSQL killed"] += 1

    def flush_redis(self) -> None:
        with redis.Redis.from_url(self.redis.url) as client:
            client.flushall()
        self.destroyed["Redis flushed"] += 1

    def kill_redis(self) -> None:
        self.redis.process.kill()
        self.redis.process.wait()
        self.redis = embedded.start_redis(self.home)
        self.destroyed["Redis killed"] += 1

    def open(self) -> None:
        """Start the sandbox and the web workers; the providers keep their address, the call log goes on."""
        self.sandbox = self.stack.start(
            "sandbox",
            *("-m", "llm.sandbox", "--port", self.stack.sandbox_url.rpartition(":")[2]),
            *("--log", str(self.call_log), "--latency-ms", "150", "--tokens-per-second", "120"),
            ready=lambda: answers(f"{self.stack.control_url}/calls"),
        )
        self.web, self.base_url = self.stack.start_web(workers=WORKERS)

    def come_to_rest(self) -> None:
        """Let what is under way end, then end web and sandbox in order, so that the call log is whole."""
        assert self.web
        assert self.sandbox
        if self.workers_of_celery:
            self.workers_of_celery.stop()
        self.web.stop()
        self.sandbox.stop()

    def stop(self) -> None:
        self.stack.stop()
        self.redis.stop()
        self.postgres.stop()


@contextlib.contextmanager
def site(home: Path) -> Iterator[Site]:
    """A site in an empty folder, with its schema and a tenant, not open yet."""
    postgres = embedded.start_postgres(home)
    redis_server = embedded.start_redis(home)
    environment = {
        "PURSER_HOME": str(home),
        "DATABASE_URL": postgres.url,
        "REDIS_URL": redis_server.url,
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "BATCH_POLL_SECONDS": "1",
    }
    key = f"key-of-chaos-{secrets.token_hex(16)}"
    running = Site(home, Stack(home, environment), postgres, redis_server, key, home / "calls.jsonl")
    try:
        running.stack.sandbox_url = f"http://127.0.0.1:{embedded.free_port()}"
        configuration = home / "chaos.json"
        configuration.write_text(json.dumps(_configuration(running.stack.sandbox_url, key)))
        running.manage("manage.py", "migrate", "--verbosity", "0")
        running.manage("manage.py", "apply", str(configuration))
        yield running
    finally:
        running.stop()


@dataclass
class Told:
    """What one client was told: a whole answer has status 200, a broken connection 0; -1: it hung up itself."""

    user: str
    status: int
    request_id: str = ""
    code: str = ""
    is_odd: bool = False  # it asked for the answer of another server, which may be none


class Load:
    """Clients that call without end: plain and streamed, in both protocols, and some who hang up.

    Each call is of a user of its own, by whose name the ledger and the provider's log are compared.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        self.told: list[Told] = []
        self._name = secrets.token_hex(3)
        self._numbers = iter(range(10**9))
        self._is_over = False
        self._chance = random.Random(7)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        self._thread.join()

    def answered(self) -> int:
        return sum(told.status == 200 for told in self.told)

    def wait_for_answers(self, more: int) -> None:
        wanted = self.answered() + more
        eventually(self.answered, until=lambda count: count >= wanted, patience_seconds=60)

    async def _run(self) -> None:
        connector = aiohttp.TCPConnector(limit=0, force_close=True)  # each call may meet another worker
        timeout = aiohttp.ClientTimeout(total=60)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            await asyncio.gather(*(self._client(session) for _ in range(CLIENTS)))

    async def _client(self, session: aiohttp.ClientSession) -> None:
        while not self._is_over:
            told = await self._call(session, f"caller-{self._name}-{next(self._numbers)}")
            self.told.append(told)
            if told.status in (0, 503):
                await asyncio.sleep(0.3)

    async def _call(self, session: aiohttp.ClientSession, user: str) -> Told:
        path, body = self._request(user)
        patience = self._chance.uniform(0, 1) if self._chance.random() < 0.2 else 60.0
        told = Told(user, -1, is_odd=PREFIX in body["messages"][0]["content"])
        headers = {
            "authorization": f"Bearer {self.site.key}",
            "x-purser-cache": "off",
            "x-purser-feature": "chaos",
        }
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                try:
                    async with session.post(
                        f"{self.site.base_url}{path}", json=body, headers=headers
                    ) as reply:
                        told.request_id = reply.headers.get("x-request-id", "")
                        text = await reply.text()
                        told.status = reply.status
                        if reply.status != 200:
                            told.code = str(json.loads(text)["error"].get("code", ""))
                        elif body["stream"] and '"purser"' not in text:
                            told.status = 0
                except (aiohttp.ClientError, OSError):
                    told.status = 0
        return told

    def _request(self, user: str) -> tuple[str, dict]:
        chance = self._chance
        words = chance.choice((10, 30, 30, 200, 400))
        body = {"model": chance.choice(list(PRICES)), "max_tokens": 600, "stream": chance.random() < 0.6}
        question = f"Write {words} words about {user}."
        if chance.random() < BEHAVING_SHARE:
            question += f" {PREFIX}{chance.choice(BEHAVIOURS[body['model']])}"
        body["messages"] = [{"role": "user", "content": question}]
        if chance.random() < 0.3:
            return "/v1/messages", body | {"metadata": {"user_id": user}}
        return "/v1/chat/completions", body | {"user": user}


def _configuration(sandbox_url: str, key: str) -> dict:
    def model(name: str, provider: str) -> dict:
        prices = [{"meter": meter, "usd_per_million": usd} for meter, usd in PRICES[name].items()]
        prices += [
            {"meter": meter, "usd_per_million": str(Decimal(usd) / 2), "processing": "batch"}
            for meter, usd in PRICES[name].items()
        ]
        return {
            "name": name,
            "provider": provider,
            "upstream": name,
            "context_window": 128000,
            "max_output_tokens": 16384,
            "capabilities": ["tools"],
            "prices": prices,
        }

    return {
        "providers": [
            {
                "name": "openai",
                "kind": "openai",
                "base_url": f"{sandbox_url}/v1",
                "api_key": "sk-sandbox-openai",
            },
            {
                "name": "anthropic",
                "kind": "anthropic",
                "base_url": sandbox_url,
                "api_key": "sk-sandbox-anthropic",
            },
        ],
        "models": [model("gpt-4o-mini", "openai"), model("claude-haiku-4-5", "anthropic")],
        "tenants": [
            {
                "slug": "chaos",
                "name": "Chaos",
                "timezone": "Europe/Berlin",
                "policy": {
                    "routing": {"enabled": False},
                    "cache": {"exact": False, "semantic": "off"},
                    "deferred": {"max_age_seconds": 3, "max_jobs": 20},
                },
                "keys": [{"name": "main", "secret": key, "models": ["*"]}],
                "budgets": [{**budget, "mode": "hard"} for budget in BUDGETS],
            }
        ],
    }


def _children(pid: int) -> list[int]:
    """Our own child's children."""
    with contextlib.suppress(OSError):
        tasks = Path(f"/proc/{pid}/task").glob("*/children")
        return [int(child) for task in tasks for child in task.read_text().split()]
    return []


def _is_running(pid: int) -> bool:
    """Not gone, and not a zombie either."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _age_seconds(pid: int) -> float:
    try:
        began = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]) / CLOCK_TICKS
    except OSError:
        return 0.0
    return time.clock_gettime(time.CLOCK_BOOTTIME) - began
