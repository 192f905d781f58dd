"""What an answer cost, as it was booked."""

from dataclasses import field
from decimal import Decimal

from config.values import value_type


@value_type
class SettledCost:
    """What an answer cost and where it came from. USD amounts are exact; tokens are the provider's."""

    model: str
    provider: str
    cost_usd: Decimal = Decimal(0)
    list_cost_usd: Decimal = Decimal(0)
    own_list_cost_usd: Decimal = Decimal(0)  # of the model that answered, even if another one was asked for
    input_tokens: int = 0
    output_tokens: int = 0
    saving: dict[str, Decimal] = field(default_factory=dict)
    meters: dict[str, int] = field(default_factory=dict)
