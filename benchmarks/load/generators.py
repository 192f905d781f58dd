"""Load generators: wrk, and a small one in Python where wrk is missing or a steady rate is wanted.

Invariant: both send the same bytes. A request is three fixed parts with a token and a user between them, which are as long
in every request; a run is bounded in time; an answer that is no success is counted as an error.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

TOKEN, USER = "@TOKEN_DIGITS@", "@U@"  # as long as what replaces them: 14 and 3 digits
MARK = "FIGURES "
SLACK_SECONDS = 60

SCRIPT = """
local head, middle, tail = %s, %s, %s
local tokens, users, seed = %d, %d, %d
local n = 0
request = function()
  n = n + 1
  local token = tokens > 0 and n %% tokens or seed + n
  return head .. string.format("%%014.0f", token) .. middle .. (users > 0 and string.format("%%03d", n %% users) or "") .. tail
end
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    'FIGURES {"requests": %%d, "seconds": %%f, "errors": %%d, "p50_ms": %%f, "p99_ms": %%f}\\n',
    summary.requests, summary.duration / 1e6, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
"""


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent, over and over. `tokens`: how many different bodies there are; 0: each is new. `users`: 0 for none."""

    url: str
    body: dict[str, Any]
    headers: dict[str, str]
    tokens: int = 0
    users: int = 100

    def parts(self) -> tuple[str, str, str]:
        """The bytes of the HTTP request before the token, between token and user, and after the user."""
        address = urlsplit(self.url)
        body = json.dumps(self.body)
        headers = {
            "host": address.netloc,
            "content-type": "application/json",
            "content-length": str(len(body)),
            **self.headers,
        }
        lines = [f"POST {address.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        head, _, rest = "\r\n".join([*lines, "", body]).partition(TOKEN)
        middle, _, tail = rest.partition(USER)
        assert rest, "a body has a token"
        assert bool(tail) == bool(self.users), "where there are users, one comes after the token"
        return head, middle, tail

    def filled(self, *, token: int, user: int) -> str:
        """The whole HTTP request."""
        head, middle, tail = self.parts()
        return f"{head}{token:014}{middle}{f'{user:03}' if self.users else ''}{tail}"


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of a generator gave."""

    requests: int
    seconds: float
    errors: int
    p50_ms: float
    p99_ms: float

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


def name() -> str:
    """The generator that closed loops are run with here."""
    return "wrk" if shutil.which("wrk") else "benchmarks.load.python_client"


def closed_loop(request: Request, *, connections: int, seconds: float, seed: int) -> Load:
    """Each connection sends its next request when it has the answer to the last."""
    if not shutil.which("wrk"):
        return _python_client(request, connections=connections, seconds=seconds, seed=seed, rate=0)
    with tempfile.TemporaryDirectory(prefix="purser-wrk-") as folder:
        script = Path(folder) / "load.lua"
        script.write_text(script_of(request, seed=seed))
        whole_seconds = max(1, round(seconds))
        options = ["-t1", f"-c{connections}", f"-d{whole_seconds}s", "--timeout", "30s", "-s", str(script)]
        return figures_of(_output(["wrk", *options, request.url], within_seconds=seconds))


def steady_rate(request: Request, *, rate: float, seconds: float, seed: int) -> Load:
    """A request every 1/`rate` seconds, whether the answers have come or not."""
    return _python_client(request, connections=256, seconds=seconds, seed=seed, rate=rate)


def script_of(request: Request, *, seed: int) -> str:
    """The Lua script that makes wrk send the request."""
    parts = tuple(_lua_text(part) for part in request.parts())
    return SCRIPT % (*parts, request.tokens, request.users, seed)


def figures_of(output: str) -> Load:
    """The line of figures in a generator's output."""
    line = next((line for line in output.splitlines() if line.startswith(MARK)), None)
    if line is None:
        raise ValueError(f"the load generator gave no figures:\n{output[-2000:]}")
    return Load(**json.loads(line.removeprefix(MARK)))


def _python_client(request: Request, *, connections: int, seconds: float, seed: int, rate: float) -> Load:
    order = {
        "url": request.url,
        "parts": request.parts(),
        "tokens": request.tokens,
        "users": request.users,
        "connections": connections,
        "seconds": seconds,
        "seed": seed,
        "rate": rate,
    }
    command = [sys.executable, "-m", "benchmarks.load.python_client"]
    return figures_of(_output(command, within_seconds=seconds, order=json.dumps(order)))


def _output(command: list[str], *, within_seconds: float, order: str = "") -> str:
    done = subprocess.run(
        command, input=order, capture_output=True, text=True, timeout=within_seconds + SLACK_SECONDS
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def _lua_text(text: str) -> str:
    """A literal that means the same in Lua: JSON's escapes are Lua's, apart from \\u and \\/."""
    assert text.isascii()
    return json.dumps(text)
