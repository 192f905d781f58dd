"""Every behaviour of other servers, through every endpoint that can reach it: the answer, the ledger and the receipt.

The suite takes one way for each behaviour, `CATALOGUE=all` (`make conformance`) takes them all. A behaviour that is not got
right yet stands in `NOT_YET` with a reason; one that is got right again must be taken out.
"""

import asyncio
import json
import os
from collections import defaultdict
from collections.abc import Callable

import pytest

from llm.sandbox.behaviours import behaviours
from tests.books import Books
from tests.conformance.catalogue import Outcome, ask_all, cases_of, configuration_of, fill_in
from tests.stack import Stack
from tests.world import Member

IS_SHORT = os.environ.get("CATALOGUE") != "all"
_WHY_NOT_YET: dict[str, str] = {}
NOT_YET = {name: why for why, names in _WHY_NOT_YET.items() for name in names.split()}


@pytest.fixture(scope="module")
def problems() -> dict[str, list[str]]:
    return {}


@pytest.fixture
def found(
    problems: dict[str, list[str]], stack: Stack, make_tenant: Callable[..., Member], books: Books
) -> dict[str, list[str]]:
    """What is wrong, by the behaviour's name; all are asked for once."""
    if problems:
        return problems
    problems["asked"] = []  # once, even where it fails
    from llm.configuration import apply_configuration

    member = make_tenant("conformance", policy={"cache": {"exact": True, "semantic": "off"}})
    cases = cases_of(behaviours().values(), is_short=IS_SHORT)
    document = configuration_of(cases, stack.sandbox_url)
    apply_configuration(json.dumps(document), source="catalogue.yaml", environ={}, dry_run=False)
    outcomes: list[Outcome] = asyncio.run(ask_all(cases, base_url=stack.base_url, member=member))
    fill_in(outcomes, books, member)
    by_name = defaultdict(list)
    for outcome in outcomes:
        by_name[outcome.case.behaviour.name] += outcome.problems()
    problems.update(by_name)
    return problems


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.xfail(reason=NOT_YET[name], strict=not IS_SHORT))
        if name in NOT_YET
        else name
        for name in behaviours()
    ],
)
def test_it_is_got_right(found: dict[str, list[str]], name: str) -> None:
    if found[name]:
        pytest.fail("\n".join(found[name]), pytrace=False)
