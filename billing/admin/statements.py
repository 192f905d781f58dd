"""Pages of what finance closes on: statements and their files, and re-ratings.

Invariant: statements are written once, by the domain functions; nothing here edits them.
"""

from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import Sum
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesCheckboxFilter, RangeDateTimeFilter
from unfold.decorators import action, display
from unfold.forms import BaseDialogForm

from billing.admin.figures import plain, sure_table
from billing.admin.months.certificates import annex_file, certificate_page
from billing.admin.restated import ProposeForm, propose, restated_page
from billing.models import Rerating, Statement, StatementFile
from billing.months.invoicing import stored_terms
from billing.months.sending import sent
from billing.months.statements import as_issued, how_sure
from billing.rerating.proposals import StaleProposal, approve_rerating, reject_rerating
from config.site import cells
from config.site.cells import NOTHING
from tenants.admin.access import ReadOnlyAdmin
from tenants.admin.choices import SeenRowsFilter
from tenants.admin.columns import figure_column
from tenants.admin.dialogs import dialog_action
from tenants.people.rights import Right

ROWS_SHOWN = 50


def statement_file(request: HttpRequest, model_admin: Any, file_id: int) -> HttpResponseBase:
    """Send a file of a statement, byte for byte as it was handed out."""
    file = StatementFile.objects.select_related("statement").filter(pk=file_id).first()
    if file is None or model_admin.get_object(request, str(file.statement_id)) is None:
        raise Http404
    return sent(file)


def statement_facts(request: HttpRequest, model_admin: Any, statement_id: int) -> HttpResponse:
    """Send what a receipt is checked against."""
    statement = model_admin.get_object(request, str(statement_id))
    if statement is None:
        raise Http404
    return facts_file(statement)


def facts_file(statement: Statement) -> HttpResponse:
    """The file that `verify.py` checks a receipt against."""
    response = JsonResponse(as_issued(statement), json_dumps_params={"indent": 1})
    response["Content-Disposition"] = f'attachment; filename="{statement.code}.json"'
    return response


@admin.register(Statement)
class StatementAdmin(ReadOnlyAdmin):
    """The bills of closed months, with their files and digests."""

    list_display = ("code", "tenant", "period_label", "shown_total", "record_count", "issued_at", "issued_by")
    list_filter = (("tenant", SeenRowsFilter), ("issued_at", RangeDateTimeFilter))
    list_select_related = ("tenant", "period", "issued_by")
    search_fields = ("code", "tenant__slug", "digest")
    custom_urls = (
        ("file/<int:file_id>/", "billing_statement_file", statement_file),
        ("<int:statement_id>/facts/", "billing_statement_facts", statement_facts),
        ("<int:statement_id>/certificate/", "billing_statement_certificate", certificate_page),
        ("<int:statement_id>/certificate/annex/", "billing_statement_annex", annex_file),
        ("<int:statement_id>/restated/", "billing_statement_restated", restated_page),
    )
    actions_detail = ("open_certificate", "open_restated", "open_journal")
    operated_with = Right.CLOSE
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("code", "tenant"),
                    ("period", "number"),
                    ("issuer", "serial"),
                    ("issued_at", "issued_by"),
                    "files",
                )
            },
        ),
        (
            "Money",
            {
                "fields": (
                    ("total", "tax"),
                    ("payable", "currency"),
                    ("exact_usd", "rounding"),
                    ("record_count", "request_count"),
                    "fx_rate",
                    "owed",
                    "how_sure",
                )
            },
        ),
        ("Billed to", {"fields": ("billed_to",)}),
        ("Lines", {"fields": ("lines",)}),
        (
            "Proof",
            {
                "fields": (
                    "proof",
                    "digest",
                    "previous_digest",
                    "content_digest",
                    "certificate",
                    "forced_reason",
                )
            },
        ),
    )
    readonly_fields = ("files", "proof", "payable", "billed_to", "owed", "how_sure", "lines")

    @action(description="Certificate", icon="verified")
    def open_certificate(self, request: HttpRequest, object_id: int) -> HttpResponse:
        return redirect("admin:billing_statement_certificate", statement_id=object_id)

    @action(description="Restated", icon="history")
    def open_restated(self, request: HttpRequest, object_id: int) -> HttpResponse:
        return redirect("admin:billing_statement_restated", statement_id=object_id)

    @display(description="Month", ordering="period__label")
    def period_label(self, statement: Statement) -> str:
        return statement.period.label

    @action(description="Journal", icon="menu_book")
    def open_journal(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Lead to the month's entries for a general ledger."""
        statement = get_object_or_404(
            self.get_queryset(request).select_related("tenant", "period"), pk=object_id
        )
        query = urlencode({"tenant": statement.tenant.slug, "month": statement.period.label})
        return redirect(f"{reverse('admin:billing_journal')}?{query}")

    @figure_column("Total", ordering="total")
    def shown_total(self, statement: Statement) -> str:
        return f"{statement.total:,.2f} {statement.currency}"

    @display(description="Files")
    def files(self, statement: Statement) -> SafeString:
        files = statement.files.defer("content").order_by("format")
        links = ((reverse("admin:billing_statement_file", args=(file.pk,)), file.name) for file in files)
        return format_html_join(" · ", '<a href="{}" class="text-link">{}</a>', links)

    @display(description="Receipts lead to it")
    def proof(self, statement: Statement) -> SafeString:
        """The file that `verify.py` checks a receipt against, and the program."""
        rows = statement.receipts.get("rows")
        said = f"{rows:,} rows of the ledger" if rows else "no row of the ledger has a proof"
        link = cells.link(
            reverse("admin:billing_statement_facts", args=(statement.pk,)), f"{statement.code}.json"
        )
        return format_html("{}: {}", said, link)

    @display(description="Payable")
    def payable(self, statement: Statement) -> str:
        terms, payable = stored_terms(statement.terms), statement.total + statement.tax
        said = f"{plain(payable)} {statement.currency}"
        if terms is None or not terms.set_off:
            return said
        due = plain(payable - terms.set_off)
        return f"{said}, of which {plain(terms.set_off)} was paid ahead: {due} {statement.currency} is due"

    @display(description="As issued")
    def billed_to(self, statement: Statement) -> SafeString | str:
        """Name and address, tax, order number and day of payment, as the statement keeps them."""
        rows = [[name.replace("_", " ").capitalize(), text] for name, text in statement.terms.items()]
        table = {"headers": ["What", "As it was"], "rows": rows}
        return render_to_string("admin/table.html", {"table": table}) if rows else NOTHING

    @display(description="By cost centre")
    def owed(self, statement: Statement) -> SafeString:
        """What each cost centre owes, the largest first: whole minor units that make the total."""
        centers = statement.lines.order_by().values("cost_center")
        sums = centers.annotate(exact=Sum("exact_usd"), owed=Sum("amount")).order_by("-owed", "cost_center")
        rows = [[row["cost_center"] or NOTHING, row["exact"], row["owed"]] for row in sums[:ROWS_SHOWN]]
        headers = ["Cost centre", "Exactly, USD", f"Owed, {statement.currency}"]
        return render_to_string("admin/table.html", {"table": {"headers": headers, "rows": rows}})

    @display(description="How sure it was")
    def how_sure(self, statement: Statement) -> SafeString | str:
        known = how_sure(statement)
        return render_to_string("admin/table.html", {"table": sure_table(known)}) if known else NOTHING

    @display(description="Lines")
    def lines(self, statement: Statement) -> SafeString:
        rows = [
            [line.line_no, format_html('<span class="whitespace-nowrap">{}</span>', line.category),
             line.cost_center or "–", line.user_id or "–", line.model or line.text or "–",
             line.meter.replace("_", " ") or "–", line.quantity, line.amount]
            for line in statement.lines.order_by("line_no")[:ROWS_SHOWN]
        ]  # fmt: skip
        headers = ["No", "Category", "Cost centre", "User", "Model", "Meter", "Quantity", "Amount"]
        more = format_html("<p>The first {} lines; all of them are in the files.</p>", ROWS_SHOWN)
        table = render_to_string("admin/table.html", {"table": {"headers": headers, "rows": rows}})
        return table + more if len(rows) == ROWS_SHOWN else table


@admin.register(Rerating)
class ReratingAdmin(ReadOnlyAdmin):
    """Past usage under a corrected price, waiting for a person."""

    list_display = (
        "proposed_at",
        "reason",
        "tenant",
        "model",
        "record_count",
        "delta",
        "shown_status",
        "decided_by",
    )
    list_filter = (("tenant", SeenRowsFilter), ("status", ChoicesCheckboxFilter))
    list_select_related = ("tenant", "decided_by")
    search_fields = ("reason", "model", "provider")
    actions_list = ("propose_rerating",)
    actions_detail = ("approve", "reject")
    readonly_fields = ("rows",)

    operated_with = Right.BOOK

    @figure_column("Billed, difference in USD", ordering="billed_delta")
    def delta(self, rerating: Rerating) -> Decimal:
        return rerating.billed_delta

    @display(description="Status", label={"proposed": "warning", "applied": "success", "rejected": "danger"})
    def shown_status(self, rerating: Rerating) -> str:
        return rerating.status

    @display(description="Rows")
    def rows(self, rerating: Rerating) -> SafeString:
        rows = [
            [row.occurred_at, f"{row.provider}/{row.model}", row.billed_delta]
            for row in rerating.rows.order_by("occurred_at")[:ROWS_SHOWN]
        ]
        headers = ["When", "Model", "Billed, difference in USD"]
        return render_to_string("admin/table.html", {"table": {"headers": headers, "rows": rows}})

    @dialog_action(
        "Propose…",
        "price_change",
        title="Rate past usage again?",
        text="Lists what the books make of it now; nothing is booked before it is approved.",
        submit="Propose",
        form=ProposeForm,
        refusals=(ValidationError,),
    )
    def propose_rerating(self, request: HttpRequest, form: ProposeForm) -> HttpResponse:
        return propose(request, form)

    @dialog_action(
        "Approve",
        "check_circle",
        title="Book these differences?",
        text="As corrections in the open month; no closed file changes.",
        submit="Approve",
        refusals=(ValidationError, StaleProposal),
    )
    def approve(self, request: HttpRequest, form: BaseDialogForm, rerating: Rerating) -> str:
        return f"{approve_rerating(rerating, acting_user=request.user)} corrections booked."

    @dialog_action(
        "Reject",
        "cancel",
        title="Leave the usage as it was booked?",
        text="The proposal stays here, with your name.",
        submit="Reject",
        is_destructive=True,
    )
    def reject(self, request: HttpRequest, form: BaseDialogForm, rerating: Rerating) -> str:
        done = reject_rerating(rerating, acting_user=request.user)
        return "Rejected." if done else "It was decided before."
