"""Every behaviour of other servers, in every way that a client can ask for it: what the client hears, over real HTTP.

`tests/conformance` asks the whole product for a part of them, with its ledger and receipts; this asks for all of them what
only reads and translates.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

import aiohttp
import pytest

from llm.sandbox.behaviours import behaviours
from tests.conformance.catalogue import KINDS, PATHS, Case, Outcome, cases_of

AT_ONCE = 16


@pytest.mark.parametrize("protocol", ["chat", "messages", "responses"])
async def test_it_works(gateway: str, http: Any, protocol: str) -> None:
    cases = [
        case
        for case in cases_of(behaviours().values(), is_short=False)
        if case.behaviour.protocol == protocol
    ]
    outcomes = await _ask_all(cases, gateway, http)
    assert [problem for outcome in outcomes for problem in _problems(outcome)] == []


async def _ask_all(cases: Iterable[Case], url: str, http: aiohttp.ClientSession) -> list[Outcome]:
    room = asyncio.Semaphore(AT_ONCE)

    async def ask(case: Case) -> Outcome:
        body = case.body() | {"model": f"{KINDS[case.behaviour.protocol]}/behaviour:{case.behaviour.name}"}
        async with room, http.post(url + PATHS[case.endpoint], json=body) as answer:
            return Outcome(case, answer.status, await answer.read())

    return list(await asyncio.gather(*map(ask, cases)))


def _problems(outcome: Outcome) -> list[str]:
    return [f"{outcome.case.name}: {problem}" for problem in outcome.problems_of_the_answer()]
