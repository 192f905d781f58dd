"""How holds have compared with bills, per model, and what is learned from it.

Invariant: learned only from calls whose usage the provider reported. A factor below 1 needs many calls and takes
their high quantile, so that holds get tighter and stay upper bounds; one above 1 needs few calls.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, Decimal

from django.db import connection, transaction
from django.utils.timezone import now

from billing.estimates.book import CALLS_TO_BELIEVE
from billing.models import EstimateAccuracy

WINDOW = timedelta(days=14)
# Of a short prompt a framing token is several percent; the margin of every hold is there for it.
LEAST_COUNTED_TOKENS = 64
CALLS_TO_LOWER, CALLS_TO_RAISE = 200, CALLS_TO_BELIEVE
HEADROOM = Decimal("1.01")
LOWEST_FACTOR, HIGHEST_FACTOR = Decimal("0.5"), Decimal(4)
FOUR_PLACES = Decimal("0.0001")

ACCURACY = """
SELECT provider, model, shape, count(*) AS samples, count(input_ratio) AS learned_from,
       round(percentile_cont(0.5) WITHIN GROUP (ORDER BY input_ratio)::numeric, 4) AS input_ratio_p50,
       percentile_disc(0.995) WITHIN GROUP (ORDER BY input_ratio) AS input_ratio_high,
       sum(hold_usd) AS hold_usd, sum(billed_usd) AS billed_usd,
       round(percentile_cont(0.5) WITHIN GROUP (ORDER BY hold_usd / nullif(billed_usd, 0))::numeric, 4) AS hold_ratio_p50,
       count(*) FILTER (WHERE billed_usd > hold_usd) AS short,
       percentile_disc(0.5) WITHIN GROUP (ORDER BY output_tokens) AS output_p50,
       percentile_disc(0.95) WITHIN GROUP (ORDER BY output_tokens) AS output_p95
FROM (
    SELECT *, CASE WHEN counted_input_tokens >= %(least)s
                   THEN round(input_tokens::numeric / counted_input_tokens, 4) END AS input_ratio
    FROM billing_settled_estimates
    WHERE occurred_at >= %(since)s AND (%(tenant)s::bigint IS NULL OR tenant_id = %(tenant)s)) AS calls
GROUP BY provider, model, shape ORDER BY provider, model, shape
"""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """One model's calls with one shape of prompt: held and billed, counted and actual."""

    provider: str
    model: str
    shape: str
    samples: int
    learned_from: int
    input_ratio_p50: Decimal | None
    input_ratio_high: Decimal | None
    hold_usd: Decimal
    billed_usd: Decimal
    hold_ratio_p50: Decimal | None
    short: int
    output_p50: int
    output_p95: int

    @property
    def hold_ratio(self) -> Decimal | None:
        """What was held for each dollar that was billed; None where nothing was."""
        return (self.hold_usd / self.billed_usd).quantize(FOUR_PLACES) if self.billed_usd else None

    @property
    def input_factor(self) -> Decimal:
        """By what counted input tokens are multiplied to be an upper bound."""
        high = self.input_ratio_high
        if high is None or self.learned_from < (CALLS_TO_RAISE if high > 1 else CALLS_TO_LOWER):
            return Decimal(1)
        if high < 1:
            high = min(high * HEADROOM, Decimal(1))
        bounded = min(max(high, LOWEST_FACTOR), HIGHEST_FACTOR)
        return bounded.quantize(FOUR_PLACES, rounding=ROUND_CEILING)


def accuracy(*, since: datetime, tenant_id: int | None = None) -> list[Accuracy]:
    """The report: every model that was called since then, of one tenant or of all."""
    with connection.cursor() as cursor:
        cursor.execute(ACCURACY, {"since": since, "tenant": tenant_id, "least": LEAST_COUNTED_TOKENS})
        return [Accuracy(*row) for row in cursor.fetchall()]


@transaction.atomic
def learn(at: datetime | None = None) -> list[Accuracy]:
    """Write down what the last weeks say; what they do not speak of is forgotten. The gateway has it within a minute."""
    at = at or now()
    found = accuracy(since=at - WINDOW)
    EstimateAccuracy.objects.bulk_create(
        (_row(one, at) for one in found),
        update_conflicts=True,
        unique_fields=("provider", "model", "shape"),
        update_fields=_COLUMNS,
    )
    EstimateAccuracy.objects.filter(refreshed_at__lt=at).delete()
    return found


_COLUMNS = (
    "samples", "learned_from", "input_factor", "input_ratio_p50", "input_ratio_high", "hold_usd", "billed_usd",
    "hold_ratio_p50", "short", "output_p50", "output_p95", "refreshed_at",
)  # fmt: skip


def _row(one: Accuracy, at: datetime) -> EstimateAccuracy:
    figures = {name: getattr(one, name) for name in _COLUMNS if name != "refreshed_at"}
    return EstimateAccuracy(
        provider=one.provider, model=one.model, shape=one.shape, refreshed_at=at, **figures
    )
