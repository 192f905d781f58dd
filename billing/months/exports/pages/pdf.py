"""The month as a PDF: the statement of a closed month, or the usage so far of an open one.

Invariant: pure, and bounded: a page shows the first rows of each section and says how many more the files have. The template
(`statement.typ`) gets one JSON object of texts and prints them; it calculates nothing but the lengths of bars.
"""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final
from zoneinfo import ZoneInfo

import orjson
from django.conf import settings

from billing.money import EXACT
from billing.months.amounts import round_to_currency
from billing.months.exports.cells import exact
from billing.months.invoicing import issuer_now
from billing.months.parts import NOTHING, Invoice, Measures, MonthReport, Reconciliation, Section, Terms

TEMPLATE: Final = Path(__file__).with_name("statement.typ")
ROWS_SHOWN: Final = 25
CENTERS_SHOWN: Final = 200
LONGEST_TEXT: Final = 120
REMARK: Final = (
    'The files of the month have every line. "By time" is what happened in the month, as the API counts it; '
    "a statement has what was booked in it."
)
_ON_PAGES: Final = ("tenants", "models", "users", "keys", "features", "projects")


def write_pdf(report: MonthReport, out: BinaryIO) -> None:
    """Write the pages, A4, tagged for screen readers. The same report makes the same bytes."""
    import typst  # noqa: PLC0415 large: only who writes such a file loads it

    logo = Path(settings.ISSUER_LOGO) if settings.ISSUER_LOGO else None
    document = {**_document(report), "logo": logo.name if logo else None}
    pages = typst.compile(  # type: ignore[type-var] # its types want the same of input and fonts
        TEMPLATE.read_bytes(),
        root=str(logo.parent if logo else TEMPLATE.parent),
        sys_inputs={"data": orjson.dumps(document).decode()},
        timestamp=int(report.made_at.timestamp()),
    )
    out.write(pages)


def _document(report: MonthReport) -> dict[str, Any]:
    invoice = report.invoice
    terms = invoice.terms if invoice and invoice.terms else issuer_now()
    return {
        "title": f"Statement {invoice.code}" if invoice else f"Usage of {report.month}",
        "is_statement": invoice is not None,
        "is_closed": report.period_status == "closed",
        "language": "en",
        "issuer": _lines_of(terms.issuer_name, terms.issuer_address, _vat(terms.issuer_vat_id)),
        "billed_to": _lines_of(
            terms.legal_name or report.tenant_name, terms.address, _vat(terms.vat_id), terms.email
        ),
        "facts": _facts(report, terms),
        "due": _due(invoice, terms) if invoice else None,
        "billed": _billed(report),
        "centers": _centers(invoice) if invoice else None,
        "payment": _lines_of(terms.payment_text),
        "days": _days(report),
        "waterfall": _waterfall(report),
        "sections": [_section(section) for section in report.sections if section.name in _on_pages(report)],
        "margins": _margins(report),
        "certainty": _sure(report),
        "reconciliation": _pairs(
            (_spoken(field.name), getattr(report.reconciliation, field.name))
            for field in fields(Reconciliation)
        ),
        "remark": REMARK,
    }


def _on_pages(report: MonthReport) -> tuple[str, ...]:
    """What lacks a tag is shown where there is any."""
    return (*_ON_PAGES, "missing_tags") if report.totals.unallocated_requests else _ON_PAGES


def _facts(report: MonthReport, terms: Terms) -> list[tuple[str, str]]:
    zone = ZoneInfo(report.timezone)
    facts = [
        ("Month", report.month),
        ("From", _moment(report.starts_at, zone)),
        ("Until", _moment(report.ends_at, zone)),
        ("Time zone", report.timezone),
        ("Issued" if report.invoice else "As of", _moment(report.made_at, zone)),
    ]
    if report.invoice and terms.due_on:
        facts.append(("Due", f"{terms.due_on:%Y-%m-%d}"))
    if terms.po_number:
        facts.append(("Your order", short(terms.po_number)))
    if report.invoice and report.invoice.fx_day:
        invoice = report.invoice
        facts.append(("In USD, exactly", f"{exact(report.totals.billed_cost_usd)} USD"))
        facts.append(
            (
                "Rate",
                f"1 USD = {exact(invoice.fx_rate)} {invoice.currency}, {invoice.fx_day}, {short(invoice.fx_source)}",
            )
        )
    return facts


def _billed(report: MonthReport) -> str:
    """What is billed so far, also in the currency in which it will be asked for."""
    billed = report.totals.billed_cost_usd
    if report.rate is None:
        return f"{exact(billed)} USD"
    rate = report.rate
    amount = f"{round_to_currency(EXACT.multiply(billed, rate.rate), rate.currency):f}"
    return f"{exact(billed)} USD, {amount} {rate.currency} at {exact(rate.rate)} of {rate.day}, {short(rate.source)}"


def _due(invoice: Invoice, terms: Terms) -> dict[str, Any]:
    """What is to be paid: net, the tax or why there is none, and both together."""
    rows = [("Net", invoice.total)]
    if terms.vat_percent:
        rows.append((f"VAT {terms.vat_percent:f} %", invoice.tax))
    rows.append(("Total", invoice.payable))
    if invoice.set_off:
        rows += [("Paid ahead", -invoice.set_off), ("Due", invoice.due)]
    return {
        "rows": _pairs(rows),
        "currency": invoice.currency,
        "note": short(terms.tax_note),
    }


def _centers(invoice: Invoice) -> dict[str, Any]:
    owed = list(invoice.owed.items())
    shown = owed[:CENTERS_SHOWN]
    return {
        "rows": [
            (short(name) or "No cost centre", text)
            for (name, _), text in zip(shown, column([amount for _, amount in shown]), strict=True)
        ],
        "more": _more(len(owed) - len(shown)),
    }


def _days(report: MonthReport) -> list[dict[str, Any]]:
    """Every day of the month; corrections of earlier months have days of their own before it."""
    groups = (group for section in report.sections if section.name == "days" for group in section.groups)
    spent = {group.labels[0]: group.measures.billed_cost_usd for group in groups}
    first, last = (
        moment.astimezone(ZoneInfo(report.timezone)).date() for moment in (report.starts_at, report.ends_at)
    )
    days = [str(first + timedelta(days=number)) for number in range((last - first).days)]
    return _bars((day, spent.get(day, NOTHING)) for day in days) if spent else []


def _waterfall(report: MonthReport) -> list[dict[str, Any]]:
    """The list price, what each step takes off it with a minus, and what is paid."""
    first, *steps, last = report.waterfall
    taken = ((_spoken(step.name), -step.amount_usd) for step in steps)
    return _bars([("List price", first.amount_usd), *taken, ("Paid", last.amount_usd)])


def _bars(amounts: Iterable[tuple[str, Decimal]]) -> list[dict[str, Any]]:
    """Names with amounts, and each as a share of the largest; the length of a bar needs no exact figure."""
    rows = list(amounts)
    largest = max((abs(amount) for _, amount in rows), default=NOTHING) or Decimal(1)
    texts = column([amount for _, amount in rows])
    return [
        {"name": name, "text": text, "share": round(float(amount / largest), 4)}
        for (name, amount), text in zip(rows, texts, strict=True)
    ]


def _section(section: Section) -> dict[str, Any]:
    shown = list(islice(section.groups, ROWS_SHOWN))
    counts = [
        [group.measures.requests, group.measures.cache_hits, _tokens(group.measures)] for group in shown
    ]
    saved = column([group.measures.saved_usd for group in shown])
    billed = column([group.measures.billed_cost_usd for group in shown])
    return {
        "title": section.title,
        "labels": [_spoken(name) for name in section.dimensions],
        "figures": ["Requests", "Cached", "Tokens", "Saved, USD", "Billed, USD"],
        "rows": [
            [*(short(label) or "–" for label in group.labels), *(f"{one:,}" for one in its), less, paid]
            for group, its, less, paid in zip(shown, counts, saved, billed, strict=True)
        ],
        "more": _more(len(section.groups) - len(shown)),
    }


def _margins(report: MonthReport) -> dict[str, Any] | None:
    """The margin by tenant and model, as far as it fits; the files have all of it."""
    if not report.tenants:
        return None
    shown = report.margins[:ROWS_SHOWN]
    amounts = [
        column([getattr(one, name) for one in shown])
        for name in ("billed_usd", "provider_cost_usd", "margin_usd")
    ]
    return {
        "title": "Margin",
        "labels": ["Tenant", "Provider", "Model"],
        "figures": ["Billed, USD", "Provider's cost, USD", "Margin, USD"],
        "rows": [
            [short(one.tenant), short(one.provider) or "–", short(one.model) or "–", *texts]
            for one, *texts in zip(shown, *amounts, strict=True)
        ],
        "more": _more(len(report.margins) - len(shown)),
    }


def _tokens(measures: Measures) -> int:
    read = measures.input_tokens + measures.cache_read_tokens + measures.cache_write_tokens
    return read + measures.output_tokens


def _sure(report: MonthReport) -> list[list[str]]:
    amounts = [
        column([getattr(sure, name) for sure in report.certainty])
        for name in ("amount_usd", "least_usd", "most_usd")
    ]
    return [
        [_spoken(sure.certainty), f"{sure.records:,}", *texts]
        for sure, *texts in zip(report.certainty, *amounts, strict=True)
    ]


def _pairs(amounts: Iterable[tuple[str, Decimal]]) -> list[tuple[str, str]]:
    rows = list(amounts)
    return list(zip((name for name, _ in rows), column([amount for _, amount in rows]), strict=True))


def column(amounts: Sequence[Decimal]) -> list[str]:
    """Amounts in full, with one number of places: as many as the finest of them has, and at least two."""
    places = max((len(exact(amount).partition(".")[2]) for amount in amounts), default=2)
    # a real minus sign, and none before zero
    return [f"{amount or NOTHING:,.{places}f}".replace("-", "−") for amount in amounts]


def _moment(moment: datetime, zone: ZoneInfo) -> str:
    return moment.astimezone(zone).strftime("%Y-%m-%d %H:%M")


def _spoken(name: str) -> str:
    words = name.removesuffix("_usd").replace("_", " ").replace("api key", "API key")
    return words[:1].upper() + words[1:]


def _vat(number: str) -> str:
    return f"VAT ID {number}" if number else ""


def _lines_of(*texts: str) -> list[str]:
    return [short(line.strip()) for text in texts for line in text.splitlines() if line.strip()]


def short(text: str) -> str:
    """What fits on a line; the files have it whole."""
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"


def _more(hidden: int) -> str:
    return f"And {hidden:,} more, in the files." if hidden > 0 else ""
