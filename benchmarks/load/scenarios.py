"""What gateways are measured with: scenarios, and ours among them.

Invariant: a scenario proves by an answer that it is what it says, before it is measured. All bodies are of one length;
where a miss is wanted, none is sent twice.
"""

import json
import random
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.load.counters import Stores
from benchmarks.load.generators import TOKEN, USER, Request
from benchmarks.load.product import GOVERNED_KEY, NAMED_MODEL, PLAIN_KEY, Site
from benchmarks.load.servers import LOCAL

SYSTEM = (
    "You are the support desk of a bank. Be brief and friendly. Answer from the bank's terms of business only, never promise "
    "a date that they do not name, and say which department helps further when you cannot. Do not ask for a password."
)
QUESTION = (
    "How long do transfers to another bank stay pending before the money arrives? My reference number is"
)
PATH = "/v1/chat/completions"
REPEATED = 50  # different questions where hits are wanted


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. Names of headers are in lower case."""

    headers: Mapping[str, str]
    body: dict[str, Any]

    @property
    def receipt(self) -> dict[str, Any]:
        """Our receipt; empty if the gateway is another."""
        return dict(self.body.get("purser") or {})


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row of a table: a load on a gateway. `parts`: the processes whose CPU is counted, `gateway` among them."""

    name: str
    what: str
    request: Request
    parts: Mapping[str, list[int]]
    is_so: Callable[[Answer], bool]
    connections: int = 16
    stores: Stores | None = None


def chat(
    base_url: str,
    *,
    key: str = "",
    model: str = NAMED_MODEL,
    repeated: bool = False,
    user: str | None = f"customer-{USER}",
) -> Request:
    """A chat completion, new each time or repeated."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": f"{QUESTION} {TOKEN}."},
        ],
        "max_tokens": 200,
    }
    if user is not None:
        body["user"] = user
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return Request(
        f"{base_url}{PATH}",
        body,
        headers,
        tokens=REPEATED if repeated else 0,
        users=0 if user is None else 100,
    )


def everything(base_url: str) -> Request:
    """A miss of the tenant with everything on."""
    return chat(base_url, key=GOVERNED_KEY, model="auto")


def hit(base_url: str) -> Request:
    """An exact hit of the same tenant, once each of its questions was asked."""
    return chat(base_url, key=GOVERNED_KEY, model="auto", repeated=True)


def own_scenarios(site: Site, *, raw_url: str, raw_pid: int) -> list[Scenario]:
    """The product, and a relay without one."""
    url, ours = site.base_url, {"parts": site.parts, "stores": site.stores}
    return [
        Scenario(
            "raw", "granian and aiohttp, no product", chat(raw_url), {"gateway": [raw_pid]}, is_completion
        ),
        Scenario("plain", "key and ledger row only", chat(url, key=PLAIN_KEY), is_so=_is_plain, **ours),
        Scenario("everything", "a miss with everything on", everything(url), is_so=is_governed_miss, **ours),
        Scenario("hit", "an exact hit with its ledger row", hit(url), is_so=_is_hit, **ours),
    ]


def check(scenario: Scenario) -> None:
    """Ask once, or twice where a hit is wanted; fails the benchmark if the scenario is not what it says."""
    token = random.randrange(10**14)
    for _ in range(2 if scenario.request.tokens else 1):
        answer = ask(scenario.request, token=token)
    if not (is_completion(answer) and scenario.is_so(answer)):
        raise RuntimeError(f"{scenario.name} is not {scenario.what}: {answer}")


def ask(request: Request, *, token: int) -> Answer:
    """One call."""
    head, _, body = request.filled(token=token, user=0).partition("\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:])
    call = urllib.request.Request(request.url, body.encode(), headers)
    with LOCAL.open(call, timeout=60) as response:
        return Answer({name.lower(): value for name, value in response.headers.items()}, json.load(response))


def is_completion(answer: Answer) -> bool:
    return bool(answer.body["choices"] and answer.body["usage"]["completion_tokens"])


def is_governed_miss(answer: Answer) -> bool:
    receipt = answer.receipt
    return bool(receipt["cache"] == "miss" and receipt["route"]["tier"] and receipt["budget_remaining"])


def _is_plain(answer: Answer) -> bool:
    receipt = answer.receipt
    return receipt["cache"] == "bypass" and not receipt["route"]["tier"] and not receipt["budget_remaining"]


def _is_hit(answer: Answer) -> bool:
    return bool(answer.receipt["cache"] == "exact" and answer.receipt["budget_remaining"])
