"""Asks for every behaviour in the sandbox's catalogue through every endpoint that can reach it, and keeps what came of it.

Invariant: each case has a user of its own, by which the sandbox's calls and our books are told apart; those that may fail
have an account of their own, so that no breaker rests another's.
"""

import asyncio
import contextlib
import json
import secrets
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import aiohttp

from llm.sandbox.behaviours import PATHS, PREFIX, Behaviour
from tests.books import Books
from tests.conformance.heard import Heard, heard
from tests.world import Member

# by which of our endpoints a provider's protocol can be reached
REACHED_BY = {
    "chat": ("chat", "messages"),
    "messages": ("messages", "chat", "responses"),
    "responses": ("responses",),
}
KINDS = {"chat": "openai", "messages": "anthropic", "responses": "openai"}
PRICES = {
    "input": "1",
    "cache_read": "0.1",
    "cache_write": "1.25",
    "cache_write_5m": "1.25",
    "cache_write_1h": "2",
    "output": "10",
    "input_audio": "4",
    "output_audio": "20",
    "web_search": "10000",
}
TOOLS = ("get_weather", "read_file")
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "path": {"type": "string"}}}
AT_ONCE = 8
SHARED_MODELS = 4
SECONDS = 60.0


@dataclass(frozen=True)
class Case:
    """A behaviour asked for through one endpoint."""

    behaviour: Behaviour
    endpoint: str
    is_stream: bool
    run: str

    @property
    def name(self) -> str:
        kind = "stream" if self.is_stream else "whole"
        return f"{self.behaviour.name}-{self.endpoint}-{kind}"

    @property
    def user(self) -> str:
        return f"{self.name}-{self.run}"

    @property
    def is_translated(self) -> bool:
        return self.endpoint != self.behaviour.protocol

    @property
    def may_fail(self) -> bool:
        return bool(self.behaviour.error or self.behaviour.breaks)

    @property
    def model(self) -> str:
        """A model of its own where a breaker may open; else one of a few, and the prompt says what to answer."""
        if self.may_fail:
            return f"other-{self.name}-{self.run}"
        return f"other-{KINDS[self.behaviour.protocol]}-{len(self.name) % SHARED_MODELS}-{self.run}"

    @property
    def upstream(self) -> str:
        if self.may_fail:
            return PREFIX + self.behaviour.name
        return "claude-haiku-4-5" if KINDS[self.behaviour.protocol] == "anthropic" else "some-model"

    @property
    def expected(self) -> dict[str, Any]:
        return self.behaviour.expected(is_stream=self.is_stream)

    def body(self) -> dict[str, Any]:
        """The call, in the endpoint's protocol."""
        question = f"Is this {self.user}, {PREFIX}{self.behaviour.name}?"
        limit = self.behaviour.request.get("max_tokens", 1000)
        body: dict[str, Any] = {"model": self.model, "stream": self.is_stream}
        if self.endpoint == "responses":
            body |= {"input": question, "max_output_tokens": limit, "user": self.user}
        else:
            body |= {"messages": [{"role": "user", "content": question}], "max_tokens": limit}
            body |= {"user": self.user} if self.endpoint == "chat" else {"metadata": {"user_id": self.user}}
        if self.behaviour.tools:
            body["tools"] = [_tool(self.endpoint, name) for name in TOOLS]
        return body


@dataclass
class Outcome:
    """What came of a case: the first answer, the second one's, and what both books say of the first."""

    case: Case
    status: int = 0
    content: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    again: tuple[int, bytes, str] | None = None
    receipt: dict[str, Any] = field(default_factory=dict)
    calls: list[dict[str, Any]] = field(default_factory=list)
    rows: list[Any] = field(default_factory=list)
    meters: list[dict[str, int]] = field(default_factory=list)
    attempts: list[Any] = field(default_factory=list)

    def problems(self) -> list[str]:
        """What is not as the behaviour's file says, a sentence each; none if all is right."""
        found = [
            *self.problems_of_the_answer(),
            *self._of_the_second(),
            *self._of_the_ledger(),
            *self._of_the_receipt(),
        ]
        return [f"{self.case.name}: {problem}" for problem in found]

    def _heard(self, content: bytes) -> Heard:
        case = self.case
        return heard(case.endpoint, content, is_stream=case.is_stream, strictly=case.is_translated)

    def problems_of_the_answer(self) -> Iterable[str]:
        wanted = self.case.expected
        if wanted["error"]:
            if self.status in wanted["error"]:
                error = json.loads(self.content).get("error")
                if not isinstance(error, dict) or not error.get("message"):
                    yield f"an error without words: {self.content[:300]!r}"
            else:
                yield f"answered {self.status}, not one of {wanted['error']}: {self.content[:300]!r}"
            return
        if self.status != 200:
            yield f"answered {self.status}: {self.content[:300]!r}"
            return
        try:
            answer = self._heard(self.content)
        except (AssertionError, ValueError, KeyError, IndexError, TypeError) as error:
            yield f"not an answer of this protocol: {error!r:.300} in {self.content[-600:]!r}"
            return
        if wanted["answer"] is not None and answer.text != wanted["answer"]:
            yield f"the text is {answer.text[:200]!r}, not {wanted['answer']!r}"
        if wanted["thinking"] and answer.thinking != wanted["thinking"] and self._can_think():
            yield f"the thinking is {answer.thinking!r}, not {wanted['thinking']!r}"
        tools = [(tool["name"], tool["input"]) for tool in wanted["tools"]]
        in_any_order = sorted(answer.tools, key=repr) == sorted(tools, key=repr)
        if not in_any_order and not (wanted["answer"] is None and not tools):
            yield f"the tools are {answer.tools}, not {tools}"
        if (
            tools
            and self.case.endpoint == "messages"
            and self.case.is_translated
            and answer.finish != "tool_use"
        ):
            yield f"tools are called, and the reason is {answer.finish!r}"
        if wanted["breaks"] and not answer.error:
            yield f"nobody hears of the error: {self.content[-300:]!r}"
        if not wanted["breaks"] and answer.error:
            yield f"ends with an error: {answer.error!r:.300}"
        if self.case.is_translated and not wanted["breaks"] and not answer.has_ended:
            yield f"has no end: {self.content[-300:]!r}"

    def _can_think(self) -> bool:
        """Whether the answer's protocol has a place for the provider's thinking."""
        return not self.case.is_translated or self.case.endpoint == "messages"

    def _of_the_second(self) -> Iterable[str]:
        if self.again is None or self.again[2] != "exact" or self.status != 200:
            return
        try:
            first, second = self._heard(self.content), self._heard(self.again[1])
        except (AssertionError, ValueError, KeyError, IndexError, TypeError) as error:
            yield f"the second client does not get an answer of this protocol: {error!r:.300}"
            return
        if second.same() != first.same():
            yield f"the second client gets {second.same()!r:.300}, the first got {first.same()!r:.300}"

    def _of_the_ledger(self) -> Iterable[str]:
        wanted = self.case.expected
        if [attempt.state for attempt in self.attempts if attempt.state in ("held", "sent")]:
            yield "an attempt is still open"
        if not wanted["error"] and not wanted["breaks"] and len(self.calls) != 1:
            yield f"the provider was asked {len(self.calls)} times"
        if len(self.rows) > len(self.calls):
            yield f"{len(self.rows)} rows for {len(self.calls)} calls"
        invoice = sum((cost_usd(call["billed"]) for call in self.calls), Decimal(0))
        booked = sum((row.billed_cost for row in self.rows), Decimal(0))
        told = f"{self.meters} as {[(row.usage_source, row.price_status, row.reason) for row in self.rows]}"
        if booked < invoice:
            yield f"the provider billed {invoice} USD, we booked {booked}: {told}"
        is_marked = all(
            row.usage_source != "provider" or row.price_status != "priced" or row.reason for row in self.rows
        )
        if wanted["ledger"] == "unread" and self.rows and not is_marked:
            yield f"nobody is told that it was not plainly read: {told}"
        if wanted["ledger"] == "unread" and not self.rows:
            yield "nothing is booked"
        if wanted["ledger"] == "exact" and self.meters != [call["billed"] for call in self.calls]:
            yield f"the provider billed {[call['billed'] for call in self.calls]}, we booked {told}"
        if (
            wanted["ledger"] == "exact"
            and self.rows
            and any(row.price_status != "priced" for row in self.rows)
        ):
            yield f"what is plain is not priced: {told}"
        if wanted["ledger"] == "bound" and booked > invoice and not is_marked:
            yield f"more than was billed, and nobody is told: {told}"
        if wanted["ledger"] == "bound" and self.rows:
            most = max(3 * invoice, sum((attempt.hold_usd for attempt in self.attempts), Decimal(0)))
            if booked > most:
                yield f"the provider billed {invoice} USD, we booked {booked}, more than was held: {told}"

    def _of_the_receipt(self) -> Iterable[str]:
        if self.status != 200:
            return
        booked = sum((row.billed_cost for row in self.rows), Decimal(0))
        told = (self.receipt.get("result") or {}).get("cost_usd")
        if told is None:
            yield "the receipt says no cost"
        elif Decimal(str(told)) != booked:
            yield f"the receipt says {told} USD, the ledger {booked}"


def cost_usd(billed: dict[str, int]) -> Decimal:
    """What the provider charges."""
    return sum(
        (Decimal(PRICES[meter]) * quantity / 1_000_000 for meter, quantity in billed.items()), Decimal(0)
    )


def cases_of(behaviours: Iterable[Behaviour], *, is_short: bool) -> list[Case]:
    """Every behaviour by every endpoint that can reach it, whole and streamed; or by one of these ways, taking turns."""
    run, cases = secrets.token_hex(3), list[Case]()
    for number, behaviour in enumerate(behaviours):
        ways = [
            Case(behaviour, endpoint, is_stream, run)
            for endpoint in REACHED_BY[behaviour.protocol]
            for is_stream in sorted(behaviour.scripts)
        ]
        cases += [ways[number % len(ways)]] if is_short else ways
    return cases


def configuration_of(cases: Iterable[Case], sandbox_url: str) -> dict[str, Any]:
    """The accounts and models that answer so."""
    providers, models = {}, {}
    for case in cases:
        kind = KINDS[case.behaviour.protocol]
        providers[case.model] = {
            "name": case.model,
            "kind": kind,
            "base_url": sandbox_url + ("/v1" if kind == "openai" else ""),
            "api_key": f"sk-{case.model}",
        }
        models[case.model] = {
            "name": case.model,
            "provider": case.model,
            "upstream": case.upstream,
            "context_window": 128000,
            "max_output_tokens": 16384,
            "capabilities": ["tools", "vision", "json_schema"],
            "prices": [{"meter": meter, "usd_per_million": price} for meter, price in PRICES.items()],
        }
    return {"providers": list(providers.values()), "models": list(models.values())}


async def ask_all(cases: Iterable[Case], *, base_url: str, member: Member) -> list[Outcome]:
    """Make every call, some at once; those that should be answered twice."""
    gate = asyncio.Semaphore(AT_ONCE)
    timeout = aiohttp.ClientTimeout(total=SECONDS)
    async with aiohttp.ClientSession(timeout=timeout, read_bufsize=2**20) as session:

        async def ask(case: Case) -> Outcome:
            async with gate:
                return await _ask(session, case, base_url=base_url, key=member.key)

        return list(await asyncio.gather(*(ask(case) for case in cases)))


def fill_in(outcomes: list[Outcome], books: Books, member: Member) -> None:
    """Add what the provider and our books say, once everything has ended."""
    with contextlib.suppress(AssertionError):  # what is still open then is a problem of its case
        books.settled(member.id)
    calls, rows, attempts = defaultdict(list), defaultdict(list), defaultdict(list)
    for call in books.calls():
        calls[call["user"]].append(call)
    for row in books.rows(member.id, kind="usage"):
        rows[str(row.request_id)].append(row)
    for attempt in books.attempts(member.id):
        attempts[str(attempt.request_id)].append(attempt)
    meters = _meters(books, member)
    for outcome in outcomes:
        request_id = outcome.headers.get("x-request-id", "")
        outcome.rows = rows[request_id]
        outcome.attempts = attempts[request_id]
        outcome.calls = calls[outcome.case.user]
        if outcome.again is not None and outcome.again[2] != "exact" and len(outcome.calls) > 1:
            outcome.calls = outcome.calls[: len(outcome.calls) // 2]
        outcome.meters = [meters[row.id] for row in outcome.rows]


def _meters(books: Books, member: Member) -> dict[Any, dict[str, int]]:
    from billing.models import UsageLine

    found: dict[Any, dict[str, int]] = defaultdict(dict)
    lines = UsageLine.objects.using(books.database).filter(tenant_id=member.id)
    for record_id, meter, quantity in lines.values_list("record_id", "meter", "quantity"):
        found[record_id][meter] = int(quantity)
    return found


async def _ask(session: aiohttp.ClientSession, case: Case, *, base_url: str, key: str) -> Outcome:
    outcome = Outcome(case)
    url = base_url + PATHS[case.endpoint]
    headers = {"authorization": f"Bearer {key}", "x-purser-cache": "on", "anthropic-version": "2023-06-01"}
    outcome.status, outcome.content, outcome.headers = await _post(session, url, case.body(), headers)
    if outcome.status == 200:
        request_id = outcome.headers["x-request-id"]
        for _ in range(100):
            async with session.get(f"{base_url}/v1/requests/{request_id}", headers=headers) as answer:
                if answer.status == 200:
                    outcome.receipt = await answer.json()
                    break
            await asyncio.sleep(0.05)
        if not case.expected["error"] and not case.expected["breaks"]:
            status, content, told = await _post(session, url, case.body(), headers)
            outcome.again = status, content, told.get("x-purser-cache", "")
    return outcome


async def _post(
    session: aiohttp.ClientSession, url: str, body: dict[str, Any], headers: dict[str, str]
) -> tuple[int, bytes, dict[str, str]]:
    content = bytearray()
    try:
        async with session.post(url, json=body, headers=headers) as answer:
            async for piece in answer.content.iter_any():
                content += piece
            return (
                answer.status,
                bytes(content),
                {name.lower(): value for name, value in answer.headers.items()},
            )
    except aiohttp.ClientError as error:
        return 0, bytes(content) + repr(error).encode(), {}


def _tool(endpoint: str, name: str) -> dict[str, Any]:
    if endpoint == "messages":
        return {"name": name, "input_schema": SCHEMA}
    function = {"name": name, "parameters": SCHEMA}
    return (
        {"type": "function", **function}
        if endpoint == "responses"
        else {"type": "function", "function": function}
    )
