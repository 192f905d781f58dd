"""Reads the providers' own cost reports: the pages of their APIs, and the files their consoles export.

Invariant: pure and exact. OpenAI reports dollars as a JSON number, Anthropic cents as a decimal string; a number
must be parsed as Decimal (`parse_json`), never as a float. Days are UTC. What cannot be read is InvalidReport,
never skipped.
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from billing.reconciliation import line_items
from billing.reconciliation.line_items import LineItem

CENTS = Decimal(100)
MOST_PLACES = 28  # the table keeps two more, for cents; a float's shortest text has fewer
ANTHROPIC_USAGE = {
    "uncached_input_tokens": "input",
    "cache_read_input_tokens": "cache_read",
    "output_tokens": "output",
}
ANTHROPIC_WRITES = {
    "ephemeral_5m_input_tokens": "cache_write_5m",
    "ephemeral_1h_input_tokens": "cache_write_1h",
}


class InvalidReport(ValueError):
    """A cost report does not look like the provider's."""


@dataclass(frozen=True, slots=True)
class ReportLine:
    """One line of a report. `amount_usd` is exact; `quantity` is None where the report has none."""

    day: date
    line_item: str
    item: LineItem
    amount_usd: Decimal
    quantity: Decimal | None = None
    project: str = ""


@dataclass(frozen=True, slots=True)
class ProviderReport:
    """What a provider says of some days, those without a line included."""

    days: frozenset[date]
    lines: tuple[ReportLine, ...]
    elsewhere: tuple[ReportLine, ...] = ()  # what it says of other projects

    def of_projects(self, projects: Iterable[str]) -> "ProviderReport":
        """The lines of these projects or workspaces, the others set apart; all of them when none is named."""
        wanted = frozenset(projects)
        if not wanted:
            return self
        own = tuple(line for line in self.lines if line.project in wanted)
        return ProviderReport(
            self.days, own, tuple(line for line in self.lines if line.project not in wanted)
        )


@dataclass(frozen=True, slots=True)
class ReportFormat:
    """How one provider writes its cost reports: the rows of its API's pages, and those of its console's CSV export, which
    is known by its `columns`."""

    name: str
    lines: Callable[[date, Mapping[str, Any]], list[ReportLine]]
    columns: frozenset[str]
    csv_row: Callable[[Mapping[str, str]], tuple[date, list[ReportLine]]]


def parse_json(text: str | bytes) -> Any:
    """JSON with exact numbers."""
    return json.loads(text, parse_float=Decimal)


def openai_amount_usd(row: Mapping[str, Any]) -> Decimal:
    """The dollars of a row of `/organization/costs`."""
    amount = row["amount"]
    return _exact(amount["value"], amount.get("currency"))


def anthropic_amount_usd(row: Mapping[str, Any]) -> Decimal:
    """The dollars of a row of `/organizations/cost_report`, which reports cents."""
    return _exact(row["amount"], row.get("currency")) / CENTS


def read_pages(written: ReportFormat, pages: Sequence[Any]) -> ProviderReport:
    """The pages of a provider's API, in any order: costs, and Anthropic's usage for the quantities."""
    days: set[date] = set()
    lines: list[ReportLine] = []
    try:
        for page in pages:
            for bucket in page["data"]:
                day = _bucket_day(bucket)
                days.add(day)
                for row in bucket["results"]:
                    lines += written.lines(day, row)
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidReport(f"this is no cost report of {written.name}: {error}") from None
    return ProviderReport(frozenset(days), tuple(lines))


def read_file(written: ReportFormat, content: bytes) -> ProviderReport:
    """A report as a file: a page of the API, a list of pages, or the CSV that the provider's console exports."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidReport("the file is not UTF-8 text") from None
    if text.lstrip()[:1] in ("{", "["):
        try:
            pages = parse_json(text)
        except ValueError as error:
            raise InvalidReport(f"the file is no JSON: {error}") from None
        report = read_pages(written, pages if isinstance(pages, list) else [pages])
        if any(line.quantity for line in report.lines) and not any(line.amount_usd for line in report.lines):
            raise InvalidReport(
                "the file has tokens and no costs: put the pages of both reports into one list"
            )
        return report
    return _read_csv(written, text)


def _openai_lines(day: date, row: Mapping[str, Any]) -> list[ReportLine]:
    line_item = row.get("line_item") or ""
    item = line_items.openai_item(line_item)
    quantity = _quantity(row.get("quantity"))
    unit = str(row.get("quantity_unit") or "")
    if "token" in item.unit and unit and "token" not in unit:
        quantity = None  # of something else than what we count
    return [
        ReportLine(day, line_item, item, openai_amount_usd(row), quantity, str(row.get("project_id") or ""))
    ]


def _anthropic_lines(day: date, row: Mapping[str, Any]) -> list[ReportLine]:
    project = str(row.get("workspace_id") or "")
    if "amount" not in row:
        return _anthropic_usage(day, row, project)
    item = line_items.anthropic_item(
        model=row.get("model") or "",
        token_type=row.get("token_type") or "",
        cost_type=row.get("cost_type") or "",
        service_tier=row.get("service_tier") or "",
    )
    described = (row.get("description") or "", row.get("service_tier"), row.get("context_window"))
    line_item = ", ".join(str(part) for part in described if part)
    return [ReportLine(day, line_item, item, anthropic_amount_usd(row), None, project)]


def _anthropic_usage(day: date, row: Mapping[str, Any], project: str) -> list[ReportLine]:
    """A row of the usage report, which has the tokens that the cost report lacks."""
    model, tier = str(row.get("model") or ""), str(row.get("service_tier") or "")
    counts = {meter: row[name] for name, meter in ANTHROPIC_USAGE.items()}
    writes = row.get("cache_creation") or {}
    counts |= {meter: writes.get(name) for name, meter in ANTHROPIC_WRITES.items()}
    counts["web_search"] = (row.get("server_tool_use") or {}).get("web_search_requests")
    return [
        ReportLine(
            day,
            f"{model} tokens, {meter}",
            line_items.usage_item(model=model, meter=meter, service_tier=tier),
            Decimal(0),
            _quantity(count),
            project,
        )
        for meter, count in counts.items()
        if count
    ]


def _read_csv(written: ReportFormat, text: str) -> ProviderReport:
    reader = csv.DictReader(io.StringIO(text), dialect=_dialect(text))
    columns = {name.strip() for name in reader.fieldnames or ()}
    if not written.columns <= columns:
        raise InvalidReport(f"the file's columns are not those of a cost export of {written.name}")
    days: set[date] = set()
    lines: list[ReportLine] = []
    for number, row in enumerate(reader, 2):
        values = {name.strip(): (value or "").strip() for name, value in row.items() if isinstance(name, str)}
        try:
            day, line = written.csv_row(values)
        except (ValueError, KeyError) as error:
            raise InvalidReport(f"line {number}: {error}") from None
        days.add(day)
        lines += line
    if not days:
        raise InvalidReport("the file has no line")
    span = (max(days) - min(days)).days + 1  # an export skips days without costs
    return ProviderReport(frozenset(min(days) + timedelta(days=n) for n in range(span)), tuple(lines))


def _dialect(text: str) -> type[csv.Dialect]:
    return csv.excel_tab if "\t" in text.partition("\n")[0] else csv.excel


def _openai_csv_row(row: Mapping[str, str]) -> tuple[date, list[ReportLine]]:
    day = _moment(row.get("start_time") or row["start_time_iso"]).date()
    if not row["amount_value"]:  # a day without costs
        return day, []
    line_item = row.get("line_item", "")
    amount = _exact(row["amount_value"], row.get("amount_currency"))
    quantity = _quantity(row.get("quantity") or None)
    item = line_items.openai_item(line_item)
    return day, [ReportLine(day, line_item, item, amount, quantity, row.get("project_id", ""))]


def _anthropic_csv_row(row: Mapping[str, str]) -> tuple[date, list[ReportLine]]:
    day = date.fromisoformat(row["usage_date_utc"])
    item = line_items.anthropic_item(
        model=row["model"],
        token_type=row.get("token_type", ""),
        cost_type=row.get("cost_type", ""),
        service_tier=row.get("usage_type", ""),
    )
    described = (row["model"], row.get("usage_type"), row.get("token_type"), row.get("context_window"))
    line_item = ", ".join(part for part in described if part)
    return day, [
        ReportLine(day, line_item, item, _exact(row["cost_usd"], "usd"), None, row.get("workspace", ""))
    ]


def _bucket_day(bucket: Mapping[str, Any]) -> date:
    """The UTC day of a bucket; one that is no whole day is refused."""
    starts = _moment(bucket["start_time"] if "start_time" in bucket else bucket["starting_at"])
    ends = _moment(bucket["end_time"] if "end_time" in bucket else bucket["ending_at"])
    if starts.time() != datetime.min.time() or ends - starts != timedelta(days=1):
        raise InvalidReport(f"a bucket from {starts} to {ends} is no UTC day")
    return starts.date()


def _moment(value: object) -> datetime:
    try:
        text = str(value)
        if text.isdigit():
            return datetime.fromtimestamp(int(text), UTC)
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        raise InvalidReport(f"{value!r} is no time") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _quantity(value: object) -> Decimal | None:
    return None if value is None else _decimal(value)


def _exact(value: object, currency: object) -> Decimal:
    if str(currency or "usd").lower() != "usd":
        raise InvalidReport(f"the report is in {currency}, not in USD")
    return _decimal(value)


def _decimal(value: object) -> Decimal:
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        raise InvalidReport(f"{value!r} is no amount") from None
    if not amount.is_finite() or isinstance(value, bool):
        raise InvalidReport(f"{value!r} is no amount")
    exponent = amount.as_tuple().exponent
    if (isinstance(exponent, int) and -exponent > MOST_PLACES) or abs(amount) >= 10**18:
        raise InvalidReport(f"{value!r} is not an amount")
    return amount


OPENAI: Final = ReportFormat("openai", _openai_lines, frozenset({"amount_value"}), _openai_csv_row)
ANTHROPIC: Final = ReportFormat(
    "anthropic", _anthropic_lines, frozenset({"usage_date_utc", "cost_usd"}), _anthropic_csv_row
)
