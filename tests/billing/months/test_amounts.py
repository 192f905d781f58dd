"""How many digits the amounts of a statement have in each currency."""

from decimal import Decimal

import pytest

from billing.months.amounts import print_amounts, round_to_currency


def test_it_works() -> None:
    printed = print_amounts([Decimal("0.005"), Decimal("0.005")], currency="EUR", fx_rate=Decimal(1))
    assert printed.lines == (Decimal("0.01"), Decimal("0.01"))
    assert (printed.rounding, printed.total) == (Decimal("-0.01"), Decimal("0.01"))


@pytest.mark.parametrize(
    ("currency", "printed"),
    [
        ("USD", "1234.57"),
        ("eur", "1234.57"),
        ("JPY", "1235"),
        ("KRW", "1235"),
        ("UYI", "1235"),
        ("KWD", "1234.568"),
        ("IQD", "1234.568"),
        ("CLF", "1234.5679"),
        ("UYW", "1234.5679"),
        # the money of everyday life has no cents there, that of accounts has
        ("HUF", "1234.57"),
        ("IDR", "1234.57"),
        ("COP", "1234.57"),
        # no currency, or none of today
        ("XAU", "1234.57"),
        ("DEM", "1234.57"),
        ("???", "1234.57"),
    ],
)
def test_a_currency_has_the_digits_that_iso_4217_gives_it(currency: str, printed: str) -> None:
    assert str(round_to_currency(Decimal("1234.56789"), currency)) == printed
