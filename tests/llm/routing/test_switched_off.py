"""A model that an operator switched off: its fallbacks answer, or it is refused as not available."""

from dataclasses import replace
from typing import Any

import pytest

from llm.catalog.catalog import Catalog
from llm.errors import ModelNotFound, ModelSwitchedOff
from llm.providers.target import Target
from llm.routing.decision import Route
from tenants.errors import ModelNotAllowed
from tests.llm.routing.test_rules import TARGETS, decide, market, target


def offer(off: Target, **facts: Any) -> Any:
    there = market(**facts)
    return replace(there, catalog=Catalog.of({one.model: (one,) for one in TARGETS}, off={off.model: (off,)}))


def asked(*fallbacks: str, **facts: Any) -> Route:
    return decide(model="gone", offer=offer(target("gone", "complex", fallbacks=fallbacks), **facts))


def test_it_works() -> None:
    """The first fallback that is there answers, the others stand behind it, and the decision says why."""
    decision = asked("unknown", "mini", "nano")
    assert (decision.model, [one.model for one in decision.fallbacks]) == ("mini", ["nano"])
    assert decision.reason == "gone is switched off: its fallback"
    assert decision.to_receipt()["steps"][0]["rule"] == "switched off"


def test_without_a_fallback_it_is_not_available_and_not_unknown() -> None:
    with pytest.raises(ModelSwitchedOff) as refusal:
        asked()
    assert (refusal.value.status, refusal.value.code) == (503, "provider_unavailable")
    with pytest.raises(ModelNotFound) as unknown:
        decide(model="never-there")
    assert unknown.value.status == 404


def test_a_fallback_that_cannot_serve_the_call_is_named_with_its_reason() -> None:
    with pytest.raises(ModelSwitchedOff, match="mini: not allowed to this key"):
        asked("mini", is_allowed=lambda model: model == "gone")


def test_a_key_gets_no_other_model_through_one_that_it_may_not_use() -> None:
    with pytest.raises(ModelNotAllowed):
        asked("mini", is_allowed=lambda model: model == "mini")


def test_it_is_off_only_for_those_who_could_call_it() -> None:
    catalog = Catalog.of({}, off={"theirs": (target("theirs", "", owner=1),)})
    with pytest.raises(ModelSwitchedOff):
        catalog.of_tenant(1, own_only=False).find("theirs")
    with pytest.raises(ModelNotFound) as unknown:
        catalog.of_tenant(2, own_only=False).find("theirs")
    assert unknown.value.status == 404


def test_automatic_routing_does_not_see_it() -> None:
    there = offer(target("gone", "simple"))
    assert "gone" not in [one.target.model for one in decide(offer=there).considered]
