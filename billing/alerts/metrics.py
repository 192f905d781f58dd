"""What can be watched: of each metric its sentence, its unit, and how an alert of it begins and ends.

Invariant: pure data. A metric of `AlertRule.Metric` has exactly one entry, and every value is worse the higher it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Final, Literal

Unit = Literal["usd", "percent", "points", "times", "minutes", "requests", "none"]

_MINUTES, _HOUR, _DAY = timedelta(minutes=15), timedelta(hours=1), timedelta(days=1)


@dataclass(frozen=True, slots=True)
class MetricFacts:
    """A metric in words. `default` is the threshold of a tenant without a rule of it; None: there is no alert without a rule.

    `quiet` is how long nothing must be seen before a grouped alert is resolved by itself.
    """

    title: str
    sentence: str  # {} is the threshold with its unit
    unit: Unit
    default: Decimal | None = None
    quiet: timedelta = _MINUTES
    says_end: bool = True  # whether people are notified when it ends by itself


METRICS: Final[Mapping[str, MetricFacts]] = {
    "request_cost": MetricFacts(
        "Dear requests", "One request costs more than {}.", "usd", Decimal("0.50"), quiet=_HOUR
    ),
    "day_spend": MetricFacts(
        "Spend of a day", "The tenant has spent {} or more on its own day so far.", "usd", says_end=False
    ),
    "spend_jump": MetricFacts(
        "Jump of the spend",
        "The last five to ten minutes cost {} or more of what is usual at this hour, and clearly more than ten minutes at this "
        "time did in two weeks. Below 0.10 USD and 20 requests nothing is a jump.",
        "times",
        Decimal(4),
        quiet=_HOUR,
    ),
    "budget_percent": MetricFacts(
        "Budget used", "{} of a budget is used; once a period and limit.", "percent", says_end=False
    ),
    "forecast_percent": MetricFacts(
        "Budget forecast",
        "At its pace, a budget will be used to {} or more when its period ends.",
        "percent",
        quiet=timedelta(hours=6),
    ),
    "unpriced_usage": MetricFacts(
        "Usage without a price",
        "Usage has no price, and is billed at its hold.",
        "none",
        Decimal(0),
        quiet=_DAY,
    ),
    "unread_usage": MetricFacts(
        "Unread usage", "Usage could not be read, and is booked at a bound.", "none", quiet=_DAY
    ),
    "error_percent": MetricFacts(
        "Error rate", "{} or more of the last 15 minutes' requests failed, of 20 at least.", "percent"
    ),
    "hit_rate_drop": MetricFacts(
        "Falling hit rate",
        "The caches answer {} less of the last hour's requests than usual at this hour, of 50 requests at least.",
        "points",
        quiet=_HOUR,
    ),
    "hold_minutes": MetricFacts(
        "Old holds", "An amount has been held for {} or longer, and not been settled.", "minutes"
    ),
    "batch_failed_percent": MetricFacts(
        "Failed lines", "{} or more of a batch's lines failed.", "percent", Decimal(10), says_end=False
    ),
    "batch_stuck_minutes": MetricFacts("Stuck batches", "A batch has made no progress for {}.", "minutes"),
    "session_repeats": MetricFacts(
        "Loops of agents",
        "A session asked nearly the same {} or more within ten minutes: the same model with input of the same one or two "
        "lengths, or while the input grew with such answers (of 16 tokens or more) or such results of tools (of 32 or more).",
        "times",
        Decimal(45),
        quiet=_MINUTES,
    ),
    "envelope_percent": MetricFacts(
        "Envelope of a run", "{} of a run's envelope is used.", "percent", says_end=False
    ),
    # the operators' own, and what is no threshold
    "reconciliation": MetricFacts("Bills that differ", "A provider's bill differs from the ledger.", "usd"),
    "partitions": MetricFacts("Partitions", "The ledger's partitions could not be made.", "none"),
    "rerating_proposed": MetricFacts("Backdated prices", "A price changed for days that were billed.", "usd"),
    "entry_proposed": MetricFacts(
        "Entries that wait", "A credit or an adjustment waits for somebody else.", "usd", says_end=False
    ),
    "price_left_table": MetricFacts(
        "Prices that left the table",
        "A provider bills a meter at another price than our table has.",
        "usd",
        says_end=False,
    ),
    "close_asked": MetricFacts(
        "Closes that wait",
        "Somebody asks to close a month, and another one confirms it.",
        "none",
        says_end=False,
    ),
    "prepaid_low": MetricFacts("Prepaid balance", "A prepaid balance is low.", "usd", says_end=False),
    "raise_requested": MetricFacts("Raises asked for", "Somebody asks for a raise.", "none", says_end=False),
}
_NO_METRIC: Final = MetricFacts("Notice", "", "none")


def facts_of(metric: str) -> MetricFacts:
    """The facts of a metric; those of a plain notice for a name that is none."""
    return METRICS.get(metric, _NO_METRIC)


def with_unit(metric: str, amount: Decimal) -> str:
    """An amount of a metric with its unit, exactly."""
    text = f"{amount.normalize():,f}"
    match facts_of(metric).unit:
        case "usd":
            return f"{text} USD"
        case "percent":
            return f"{text} %"
        case "points":
            return f"{text} points"
        case "times":
            return f"{text} times"
        case "minutes":
            return f"{text} min"
        case "requests":
            return f"{text} requests"
        case _:
            return text


def sentence_of(metric: str, threshold: Decimal) -> str:
    """What a rule says, as a sentence."""
    return facts_of(metric).sentence.format(with_unit(metric, threshold))
