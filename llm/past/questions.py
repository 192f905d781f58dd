"""How many requests of the last days a changed policy would have met: one count for each question that the log can answer.

Invariant: a question reads the hours of a sample, and nothing else; an answer is of the whole time, and says what it is based on.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal

from llm.past.samples import Sample, ask

Question = Literal["auto", "less_similar", "longer", "late_stream", "late_answer", "bought"]
ASKED: Final[dict[Question, str]] = {
    "auto": "model_asked LIKE 'auto%%'",
    "less_similar": "cache_state = 'semantic' AND similarity < %(value)s",
    "longer": "model_asked LIKE 'auto%%' AND tier = %(tier)s AND output_tokens > %(value)s",
    "late_stream": "is_stream AND ttft_ms > %(value)s AND status < 400",
    "late_answer": "NOT is_stream AND latency_ms > %(value)s AND status < 400 AND provider <> ''",
    "bought": "status < 400 AND cost_usd > 0",
}
COUNT: Final = (
    "count(*) FILTER (WHERE {met}), coalesce(sum(cost_usd) FILTER (WHERE {met}), 0),"
    " coalesce(sum(list_cost_usd) FILTER (WHERE {met}), 0)"
)


@dataclass(frozen=True, slots=True)
class Met:
    """The requests that a question is about, what they cost, and what they would have at list price."""

    calls: int
    usd: Decimal
    listed: Decimal
    basis: str


def met(sample: Sample, question: Question, **values: Any) -> Met:
    """Ask one question."""
    calls, cost, listed = ask(sample, COUNT.format(met=ASKED[question]), **values)
    return Met(calls * sample.every, cost * sample.every, listed * sample.every, sample.basis)
