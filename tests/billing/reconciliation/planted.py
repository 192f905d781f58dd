"""Faults for a provider's cost report: each changes the pages as they came, and says what has to be found.

Invariant: a fault is a function of the pages, the account and a seeded generator. What it answers is every cell that has to
differ, with its cause; the others have to match.
"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from billing.models.reconciliation import Cause

Row = dict[str, Any]
Found = dict[tuple[date, str, str], str]
DAY = timedelta(days=1)
OPENAI_METERS = {"input": "input", "cached input": "cache_read", "output": "output"}
ANTHROPIC_METERS = {
    "uncached_input_tokens": "input",
    "cache_read_input_tokens": "cache_read",
    "output_tokens": "output",
}


class Refused(Exception):
    """The report is not to be taken; the text says with which words."""


@dataclass
class Report:
    """The pages of a report that a fault may change, and what the account's books have."""

    kind: str
    pages: list[dict[str, Any]]
    models: dict[str, str]  # the provider's names to ours
    prices: dict[tuple[str, str], Decimal]  # USD per token, of the provider's model and our meter, online
    spare: tuple[date, str]  # the day and model of ours with a call that has no row
    rng: random.Random = field(default_factory=random.Random)

    @property
    def days(self) -> list[date]:
        """The days that faults are planted on: with one before and one after each."""
        return sorted({self.day_of(bucket) for page in self.pages for bucket in page["data"]})[1:-2]

    def day_of(self, bucket: dict[str, Any]) -> date:
        if "start_time" in bucket:
            return datetime.fromtimestamp(bucket["start_time"], UTC).date()
        return date.fromisoformat(bucket["starting_at"][:10])

    def buckets(self, day: date) -> list[dict[str, Any]]:
        """The day's: of the costs, and Anthropic's also of the tokens."""
        return [bucket for page in self.pages for bucket in page["data"] if self.day_of(bucket) == day]

    def rows(
        self, day: date, model: str = "", meter: str = "", *, processing: str | None = None
    ) -> list[Row]:
        """The day's rows with amounts."""
        return [
            row
            for bucket in self.buckets(day)
            for row in bucket["results"]
            if "amount" in row
            and (not model or self.model_of(row) == model)
            and (not meter or self.meter_of(row) == meter)
            and (processing is None or self.processing_of(row) == processing)
        ]

    def model_of(self, row: Row) -> str:
        return row["model"] if self.kind == "anthropic" else row["line_item"].partition(",")[0].split()[0]

    def meter_of(self, row: Row) -> str:
        if self.kind == "anthropic":
            return ANTHROPIC_METERS[row["token_type"]]
        return OPENAI_METERS[row["line_item"].partition(", ")[2]]

    def processing_of(self, row: Row) -> str:
        name = row["service_tier"] if self.kind == "anthropic" else row["line_item"].partition(",")[0]
        return "batch" if "batch" in name else "online"

    def usd(self, row: Row) -> Decimal:
        if self.kind == "anthropic":
            return Decimal(row["amount"]) / 100
        return Decimal(repr(row["amount"]["value"]))

    def put_usd(self, row: Row, usd: Decimal) -> None:
        if self.kind == "anthropic":
            row["amount"] = format(usd * 100, "f")
        else:
            row["amount"] = {**row["amount"], "value": float(usd)}

    def drop(self, rows: list[Row]) -> None:
        for page in self.pages:
            for bucket in page["data"]:
                bucket["results"] = [row for row in bucket["results"] if not any(row is one for one in rows)]

    def add(self, day: date, row: Row) -> None:
        """A further row, beside those of its sort."""
        next(bucket for bucket in self.buckets(day) if any("amount" in each for each in bucket["results"]))[
            "results"
        ].append(row)

    def any_day(self) -> date:
        return self.rng.choice(self.days)

    def any_cell(self) -> tuple[date, str, str]:
        """A day, a model of the provider, and a meter."""
        return (
            self.any_day(),
            self.rng.choice(sorted(self.models)),
            self.rng.choice(["input", "cache_read", "output"]),
        )

    def cells(self, day: date, cause: str) -> Found:
        """All cells of a day, with one cause."""
        return {(day, self.models[self.model_of(row)], self.meter_of(row)): cause for row in self.rows(day)}

    def cell(self, day: date, model: str, meter: str, cause: str) -> Found:
        return {(day, self.models[model], meter): cause}


Fault = Callable[[Report], Found]


def missing_day(report: Report) -> Found:
    day = report.any_day()
    found = report.cells(day, Cause.DAY_MISSING)
    for bucket in report.buckets(day):
        bucket["results"] = []
    return found


def missing_line(report: Report) -> Found:
    day, model, meter = report.any_cell()
    report.drop(report.rows(day, model, meter))
    return report.cell(day, model, meter, Cause.LINE_MISSING)


def missing_batch(report: Report) -> Found:
    day, model, meter = report.any_cell()
    if report.kind == "anthropic":  # its tokens are in a report of their own, and are there
        return missing_line(report)
    report.drop(report.rows(day, model, meter, processing="batch"))
    return report.cell(day, model, meter, Cause.LINE_MISSING)


def without_amount(report: Report) -> Found:
    day, model, meter = report.any_cell()
    for row in report.rows(day, model, meter):
        report.put_usd(row, Decimal(0))
    return report.cell(day, model, meter, Cause.LINE_MISSING)


def doubled_line(report: Report) -> Found:
    day, model, meter = report.any_cell()
    row = report.rng.choice(report.rows(day, model, meter))
    report.add(day, dict(row))
    return report.cell(day, model, meter, Cause.REPEATED)


def doubled_day(report: Report) -> Found:
    day = report.any_day()
    for bucket in report.buckets(day):
        bucket["results"] *= 2
    return report.cells(day, Cause.REPEATED)


def price_changed(report: Report) -> Found:
    day, model, meter = report.any_cell()
    factor = Decimal(report.rng.choice(["1.2", "0.87", "1.05"]))
    for row in report.rows(day, model, meter):
        report.put_usd(row, report.usd(row) * factor)
    return report.cell(day, model, meter, Cause.PRICE)


def price_changed_within_the_day(report: Report) -> Found:
    day, model, meter = report.any_cell()
    factor = Decimal(report.rng.choice(["1.2", "0.8"]))
    for on, changed in ((day, (1 + factor) / 2), (day + DAY, factor)):
        for row in report.rows(on, model, meter):
            report.put_usd(row, report.usd(row) * changed)
    return report.cell(day, model, meter, Cause.PRICE_IN_THE_DAY) | report.cell(
        day + DAY, model, meter, Cause.PRICE
    )


def batch_discount_lost(report: Report) -> Found:
    day, model, meter = report.any_cell()
    for row in report.rows(day, model, meter, processing="batch"):
        report.put_usd(row, report.usd(row) * 2)
    return report.cell(day, model, meter, Cause.BATCH_DISCOUNT)


def online_at_the_price_of_a_batch(report: Report) -> Found:
    day, model, meter = report.any_cell()
    for row in report.rows(day, model, meter, processing="online"):
        report.put_usd(row, report.usd(row) / 2)
    return report.cell(day, model, meter, Cause.PROCESSING)


def rounded(report: Report) -> Found:
    """To cents, on each line of a day."""
    day = report.any_day()
    before: dict[tuple[date, str, str], Decimal] = {}
    for row in report.rows(day):
        key = day, report.models[report.model_of(row)], report.meter_of(row)
        usd = report.usd(row)
        report.put_usd(row, round(usd, 2))
        before[key] = before.get(key, Decimal(0)) + round(usd, 2) - usd
    return {key: Cause.ROUNDING for key, off in before.items() if abs(off) > Decimal("1e-9")}


def another_currency(report: Report) -> Found:
    row = report.rng.choice(report.rows(report.any_day()))
    if report.kind == "anthropic":
        row["currency"] = "EUR"
    else:
        row["amount"]["currency"] = "eur"
    raise Refused("not in USD")


def converted(report: Report) -> Found:
    """All amounts of a day in another currency that is called USD."""
    day = report.any_day()
    for row in report.rows(day):
        report.put_usd(row, report.usd(row) * Decimal("0.92"))
    return report.cells(day, Cause.ONE_FACTOR)


def negative_line(report: Report) -> Found:
    day, model, meter = report.any_cell()
    row = json.loads(json.dumps(report.rows(day, model, meter)[0]))
    report.put_usd(row, Decimal(-report.rng.randint(1, 300)) / 100)
    if "quantity" in row:
        row["quantity"] = None
    report.add(day, row)
    return report.cell(day, model, meter, Cause.CREDIT)


def late_day(report: Report) -> Found:
    day = report.any_day()
    found = report.cells(day, Cause.LATE) | report.cells(day + DAY, Cause.LATE)
    for bucket, following in zip(report.buckets(day), report.buckets(day + DAY), strict=True):
        following["results"] += bucket["results"]
        bucket["results"] = []
    return found


def project_moved(report: Report) -> Found:
    day, model, meter = report.any_cell()
    if report.kind == "anthropic":  # a row of tokens has all meters
        meters = ["input", "cache_read", "output"]
        for bucket in report.buckets(day):
            for row in bucket["results"]:
                if row["model"] == model:
                    row["workspace_id"] = "wrkspc_other"
        return {(day, report.models[model], each): Cause.PROJECT for each in meters}
    for row in report.rows(day, model, meter):
        row["project_id"] = "proj_other"
    return report.cell(day, model, meter, Cause.PROJECT)


def account_credit(report: Report) -> Found:
    """A credit of the account, without a model."""
    day = report.any_day()
    row = json.loads(json.dumps(report.rows(day)[0]))
    report.put_usd(row, Decimal(-5))
    row["line_item"], row["quantity"] = "Credit grant", None
    report.add(day, row)
    return {(day, "", "Credit grant"): Cause.CREDIT}


def wrong_meter(report: Report) -> Found:
    day, model, _ = report.any_cell()
    for row in report.rows(day, model, "output", processing="online"):
        row["line_item"] = row["line_item"].replace(", output", ", input")
    return {(day, report.models[model], meter): Cause.OTHER_METER for meter in ("input", "output")}


def cache_read_as_input(report: Report) -> Found:
    day, model, _ = report.any_cell()
    for row in report.rows(day, model, "cache_read"):
        row["line_item"] = row["line_item"].replace(", cached input", ", input")
        report.put_usd(
            row, report.usd(row) / report.prices[model, "cache_read"] * report.prices[model, "input"]
        )
    return {(day, report.models[model], meter): Cause.CACHE_AS_INPUT for meter in ("input", "cache_read")}


def off_by_one(report: Report) -> Found:
    day, model, meter = report.any_cell()
    row = report.rng.choice(report.rows(day, model, meter))
    step = report.rng.choice([1, -1])
    row["quantity"] += step
    if report.rng.random() < 0.5:
        report.put_usd(row, report.usd(row) + step * report.prices[model, meter])
    return report.cell(day, model, meter, Cause.OFF_BY_ONE)


def quantity_in_thousands(report: Report) -> Found:
    day, model, meter = report.any_cell()
    for row in report.rows(day, model, meter):
        row["quantity"] = row["quantity"] // 1000
    return report.cell(day, model, meter, Cause.QUANTITY_ONLY)


def counted_less(report: Report) -> Found:
    day, model, meter = report.any_cell()
    row = report.rows(day, model, meter)[0]
    less = row["quantity"] // 7 + 11
    report.put_usd(row, report.usd(row) * (row["quantity"] - less) / row["quantity"])
    row["quantity"] -= less
    return report.cell(day, model, meter, Cause.COUNTED)


def other_key(report: Report) -> Found:
    """Calls with a key of the account that did not come through us."""
    day, model, _ = report.any_cell()
    while (day, report.models[model]) == report.spare:
        day, model, _ = report.any_cell()
    return _further_calls(report, day, model, Cause.PAST_US)


def without_a_row(report: Report) -> Found:
    """What was billed of a call that went out and has no row in the ledger."""
    day, ours = report.spare
    model = next(name for name, own in report.models.items() if own == ours)
    return _further_calls(report, day, model, Cause.NOT_BOOKED)


def unknown_model(report: Report) -> Found:
    day, model, _ = report.any_cell()
    for row in report.rows(day, model, processing="online"):
        copy = json.loads(json.dumps(row))
        copy["line_item"] = copy["line_item"].replace(model, "gpt-9-preview")
        copy["quantity"] += 13
        report.add(day, copy)
    return {(day, "gpt-9-preview", meter): Cause.UNKNOWN_MODEL for meter in ("input", "cache_read", "output")}


def renamed_model(report: Report) -> Found:
    day, model, _ = report.any_cell()
    for row in report.rows(day, model):
        row["line_item"] = row["line_item"].replace(model, "gpt-4o-renamed")
    return {
        (day, name, meter): Cause.OTHER_MODEL
        for name in ("gpt-4o-renamed", report.models[model])
        for meter in ("input", "cache_read", "output")
    }


def _further_calls(report: Report, day: date, model: str, cause: str) -> Found:
    for meter in ("input", "output"):
        row = json.loads(json.dumps(report.rows(day, model, meter, processing="online")[0]))
        row["quantity"] = report.rng.randint(5_000, 90_000)
        report.put_usd(row, row["quantity"] * report.prices[model, meter])
        report.add(day, row)
    return {(day, report.models[model], meter): cause for meter in ("input", "output")}


EVERYWHERE: tuple[Fault, ...] = (
    missing_day, missing_line, missing_batch, without_amount, doubled_line, doubled_day, price_changed,
    price_changed_within_the_day, batch_discount_lost, online_at_the_price_of_a_batch, rounded, another_currency,
    converted, negative_line, late_day, project_moved,
)  # fmt: skip
# of a report whose rows have a quantity, and a text for what they are
OPENAI: tuple[Fault, ...] = (
    account_credit, wrong_meter, cache_read_as_input, off_by_one, quantity_in_thousands, counted_less, other_key,
    without_a_row, unknown_model, renamed_model,
)  # fmt: skip


def fault_of(seed: int) -> tuple[str, Fault]:
    """The provider and the fault of a seed: all of them, again and again."""
    faults = [("openai", each) for each in (*EVERYWHERE, *OPENAI)] + [
        ("anthropic", each) for each in EVERYWHERE
    ]
    return faults[seed % len(faults)]
