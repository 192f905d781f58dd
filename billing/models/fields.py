"""The types of amounts.

Invariant: an amount is exact: numeric(28,12) holds a token budget of 10^16 and the price of one cheap token.
"""

from collections.abc import Sequence
from typing import Any

from django.db import models


class AmountField(models.DecimalField):
    """USD, tokens or requests, with 12 places."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"max_digits": 28, "decimal_places": 12, **options})

    def deconstruct(self) -> tuple[str, str, Sequence[Any], dict[str, Any]]:
        name, path, args, kwargs = super().deconstruct()
        return (
            name,
            path,
            args,
            {k: v for k, v in kwargs.items() if k not in ("max_digits", "decimal_places")},
        )


class UnitPriceField(models.DecimalField):
    """USD for `per` units of a meter. The cheapest published price is 2.5e-9 for one token."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"max_digits": 18, "decimal_places": 9, **options})

    def deconstruct(self) -> tuple[str, str, Sequence[Any], dict[str, Any]]:
        name, path, args, kwargs = super().deconstruct()
        return (
            name,
            path,
            args,
            {k: v for k, v in kwargs.items() if k not in ("max_digits", "decimal_places")},
        )
