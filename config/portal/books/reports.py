"""The report of a month that still runs: on a page, and in the formats that closed months get.

Invariant: a file is built by `billing.months`, from one state of the ledger, and is sent only if it balances. A closed month is
never built anew: its files are its statement's. One file of a tenant is built at one time, within the time that a page has.
"""

from typing import Any, Final

from django.contrib import messages
from django.db import OperationalError, connection, transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from psycopg.errors import QueryCanceled

from billing.admin.reports import download, tables_of
from billing.models import Statement
from billing.months.exports import FORMATS, STORED
from billing.months.overview import month_overview
from billing.months.report import InvalidMonth, month_report
from config.portal.access import Visitor, page
from config.portal.layout import address, show
from tenants.people.rights import Right

MINE: Final = "SELECT pg_try_advisory_xact_lock(hashtextextended('portal_month_report', %s::bigint))"
AT_WORK: Final = "A file of this tenant's months is being made already. Try again when it is there."
TOO_LARGE: Final = (
    "The month has too many rows for a file at once. Close it for its files, or ask an operator for one."
)


@page(Right.SEE, is_report=True)
def show_month(request: HttpRequest, visitor: Visitor, month: str) -> HttpResponse:
    """`/portal/t/<slug>/months/2026-11/`."""
    try:
        overview = month_overview(visitor.tenant, month=month)
    except InvalidMonth as error:
        raise Http404(str(error)) from error
    statement = _statement(visitor, month)
    context = {
        **tables_of(overview),
        "overview": overview,
        "statement": statement,
        "files": [] if statement else _files(visitor, month),
    }
    return show(request, visitor, "month.html", context, title=f"Month {month}")


@page(Right.SEE, is_report=True)
def month_file(request: HttpRequest, visitor: Visitor, month: str, format_name: str) -> HttpResponse:
    """The month so far as a file."""
    if format_name not in STORED:
        raise Http404(f"no format is called {format_name!r}")
    if statement := _statement(visitor, month):
        return redirect(address(visitor, "statement", number=statement.number))
    try:
        return _file(visitor, month, format_name)
    except InvalidMonth as error:
        raise Http404(str(error)) from error
    except _NotNow as why:
        messages.warning(request, str(why))
        return redirect(address(visitor, "month", month=month))


class _NotNow(Exception):
    """Why there is no file at this moment."""


def _file(visitor: Visitor, month: str, format_name: str) -> HttpResponse:
    with connection.cursor() as cursor:
        cursor.execute(MINE, [visitor.tenant.pk])
        if not cursor.fetchone()[0]:
            raise _NotNow(AT_WORK)
    try:
        with transaction.atomic():  # a statement that took too long ends this part only
            return download(month_report(visitor.tenant, month=month), format_name)
    except OperationalError as error:
        if not isinstance(error.__cause__, QueryCanceled):
            raise
        raise _NotNow(TOO_LARGE) from error


def _statement(visitor: Visitor, month: str) -> Statement | None:
    return Statement.objects.filter(tenant=visitor.tenant, period__label=month).first()


def _files(visitor: Visitor, month: str) -> list[dict[str, Any]]:
    return [
        {"label": FORMATS[name].label, "url": address(visitor, "month_file", month=month, format_name=name)}
        for name in STORED
    ]
