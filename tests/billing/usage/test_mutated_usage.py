"""Every usage block that the suite knows, changed in every way that a provider may change it.

Invariant: no change leaves the cost both changed and silent, but those that make another block which the provider could
have sent just so.
"""

import copy
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from billing.errors import UnpricedMeter
from billing.prices.book import Price, rates_of
from billing.prices.rating import rate, rate_bound
from billing.usage.certainty import Certainty, KnownFacts, Used, used
from llm.sandbox.behaviours import PATHS, behaviours
from llm.sandbox.usage import Usage
from llm.wire import WIRE_FORMATS

VECTORS = json.loads(
    (Path(__file__).parent.parent / "vectors" / "data" / "cost_vectors_public.json").read_text()
)
APIS = {"chat": "openai.chat", "messages": "anthropic.messages", "responses": "openai.responses"}
USD = {
    "input": "1", "cache_read": "0.1", "cache_write": "1.25", "cache_write_12h": "2.5", "cache_write_5m": "1.25",
    "cache_write_1h": "2", "output": "10", "input_audio": "5", "cache_read_audio": "2", "output_audio": "40",
    "web_search": "10000",
}  # fmt: skip
RATES = rates_of([Price(meter, Decimal(usd)) for meter, usd in USD.items()], provider="p", model="m")
HOLD = Decimal("0.5")


def recorded() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(name, api, block): the vectors', the sandbox's own, and those of its catalogue that are plain."""
    for vector in VECTORS["provider_vectors"]:
        if vector.get("usage") and "error" not in vector["expected"]:
            yield vector["id"], vector["api"], vector["usage"]
    known = Usage(input=500, cache_read=400, cache_write_5m=300, cache_write_1h=200, output=100, reasoning=40)
    yield "sandbox-chat", "openai.chat", known.chat()
    yield "sandbox-responses", "openai.responses", known.responses()
    yield "sandbox-messages", "anthropic.messages", known.messages()
    wires = {wire.api: wire for wire in WIRE_FORMATS.values()}
    for behaviour in behaviours().values():
        script = behaviour.scripts.get(False)
        if script is None or behaviour.ledger != "exact" or script.status != 200:
            continue
        try:
            reply = orjson.loads(script.rendered(input_tokens=1000, upstream_id="x", model="m"))
            usage = wires[APIS[behaviour.protocol]].usage(reply)
        except (orjson.JSONDecodeError, AttributeError):
            continue
        if usage:
            yield behaviour.name, APIS[behaviour.protocol], usage


def leaves(block: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = block.items() if isinstance(block, dict) else enumerate(block) if isinstance(block, list) else ()
    for name, value in items:
        if isinstance(value, dict | list):
            yield from leaves(value, (*path, name))
        else:
            yield (*path, name)


def put(block: dict[str, Any], path: tuple[Any, ...], value: Any, *, name: str = "") -> dict[str, Any]:
    """A copy with another value at a path, or under another name."""
    changed = copy.deepcopy(block)
    level = changed
    for step in path[:-1]:
        level = level[step]
    if name:
        del level[path[-1]]
    level[name or path[-1]] = value
    return changed


def booked(api: str, usage: dict[str, Any]) -> tuple[Used, Decimal]:
    evidence = KnownFacts(200, 40, 5_000_000, 10_000_000)
    what = used(api, usage, context={"model": "m"}, evidence=evidence)
    if what.certainty is Certainty.UNREAD:
        return what, rate_bound(what.meters, RATES, least_usd=HOLD, unread_tokens=what.unread_tokens).cost_usd
    try:
        return what, rate(what.meters, RATES).cost_usd
    except UnpricedMeter:
        return what, rate_bound(what.meters, RATES, least_usd=HOLD).cost_usd


BLOCKS = list(recorded())


def test_there_is_enough_to_change() -> None:
    assert len(BLOCKS) > 60
    assert set(PATHS) == set(APIS)


@pytest.mark.parametrize(("name", "api", "block"), BLOCKS, ids=[name for name, _, _ in BLOCKS])
def test_it_works(name: str, api: str, block: dict[str, Any]) -> None:
    before, cost = booked(api, block)
    if before.certainty is not Certainty.EXACT:
        return

    def check(changed: dict[str, Any], what: str) -> None:
        after, changed_cost = booked(api, changed)
        is_silent = after.certainty is Certainty.EXACT
        assert not is_silent or changed_cost == cost, f"{what}: {cost} became {changed_cost}"

    def get(path: tuple[Any, ...]) -> Any:
        value: Any = block
        for step in path:
            value = value[step]
        return value

    # something new, at every level
    for new in (
        {"new_tokens": 7},
        {"new": {"deep": {"tokens": 7}}},
        {"surcharge": 0.1},
        {"mode": "turbo"},
        {"list": [3]},
    ):
        after, _ = booked(api, block | new)
        assert after.certainty is Certainty.UNREAD, new
    for nothing in ({"new_tokens": 0}, {"new": {}}, {"new": {"deep": None}}, {"mode": ""}, {"list": []}):
        assert booked(api, block | nothing)[0].certainty is Certainty.EXACT, nothing
    for path in leaves(block):
        value = get(path)
        if isinstance(value, bool) or not isinstance(value, int) or not value:
            continue
        at = ".".join(map(str, path))
        # the same figure in other clothes costs the same
        for same in (str(value), float(value), f"{value}.0"):
            after, changed_cost = booked(api, put(block, path, same))
            assert (after.certainty, changed_cost) == (Certainty.EXACT, cost), f"{at} as {same!r}"
        # a name that nobody knows
        check(put(block, path, value, name="renamed_tokens"), f"{at} renamed")
        assert booked(api, put(block, path, value, name="renamed_tokens"))[1] >= cost, f"{at} renamed"
        # split into two that nobody knows
        check(put(block, path, {"one": value // 2, "other": value - value // 2}), f"{at} split")
        # what can be no count
        for odd in (-value, value + 0.5, "many", True, [value], 10**19, float("inf")):
            check(put(block, path, odd), f"{at} as {odd!r}")
        # nothing: of a total, somebody else tells or counts it; a part that is not told is a block of its own right
        if len(path) == 1 and path[0] in (
            "prompt_tokens",
            "completion_tokens",
            "input_tokens",
            "output_tokens",
        ):
            has_other_input = (
                api.startswith("anthropic")
                and path[0] == "input_tokens"
                and before.meters.keys() - {"input", "output"}
            )
            for nothing_told in (0, None, "", {}):
                if not has_other_input:
                    check(put(block, path, nothing_told), f"{at} as {nothing_told!r}")


@pytest.mark.parametrize("kind", ["compaction_of_a_new_kind", "message_v2", ""])
def test_a_new_iteration(kind: str) -> None:
    block = Usage(input=500, output=100).messages()
    iterations = [{"type": "message", "input_tokens": 500, "output_tokens": 100}]
    assert booked("anthropic.messages", block | {"iterations": iterations})[0].certainty is Certainty.EXACT
    iterations.append({"type": kind or None, "input_tokens": 50, "output_tokens": 10})
    assert booked("anthropic.messages", block | {"iterations": iterations})[0].certainty is Certainty.UNREAD


def test_a_fallback_is_billed_at_its_own_model_whichever_totals_are_told() -> None:
    first = {"type": "message", "input_tokens": 500, "output_tokens": 2}
    second = {
        "type": "fallback_message",
        "model": "other-20261101",
        "input_tokens": 510,
        "output_tokens": 100,
    }
    for totals in ((510, 100), (1010, 102), (500, 2)):
        block = {"input_tokens": totals[0], "output_tokens": totals[1], "iterations": [first, second]}
        what = used(
            "anthropic.messages", block, context={"model": "m"}, evidence=KnownFacts(10, 40, 500, 10_000)
        )
        assert what.certainty is Certainty.EXACT
        assert what.meters == {
            "input": 500, "output": 2, "input@other-20261101": 510, "output@other-20261101": 100
        }  # fmt: skip
