"""The pages of the accounts of a general ledger, and of a month's journal for it."""

from typing import Any, Final

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.contrib.filters.admin import ChoicesCheckboxFilter
from unfold.decorators import action

from billing.contracts.currencies import NoRate
from billing.journal.entries import JournalLine, NoAccount, file_name, journal_csv, journal_of
from billing.models import BillingPeriod, GlAccount
from tenants.admin.access import HistoryPages, OperatorAdmin, tenants_of
from tenants.admin.choices import SeenRowsFilter
from tenants.people.rights import Right

LINES_SHOWN: Final = 200
MONTHS_SHOWN: Final = 36
TENANTS_SHOWN: Final = 500


def journal_page(request: HttpRequest, model_admin: Any) -> HttpResponse:
    """Show the journal of a tenant's month, or with `format=csv` send it as a file."""
    tenants = tenants_of(request)
    slug, month = request.GET.get("tenant", ""), request.GET.get("month", "")
    tenant = get_object_or_404(tenants, slug=slug) if slug else tenants.order_by("slug").first()
    if tenant is None:
        raise Http404
    months = list(
        BillingPeriod.objects.filter(tenant=tenant)
        .order_by("-label")
        .values_list("label", flat=True)[:MONTHS_SHOWN]
    )
    month = month or next(iter(months), "")
    context = {
        **admin.site.each_context(request),
        "title": "Journal",
        "tenant": tenant,
        "tenants": tenants.order_by("slug")[:TENANTS_SHOWN],
        "month": month,
        "months": months,
    }
    try:
        lines = journal_of(tenant, month=month) if month else []
    except BillingPeriod.DoesNotExist:
        raise Http404(f"{month} is no month of {tenant}") from None
    except (NoAccount, NoRate) as error:
        return TemplateResponse(request, "admin/journal.html", {**context, "problem": str(error)})
    if request.GET.get("format") == "csv":
        response = HttpResponse(journal_csv(lines), content_type="text/csv; charset=utf-8")
        response["Content-Disposition"] = f'attachment; filename="{file_name(tenant, month)}"'
        response["Cache-Control"] = "no-store"
        return response
    return TemplateResponse(
        request, "admin/journal.html", {**context, "shown": _table(lines), "sums": _sums(lines)}
    )


def _table(lines: list[JournalLine]) -> dict[str, Any]:
    rows = [
        [line.date, line.account, line.cost_center or "–", line.debit or None, line.credit or None, line.currency, line.memo,
         line.reference]
        for line in lines[:LINES_SHOWN]
    ]  # fmt: skip
    headers = ["Date", "Account", "Cost centre", "Debit", "Credit", "Currency", "Memo", "Reference"]
    return {"headers": headers, "rows": rows, "empty": "Nothing is booked in this month."}


def _sums(lines: list[JournalLine]) -> str:
    debit, credit = sum(line.debit for line in lines), sum(line.credit for line in lines)
    currency = lines[0].currency if lines else ""
    more = (
        f" The first {LINES_SHOWN} lines are shown; all are in the file." if len(lines) > LINES_SHOWN else ""
    )
    return f"{len(lines):,} lines; debits {debit:,f} {currency}, credits {credit:,f} {currency}.{more}"


@admin.register(GlAccount)
class GlAccountAdmin(HistoryPages, OperatorAdmin):
    """Accounts by what is booked to them; the closest one counts."""

    list_display = ("kind", "code", "name", "tenant", "cost_center")
    list_filter = (("kind", ChoicesCheckboxFilter), ("tenant", SeenRowsFilter))
    list_select_related = ("tenant",)
    search_fields = ("code", "name", "cost_center")
    autocomplete_fields = ("tenant",)
    fieldsets = ((None, {"fields": (("kind", "code", "name"), ("tenant", "cost_center"))}),)
    custom_urls = (("journal/", "billing_journal", journal_page),)
    actions_list = ("open_journal",)

    changed_with = Right.BOOK

    @action(description="Journal", icon="menu_book")
    def open_journal(self, request: HttpRequest) -> HttpResponse:
        return HttpResponseRedirect(reverse("admin:billing_journal"))
