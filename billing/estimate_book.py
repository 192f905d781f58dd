"""What was learned about estimates, as the hot path has it in memory.

Invariant: pure but for `load_estimate_book`, and no model is imported with it. What nobody has learned about is taken
as counted.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal
from types import MappingProxyType

from django.apps import apps

# a provider's framing may differ from ours by a few tokens; a hold that is short by one is no upper bound
FRAMING_MARGIN_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Lesson:
    """What past calls say of a model: input tokens are at most the count times `input_factor`."""

    input_factor: Decimal = Decimal(1)
    usual_output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class EstimateBook:
    """Lessons by provider, model and shape of the prompt (text, tools, media)."""

    lessons: Mapping[tuple[str, str, str], Lesson] = field(default_factory=lambda: MappingProxyType({}))

    def most_input_tokens(self, counted: int, *, provider: str, model: str, shape: str) -> int:
        """The input tokens to hold for so many counted ones."""
        lesson = self.lessons.get((provider, model, shape))
        if lesson is None or lesson.input_factor == 1:
            return counted + FRAMING_MARGIN_TOKENS
        learned = (counted * lesson.input_factor).to_integral_value(rounding=ROUND_CEILING)
        return int(learned) + FRAMING_MARGIN_TOKENS

    def usual_output_tokens(self, *, provider: str, model: str, shape: str) -> int:
        """How long half of its answers are at most; 0 where nothing is known."""
        lesson = self.lessons.get((provider, model, shape))
        return lesson.usual_output_tokens if lesson else 0


def load_estimate_book() -> EstimateBook:
    """Read what was learned: one query."""
    rows = apps.get_model("billing", "EstimateAccuracy").objects.all()
    return EstimateBook(
        MappingProxyType(
            {(row.provider, row.model, row.shape): Lesson(row.input_factor, row.output_p50) for row in rows}
        )
    )
