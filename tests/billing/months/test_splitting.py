"""Shared cost is divided to the last digit."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from billing.months.splitting import EVEN, FIXED, PROPORTIONAL, Rule, divide, split

UNIT = Decimal("0.000000000001")
NAMES = st.sampled_from(["", "4711", "4712", "research", "ops"])
AMOUNTS = st.decimals(min_value=-1000, max_value=1_000_000, places=12)
PERCENTS = st.dictionaries(NAMES.filter(bool), st.integers(1, 1000), min_size=1).map(
    lambda parts: {name: Decimal(100 * part) / sum(parts.values()) for name, part in parts.items()}
)


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    method = draw(st.sampled_from([EVEN, PROPORTIONAL, FIXED]))
    shares = (
        draw(PERCENTS) if method == FIXED else draw(st.dictionaries(NAMES.filter(bool), st.just(Decimal(0))))
    )
    return Rule("a rule", method, shares)


def test_it_works() -> None:
    third = divide(Decimal("0.10"), {"a": Decimal(1), "b": Decimal(1), "c": Decimal(1)})
    assert third == {
        "a": Decimal("0.033333333334"),
        "b": Decimal("0.033333333333"),
        "c": Decimal("0.033333333333"),
    }
    made = split(
        [Rule("platform", PROPORTIONAL, {})],
        shared=[{"platform": Decimal(10)}],
        own={"a": Decimal(30), "b": Decimal(10), "": Decimal(5)},
    )
    assert made[0].given == {"a": Decimal("7.5"), "b": Decimal("2.5")}


@given(amount=AMOUNTS, weights=st.dictionaries(NAMES, st.decimals(0, 1000, places=6), min_size=1))
def test_parts_make_the_amount_and_none_is_a_unit_off(amount: Decimal, weights: dict[str, Decimal]) -> None:
    if not any(weights.values()):
        return
    parts = divide(amount, weights)
    assert sum(parts.values()) == amount
    for name, part in parts.items():
        assert abs(part - amount * weights[name] / sum(weights.values())) <= UNIT


@given(data=st.data(), own=st.dictionaries(NAMES, AMOUNTS), which=st.lists(rules(), max_size=6))
def test_what_is_taken_is_given(data: st.DataObject, own: dict[str, Decimal], which: list[Rule]) -> None:
    shared = [data.draw(st.dictionaries(NAMES, AMOUNTS)) for _ in which]
    for one in split(which, shared=shared, own=own):
        assert sum(one.given.values()) == sum(one.taken.values())
        assert "" not in one.given
    given_by = {id(one.rule): one for one in split(which, shared=shared, own=own)}
    for rule, taken in zip(which, shared, strict=True):
        has_takers = bool(rule.shares) or any(own_name for own_name in own)
        assert (id(rule) in given_by) == (bool(taken) and has_takers)


def test_a_rule_without_takers_takes_nothing() -> None:
    assert split([Rule("nobody", EVEN, {})], shared=[{"": Decimal(1)}], own={"": Decimal(2)}) == []


def test_credits_are_divided_too() -> None:
    parts = divide(Decimal("-0.000000000001"), {"a": Decimal(1), "b": Decimal(1)})
    assert sum(parts.values()) == -UNIT
    assert set(parts.values()) <= {-UNIT, Decimal(0)}


def test_in_proportion_to_nothing_is_even() -> None:
    rule = Rule("fee", PROPORTIONAL, {"a": Decimal(0), "b": Decimal(0)})
    (made,) = split([rule], shared=[{"": Decimal(3)}], own={"a": Decimal(-5)})
    assert made.given == {"a": Decimal("1.5"), "b": Decimal("1.5")}
