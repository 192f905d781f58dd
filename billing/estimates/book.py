"""What was learned about estimates, as the hot path has it in memory.

Invariant: pure but for `load_estimate_book`, and no model is imported with it. An input that nothing
was learned about may be longer than counted by UNKNOWN_ERROR, which shrinks as evidence comes. Holds use it; refusals never do.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal
from types import MappingProxyType

from django.apps import apps

from config.values import value_type

# a provider's framing may differ from ours by a few tokens; a hold that is short by one is no upper bound
FRAMING_MARGIN_TOKENS = 16
# a new model's tokenizer may make that many more tokens of a text than the one we count with (Claude 4.7 did)
UNKNOWN_ERROR = Decimal("0.3")
CALLS_TO_BELIEVE = 20


@value_type
class Lesson:
    """What past calls say of a model: input tokens are at most the count times `input_factor`, as far as `calls` show."""

    input_factor: Decimal = Decimal(1)
    usual_output_tokens: int = 0
    long_output_tokens: int = 0
    calls: int = CALLS_TO_BELIEVE

    @property
    def error(self) -> Decimal:
        """The share of the count by which it may still be wrong upwards."""
        unknown = max(0, CALLS_TO_BELIEVE - self.calls)
        return UNKNOWN_ERROR * unknown / CALLS_TO_BELIEVE


NOTHING_LEARNED = Lesson(calls=0)


@dataclass(frozen=True, slots=True)
class EstimateBook:
    """Lessons by provider, model and shape of the prompt (text, tools, media)."""

    lessons: Mapping[tuple[str, str, str], Lesson] = field(default_factory=lambda: MappingProxyType({}))

    def most_input_tokens(self, counted: int, *, provider: str, model: str, shape: str) -> int:
        """The input tokens to hold for so many counted ones: a bound, with a margin for what is not known yet."""
        lesson = self.lessons.get((provider, model, shape), NOTHING_LEARNED)
        return _times(counted, lesson.input_factor + lesson.error) + FRAMING_MARGIN_TOKENS

    def likely_input_tokens(self, counted: int, *, provider: str, model: str, shape: str) -> int:
        """The same without that margin: what must fit into the window together with an answer."""
        lesson = self.lessons.get((provider, model, shape), NOTHING_LEARNED)
        return _times(counted, lesson.input_factor) + FRAMING_MARGIN_TOKENS

    def usual_output_tokens(self, *, provider: str, model: str, shape: str) -> int:
        """How long half of its answers are at most; 0 where nothing is known."""
        lesson = self.lessons.get((provider, model, shape))
        return lesson.usual_output_tokens if lesson else 0

    def long_output_tokens(self, *, provider: str, model: str, shape: str) -> int:
        """How long 19 of 20 of its answers are at most; 0 where too little is known."""
        lesson = self.lessons.get((provider, model, shape))
        return lesson.long_output_tokens if lesson else 0


def _times(counted: int, factor: Decimal) -> int:
    return int((counted * factor).to_integral_value(rounding=ROUND_CEILING))


def load_estimate_book() -> EstimateBook:
    """Read what was learned: one query."""
    rows = apps.get_model("billing", "EstimateAccuracy").objects.all()
    return EstimateBook(
        MappingProxyType(
            {
                (row.provider, row.model, row.shape): Lesson(
                    row.input_factor,
                    row.output_p50,
                    row.output_p95 if row.samples >= CALLS_TO_BELIEVE else 0,
                    row.learned_from,
                )
                for row in rows
            }
        )
    )
