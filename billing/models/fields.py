"""The types of amounts.

Invariant: an amount is exact: numeric(28,12) holds a token budget of 10^16 and the price of one cheap token.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from django.db import models


class ExactField(models.DecimalField[Any, Any]):
    """A decimal whose size belongs to its type: no column and no migration says it again."""

    digits: ClassVar[int]
    places: ClassVar[int]

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"max_digits": self.digits, "decimal_places": self.places, **options})

    def deconstruct(self) -> tuple[str, str, Sequence[Any], dict[str, Any]]:
        name, path, args, kwargs = super().deconstruct()
        size = ("max_digits", "decimal_places")
        return name, path, args, {key: value for key, value in kwargs.items() if key not in size}


class AmountField(ExactField):
    """USD, tokens or requests, with 12 places."""

    digits, places = 28, 12


class UnitPriceField(ExactField):
    """USD for `per` units of a meter. The cheapest published price is 2.5e-9 for one token."""

    digits, places = 18, 9
