"""Charts show what they are given: sizes are shares of the axis, every figure can be read, and odd amounts draw nothing odd."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.site import plots
from config.site.plots import Column, Series, Step

DAYS = [Column("01 Nov", "/a"), Column("02 Nov", "/b"), Column("03 Nov")]


def chart(*values: list[Decimal] | list[int], line: Decimal | None = None) -> dict:
    series = [Series(f"s{number}", row, number + 1) for number, row in enumerate(values)]
    return plots.stacked(DAYS, series, title="Spend", line=line, line_name="pace")


def test_it_works() -> None:
    drawn = chart([Decimal(1), Decimal(2), Decimal(0)], [Decimal(3), Decimal(0), Decimal(0)], line=Decimal(2))
    assert [one["text"] for one in drawn["ticks"]] == ["5", "2.5", "0"]
    assert [[part["height"] for part in column["parts"]] for column in drawn["columns"]] == [
        [20.0, 60.0],
        [40.0],
        [],
    ]
    assert drawn["line"] == {"height": 40.0, "text": "pace: 2.00 USD"}
    assert [one["total"] for one in drawn["legend"]] == ["3.00 USD", "3.00 USD"]
    assert drawn["table"]["headers"] == ["Day", "s0, USD", "s1, USD", "Together, USD"]
    assert drawn["table"]["rows"][0][1:] == [Decimal(1), Decimal(3), Decimal(4)]


def test_counts_are_no_money() -> None:
    drawn = chart([1200, 0, 7])
    assert drawn["legend"][0]["total"] == "1,207"
    assert drawn["table"]["headers"] == ["Day", "s0", "Together"]


def test_nothing_is_nothing() -> None:
    assert plots.stacked([], [], title="x")["is_empty"]
    assert chart([0, 0, 0])["is_empty"]
    assert plots.sparkline([]) == plots.sparkline([5]) == plots.sparkline([0, 0]) == ""
    assert plots.donut([("a", 0, 1, "")])["is_empty"]
    assert plots.waterfall([]) == []


def test_a_credit_draws_no_column_upside_down() -> None:
    drawn = chart([Decimal(-5), Decimal(1), Decimal(0)])
    assert drawn["columns"][0]["parts"] == []
    assert drawn["table"]["rows"][0][1] == Decimal(-5)  # but it can be read


@given(st.lists(st.decimals(-1000, 1000, places=2), max_size=40))
def test_a_line_stays_in_its_frame(figures: list[Decimal]) -> None:
    """Of days of credits alone too, whose highest is nothing."""
    drawn = str(plots.sparkline(figures))
    assert (drawn == "") == (len(figures) < 2 or not any(figures))
    heights = [
        float(point.split(",")[1]) for point in drawn.partition('points="')[2].partition('"')[0].split()
    ]
    assert all(0 <= height <= plots.SPARK_HEIGHT for height in heights)
    order = sorted(zip(figures, heights, strict=bool(drawn)))
    assert [height for _, height in order] == sorted(heights, reverse=True)


@pytest.mark.parametrize(
    ("amount", "highest", "percent"),
    [("1", "4", "25.0"), ("-1", "4", "0.0"), ("-1", "-1", "0.0"), ("0", "0", "0.0")],
)
def test_a_column_of_credits_has_no_height(amount: str, highest: str, percent: str) -> None:
    assert plots.column(Decimal(amount), Decimal(highest)) == percent


def test_the_steps_of_a_waterfall_lead_from_one_to_the_other() -> None:
    rows = plots.waterfall(
        [
            Step("List price", Decimal(10), is_whole=True),
            Step("Routing", Decimal(-4)),
            Step("Cache writes", Decimal(1)),
            Step("Paid", Decimal(7), is_whole=True),
        ]
    )
    assert [(row["left"], row["width"], row["kind"]) for row in rows] == [
        (0.0, 100.0, "whole"),
        (60.0, 40.0, "less"),
        (60.0, 10.0, "more"),
        (0.0, 70.0, "whole"),
    ]


def test_what_is_paid_may_be_less_than_nothing() -> None:
    rows = plots.waterfall([Step("List price", Decimal(1), is_whole=True), Step("Credit", Decimal(-3))])
    assert all(row["left"] >= 0 and row["width"] >= 0 for row in rows)


def test_shares_of_a_donut() -> None:
    ring = plots.donut([("a", 3, 1, ""), ("b", 1, 2, ""), ("c", 0, 3, "")])
    assert [one["percent"] for one in ring["slices"]] == ["75.0 %", "25.0 %", "0.0 %"]
    assert [bool(one["path"]) for one in ring["slices"]] == [True, True, False]
    assert plots.donut([("all", 5, 1, "")])["slices"][0]["path"]  # a whole ring is drawn too


def test_a_line_far_above_all_columns_is_told_instead_of_drawn() -> None:
    drawn = chart([Decimal(1), Decimal(2), Decimal(0)], line=Decimal(500))
    assert drawn["line"] == {"height": None, "text": "pace: 500.00 USD, above the chart"}
    assert drawn["columns"][1]["parts"][0]["height"] == 100.0
    assert chart([Decimal(0), Decimal(0), Decimal(0)], line=Decimal(500))["line"]["height"] == 100.0


def test_names_are_escaped_where_they_are_shown() -> None:
    drawn = plots.stacked([Column('<script>"', "/a")], [Series("<b>", [1], 1)], title="x")
    assert "<script>" not in str(drawn["table"]["rows"][0][0])


@given(st.decimals(min_value="0.000001", max_value="1e12", allow_nan=False, places=6))
def test_an_axis_ends_a_little_above_its_highest_column(highest: Decimal) -> None:
    top = plots.nice_top(highest)
    assert highest <= top <= highest * Decimal("2.51")


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0"),
        (950, "950"),
        (1500, "1.5k"),
        (2_500_000, "2.5M"),
        (Decimal("0.005"), "0.005"),
        (Decimal("2.50"), "2.5"),
    ],
)
def test_amounts_on_an_axis_are_short(amount: Decimal | int, text: str) -> None:
    assert plots.short(amount) == text
