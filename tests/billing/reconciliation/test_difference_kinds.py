"""Each kind of difference by its figures alone, and the edges of the tolerance."""

from datetime import date, timedelta
from decimal import Decimal

import pytest

from billing.reconciliation.difference_kinds import name_differences, tolerance_usd, within_tolerance
from billing.reconciliation.line_items import LineItem, ModelNames, openai_item
from billing.reconciliation.sides import Cell, Evidence, Key, Side, UnreportedCalls

DAY = date(2026, 3, 10)
NOTHING = Evidence()
NEXT = DAY + timedelta(days=1)


def side(usd: str, quantity: int | None = None) -> Side:
    return Side(Decimal(usd), None if quantity is None else Decimal(quantity))


def kinds(
    cells: dict[str | Key, tuple[Side, Side]], evidence: Evidence = NOTHING
) -> dict[str | Key, tuple[str, bool]]:
    """The kind of each cell, ours and theirs given by meter of one day or by whole key."""
    keys: dict[str | Key, Key] = {
        name: (DAY, "gpt", name) if isinstance(name, str) else name for name in cells
    }
    found = name_differences({keys[name]: Cell(*sides) for name, sides in cells.items()}, evidence)
    return {name: (found[key].kind, found[key].is_within_tolerance) for name, key in keys.items()}


def test_it_works() -> None:
    assert kinds({"input": (side("1.5", 1000), side("1.5", 1000))}) == {"input": ("match", True)}


def test_each_kind_with_quantities() -> None:
    booked = side("1", 1000)
    counted = Evidence({(DAY, "gpt"): UnreportedCalls(estimated=1, estimated_usd=Decimal(9))})
    unbooked = Evidence({(DAY, "gpt"): UnreportedCalls(unbooked=2, unbooked_usd=Decimal(9))})
    assert kinds({"input": (booked, side("1.002", 1000))}) == {"input": ("rounding", True)}
    assert kinds({"input": (booked, side("1.2", 1000))}) == {"input": ("price", False)}
    assert kinds({"input": (booked, side("0.8", 800))}) == {"input": ("quantity", False)}
    assert kinds({"input": (booked, side("1.2", 1200))}, counted) == {"input": ("quantity", False)}
    assert kinds({"input": (booked, side("1.2", 1200))}, unbooked) == {"input": ("missing_here", False)}
    assert kinds({"input": (Side(), side("1.2", 1200))}, unbooked) == {"input": ("missing_here", False)}
    assert kinds({"input": (booked, Side())}) == {"input": ("missing_there", False)}
    assert kinds({"input": (booked, side("1.2", 1200))}) == {"input": ("bypass", False)}
    assert kinds({"input": (Side(), side("1.2", 1200))}) == {"input": ("bypass", False)}


def test_what_holds_cannot_have_cost_is_a_bypass() -> None:
    few = Evidence({(DAY, "gpt"): UnreportedCalls(unbooked=1, unbooked_usd=Decimal("0.1"))})
    assert kinds({"input": (side("1", 1000), side("1.2", 1200))}, few) == {"input": ("bypass", False)}


def test_tokens_on_another_meter_are_a_quantity() -> None:
    cells = {
        "input": (side("2", 1000), side("1", 500)),
        "cache_read": (side("0", 0), side("0.25", 500)),
    }
    assert {kind for kind, _ in kinds(cells).values()} == {"quantity"}


def test_amounts_alone_name_a_price_that_is_known() -> None:
    prices = Evidence(prices={("gpt", "input"): frozenset({Decimal("0.001"), Decimal("0.0005")})})
    assert kinds({"input": (side("1", 1000), side("0.5"))}, prices) == {"input": ("price", False)}
    assert kinds({"input": (side("1", 1000), side("1.005"))}) == {"input": ("rounding", True)}
    assert kinds({"input": (side("1", 1000), side("0.9"))}) == {"input": ("price", False)}
    assert kinds({"input": (side("1", 1000), side("1.7"))}) == {"input": ("bypass", False)}


def test_a_day_beside_it_that_nets_to_zero_is_the_boundary() -> None:
    cells = {
        (DAY, "gpt", "input"): (side("1", 1000), side("0.8", 800)),
        (NEXT, "gpt", "input"): (side("3", 3000), side("3.2", 3200)),
    }
    assert set(kinds(cells).values()) == {("boundary", True)}


def test_calls_over_two_midnights_are_the_boundary() -> None:
    days = [DAY + timedelta(days=n) for n in range(3)]
    figures = [
        (side("1", 1000), side("0.8", 800)),
        (side("1", 1000), side("0.9", 900)),
        (side("1", 1000), side("1.3", 1300)),
    ]
    cells = {(day, "gpt", "input"): pair for day, pair in zip(days, figures, strict=True)}
    assert kinds(cells)[days[1], "gpt", "input"] == ("boundary", True)


def test_what_crossed_midnight_by_our_clock_is_the_boundary_without_the_next_report() -> None:
    crossed = Evidence(crossings={(DAY, "gpt", "input"): side("-0.2", -200)})
    assert kinds({"input": (side("1", 1000), side("0.8", 800))}, crossed) == {"input": ("boundary", True)}
    assert kinds({"input": (side("1", 1000), side("0.7", 700))}, crossed) == {"input": ("quantity", False)}


def test_what_left_a_day_and_came_nowhere_is_no_boundary() -> None:
    crossings = {(DAY, "gpt", "input"): side("-1", -1000), (NEXT, "gpt", "input"): side("1", 1000)}
    lost = Evidence(crossings=crossings, days=frozenset({DAY, NEXT}))
    cells = {
        (DAY, "gpt", "input"): (side("1", 1000), Side()),
        (NEXT, "gpt", "input"): (side("3", 3000), side("3", 3000)),
    }
    assert kinds(cells, lost)[DAY, "gpt", "input"] == ("missing_there", False)
    cells[NEXT, "gpt", "input"] = side("3", 3000), side("6.1", 6100)
    assert kinds(cells, lost)[DAY, "gpt", "input"] == ("boundary", True)
    assert kinds(cells, lost)[NEXT, "gpt", "input"] == ("bypass", False)


def test_a_near_miss_is_no_boundary() -> None:
    cells = {
        (DAY, "gpt", "input"): (side("1", 1000), side("0.8", 800)),
        (NEXT, "gpt", "input"): (side("3", 3000), side("3.2", 3201)),
    }
    assert "boundary" not in {kind for kind, _ in kinds(cells).values()}


def test_a_bound_that_was_booked_is_a_quantity() -> None:
    cells = {"hold": (side("2", 1), Side()), "input": (Side(), side("1.2", 1200))}
    assert {kind for kind, _ in kinds(cells).values()} == {"quantity"}


@pytest.mark.parametrize(
    ("ours", "theirs", "is_within"),
    [
        ("1.00", "1.01", True),
        ("1.00", "1.010000000001", False),
        ("1.01", "1.00", True),
        ("0", "0.01", True),
        ("0", "0.0100001", False),
        ("999", "1000", True),
        ("998.999999", "1000", False),
        ("1001", "1000", True),
        ("1001.000001", "1000", False),
        ("10.01", "10", True),
    ],
)
def test_the_edges_of_the_tolerance(ours: str, theirs: str, is_within: bool) -> None:
    assert within_tolerance([Cell(side(ours), side(theirs))]) is is_within


def test_the_tolerance_is_of_the_day_and_model() -> None:
    assert tolerance_usd(Decimal("10")) == tolerance_usd(Decimal("3")) == Decimal("0.01")
    assert tolerance_usd(Decimal("20")) == Decimal("0.02")
    cells = {
        "input": (side("1", 1000), side("1.008", 1008)),
        "output": (side("1", 100), side("1.008", 101)),
    }
    assert kinds(cells) == {"input": ("bypass", False), "output": ("bypass", False)}


@pytest.mark.parametrize(
    ("text", "item"),
    [
        ("gpt-4o-mini-2024-07-18, input", LineItem("gpt-4o-mini-2024-07-18", "input")),
        ("gpt-4o-mini batch, cached input", LineItem("gpt-4o-mini", "cache_read", "batch")),
        ("gpt-5 priority, output", LineItem("gpt-5", "output", "priority")),
        ("web search tool calls | gpt-4o", LineItem("", "web_search")),
        ("Image models", LineItem()),
        ("", LineItem()),
    ],
)
def test_line_items_are_read_where_they_say_so(text: str, item: LineItem) -> None:
    assert openai_item(text) == item


def test_models_are_named_as_we_name_them() -> None:
    names = ModelNames({"fast": "gpt-4o-mini", "a": "gpt-4o-2024-08-06", "b": "gpt-4o-2024-08-06"})
    assert names.of_provider("gpt-4o-mini-2024-07-18") == names.of_ours("fast") == "fast"
    assert names.of_provider("gpt-4o-2024-08-06") == names.of_ours("a") == names.of_ours("b") == "gpt-4o"
    assert names.of_provider("o3") == "o3"
    assert names.of_ours("gone") == "gone"
