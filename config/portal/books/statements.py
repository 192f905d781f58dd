"""Months and statements: the bills of closed months with their files, and the months that are open.

Invariant: a file is sent byte for byte as it was handed out when the month was closed. Only the visitor's tenant has statements
here.
"""

import json
from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404

from billing.admin.figures import sure_table
from billing.admin.statements import facts_file
from billing.models import BillingPeriod, Certificate, Statement, StatementFile
from billing.months.certificates.wording import headline
from billing.months.invoicing import stored_terms
from billing.months.sending import sent
from billing.months.statements import how_sure
from config.portal.access import Visitor, page
from config.portal.layout import address, show
from config.site import cells
from tenants.people.rights import Right

MOST_MONTHS: Final = 60
MOST_LINES: Final = 100


@page(Right.SEE)
def list_months(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """The months, newest first, each with its statement where it is closed."""
    periods = BillingPeriod.objects.filter(tenant=visitor.tenant).order_by("-starts_at")
    statements = {
        one.period_id: one
        for one in Statement.objects.filter(tenant=visitor.tenant).order_by("-number")[:MOST_MONTHS]
    }
    rows = [_month(visitor, period, statements.get(period.pk)) for period in periods[:MOST_MONTHS]]
    table = {
        "headers": ["Month", "State", "Statement", "Total", "Closed", "By cost centre"],
        "rows": rows,
        "empty": "No month yet: the first begins with the first call.",
    }
    return show(request, visitor, "months.html", {"months": table}, title="Months and statements")


@page(Right.SEE)
def show_statement(request: HttpRequest, visitor: Visitor, number: int) -> HttpResponse:
    """One statement: its sums, files and lines."""
    statement = _find(visitor, number)
    files = statement.files.defer("content").order_by("format")
    lines = list(statement.lines.order_by("line_no")[: MOST_LINES + 1])
    rows = [
        [
            line.line_no,
            line.category,
            line.cost_center or cells.NOTHING,
            line.user_id or cells.NOTHING,
            line.model or line.text or cells.NOTHING,
            line.meter.replace("_", " ") or cells.NOTHING,
            line.quantity,
            line.amount,
        ]
        for line in lines[:MOST_LINES]
    ]
    heads = [
        "No",
        "Category",
        "Cost centre",
        "User",
        "Model or text",
        "Meter",
        "Quantity",
        f"Amount, {statement.currency}",
    ]
    context = {
        "facts": _facts(visitor, statement),
        "sure": sure_table(how_sure(statement)),
        "files": [
            {"name": file.name, "url": address(visitor, "statement_file", number=number, file_id=file.pk)}
            for file in files
        ]
        + [{"name": f"{statement.code}.json", "url": address(visitor, "statement_facts", number=number)}],
        "lines": {
            "headers": heads,
            "rows": rows,
            "more": "All lines are in the files." if len(lines) > MOST_LINES else "",
        },
    }
    return show(request, visitor, "statement.html", context, title=f"Statement {statement.code}")


@page(Right.SEE)
def statement_file(request: HttpRequest, visitor: Visitor, number: int, file_id: int) -> HttpResponseBase:
    """A file of a statement."""
    return sent(get_object_or_404(StatementFile, pk=file_id, statement=_find(visitor, number)))


@page(Right.SEE)
def statement_facts(request: HttpRequest, visitor: Visitor, number: int) -> HttpResponse:
    """What a receipt is checked against."""
    return facts_file(_find(visitor, number))


def _find(visitor: Visitor, number: int) -> Statement:
    return get_object_or_404(Statement.objects.select_related("period"), tenant=visitor.tenant, number=number)


def _month(visitor: Visitor, period: BillingPeriod, statement: Statement | None) -> list[Any]:
    return [
        cells.link(address(visitor, "month", month=period.label), period.label),
        period.status,
        cells.link(address(visitor, "statement", number=statement.number), statement.code)
        if statement
        else cells.NOTHING,
        f"{statement.total:,.2f} {statement.currency}" if statement else cells.NOTHING,
        cells.moment(period.closed_at, zone=visitor.tenant.timezone) if period.closed_at else cells.NOTHING,
        cells.link(address(visitor, "chargebacks", label=period.label), "Chargebacks"),
    ]


def _facts(visitor: Visitor, statement: Statement) -> list[tuple[str, Any]]:
    terms = stored_terms(statement.terms)
    set_off = terms.set_off if terms else 0
    due = statement.total + statement.tax - set_off
    paid = [
        ("Paid ahead", f"{set_off:,.2f} {statement.currency}"),
        ("Due, with tax", f"{due:,.2f} {statement.currency}"),
    ]
    return [
        ("Month", f"{statement.period.label}, {statement.timezone}"),
        ("Total", f"{statement.total:,.2f} {statement.currency}"),
        *(paid if set_off else []),
        ("Exactly", f"{statement.exact_usd.normalize():,f} USD"),
        ("Requests", f"{statement.request_count:,}"),
        ("Issued", cells.moment(statement.issued_at, zone=visitor.tenant.timezone)),
        ("Digest", statement.digest),
        *((("Certificate", headline(certified)),) if (certified := _certified(statement)) else ()),
    ]


def _certified(statement: Statement) -> dict[str, Any]:
    """What its certificate claims; nothing of a statement that is older than certificates."""
    certificate = Certificate.objects.filter(statement=statement, tenant=statement.tenant_id).first()
    claims: dict[str, Any] = json.loads(certificate.text)["claims"] if certificate else {}
    return claims
