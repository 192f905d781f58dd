"""How figures and times look: columns of one number of places, nothing rounded to nothing, zones."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.site import cells
from config.templatetags.purser import table

AMOUNTS = st.decimals(min_value="-9999999", max_value="9999999", places=12, allow_nan=False)


def text_of(cell: str) -> str:
    return cell.split(">", 1)[1].removesuffix("</span>").replace("&lt;", "<")


def test_it_works() -> None:
    column = [Decimal("1234.5"), Decimal("0.0034"), Decimal(0), None]
    places = cells.places_of(column)
    assert [text_of(cells.figure(one, places=places)) for one in column] == [
        "1,234.5000",
        "0.0034",
        "0.0000",
        "–",
    ]


@given(st.lists(AMOUNTS, min_size=1, max_size=20))
def test_a_column_has_one_number_of_places_and_no_amount_becomes_zero(column: list[Decimal]) -> None:
    places = cells.places_of(column)
    shown = [text_of(cells.money(amount, places=places)) for amount in column]
    assert {len(text.rsplit(".", 1)[1]) for text in shown} == {places}
    for amount, text in zip(column, shown, strict=True):
        assert (amount == 0) == (Decimal(text.replace("<", "").replace(",", "")) == 0)


def test_a_shortened_amount_has_the_exact_one_as_its_tooltip() -> None:
    assert 'title="0.000000040000001 USD"' in cells.money(Decimal("0.000000040000001"))


def test_a_moment_has_its_zone_and_the_tenants_beside_it() -> None:
    at = datetime(2026, 10, 31, 23, 0, tzinfo=UTC)
    berlin, own = cells.moment(at, zone="Europe/Berlin"), cells.moment(at)
    assert "2026-10-31 23:00:00" in berlin
    assert "UTC" in berlin
    assert "2026-11-01 00:00 CET" in berlin
    assert "CET" not in own
    assert cells.moment(at, zone="No/Where") == own.replace(", UTC", ", No/Where")


def test_a_table_stands_figures_right_and_texts_left() -> None:
    rows = [
        ["gpt-4o", Decimal("1.5"), 12, "81.3 %"],
        ["gpt-5", Decimal("0.001"), 1, "–"],
        ["2026-11", None, 3, "0.0 %"],
    ]
    made = table({"headers": ["Model", "USD", "Calls", "Share"], "rows": rows})
    assert [head["is_figure"] for head in made["heads"]] == [False, True, True, True]
    assert [text_of(row[1]["content"]) for row in made["rows"]] == ["1.5000", "0.0010", "–"]


@pytest.mark.parametrize(
    "text", ["$1.20", "81.3 %", "-0.5", "1,000 tokens", "2.5 per 1,000,000", "12 (50.0 %)", "<0.01", "0.40 s"]
)
def test_a_text_with_a_point_a_unit_or_a_comma_is_a_figure(text: str) -> None:
    assert table({"headers": ["x"], "rows": [[text], ["5"]]})["heads"][0]["is_figure"]


@pytest.mark.parametrize(
    "text", ["4711", "2026-11-30", "12:30", "gpt-4o", "3f2a", "1.2.3.4", "7c9e6679-7425", True]
)
def test_an_id_and_a_day_are_none(text: object) -> None:
    assert not table({"headers": ["x"], "rows": [[text]]})["heads"][0]["is_figure"]


def test_json_cannot_break_out_of_its_page() -> None:
    assert "<script>" not in cells.json_block({"text": "<script>"})
