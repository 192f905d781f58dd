"""The report of a month that still runs: on a page, and in the formats that closed months get.

Invariant: a page makes no file: it asks for one, which is made in the background, from one state of the ledger, and only if it
balances. A closed month is never built anew: its files are its statement's.
"""

from decimal import Decimal
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect

from billing.admin.months.reports import tables_of
from billing.models import MonthFile, Statement
from billing.months.exports import FORMATS, STORED
from billing.months.jobs.asking import OPEN, TooManyJobs, ask_report, jobs_of
from billing.months.overview import month_overview
from billing.months.report import InvalidMonth, month_bounds
from billing.months.sending import sent_content
from config.portal.access import Visitor, page
from config.portal.layout import address, show
from config.site import cells
from tenants.people.rights import Right


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
        "files": None if statement else _files(visitor, month),
    }
    return show(request, visitor, "month.html", context, title=f"Month {month}")


@page(Right.SEE)
def month_file(request: HttpRequest, visitor: Visitor, month: str, format_name: str) -> HttpResponseBase:
    """The newest file of the month so far; asked by POST, have one made."""
    if format_name not in STORED:
        raise Http404(f"no format is called {format_name!r}")
    try:
        month_bounds(month, "UTC")
    except InvalidMonth as error:
        raise Http404(str(error)) from error
    if statement := _statement(visitor, month):
        return redirect(address(visitor, "statement", number=statement.number))
    if request.method == "POST":
        _ask(request, visitor, month, format_name)
    elif file := _newest(visitor, month).get(format_name):
        return sent_content(
            visitor.tenant.pk,
            file.location,
            name=file.name,
            content_type=file.content_type,
            size=file.size_bytes,
        )
    return redirect(address(visitor, "month", month=month))


def _ask(request: HttpRequest, visitor: Visitor, month: str, format_name: str) -> None:
    try:
        ask_report(visitor.tenant, month=month, formats=[format_name], acting_user=visitor.user)
    except TooManyJobs as error:
        messages.warning(request, str(error))


def _statement(visitor: Visitor, month: str) -> Statement | None:
    return Statement.objects.filter(tenant=visitor.tenant, period__label=month).first()


def _newest(visitor: Visitor, month: str) -> dict[str, MonthFile]:
    """The newest file of each format."""
    files = MonthFile.objects.filter(tenant=visitor.tenant, job__month=month).select_related("job")
    return {file.format: file for file in files.order_by("job__created_at")}


def _files(visitor: Visitor, month: str) -> dict[str, Any]:
    """The formats, each with its newest file, and whether some are being made."""
    made, jobs = _newest(visitor, month), jobs_of(visitor.tenant, month=month).filter(state__in=OPEN)
    running = jobs.first()
    rows = [
        {
            "label": FORMATS[name].label,
            "url": address(visitor, "month_file", month=month, format_name=name),
            "file": made.get(name),
            "is_on_its_way": running is not None and name in running.formats,
        }
        for name in STORED
    ]
    share = 100 * running.done // running.total if running and running.total else 0
    return {
        "rows": rows,
        "running": running,
        "percent": share,
        "bar": cells.progress(Decimal(share), label="of the lines are written", is_limit=False),
    }
