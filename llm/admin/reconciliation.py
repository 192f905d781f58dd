"""Pages of reconciliation: the providers' reports, and how they compare with the ledger.

Invariant: for operators only, because an account serves all tenants. Nothing here changes the ledger but the booking
of a confirmed difference; each decision is kept with its author and reason.
"""

from decimal import Decimal
from typing import cast

from django import forms
from django.contrib import admin
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.urls import reverse
from unfold.contrib.filters.admin import ChoicesCheckboxFilter, FieldTextFilter, RangeDateFilter
from unfold.decorators import action, display
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget, UnfoldBooleanSwitchWidget

from billing.models import CostComparison, CostReport
from billing.reconciliation.comparing import StaleComparison, book_adjustment, decide, tenants_of_comparison
from llm.reconciliation.page import plain_quantity, reconciliation_page
from tenants.admin.access import HistoryPages, OperatorAdmin, Unedited, owned
from tenants.admin.columns import figure_column
from tenants.admin.dialogs import dialog_action
from tenants.models import Tenant
from tenants.people.rights import Right

LINES_SHOWN = 500
Status = CostComparison.Status
KIND_COLOURS = {
    "match": "success",
    "rounding": "success",
    "day boundary": "info",
    "quantity": "warning",
    "price": "warning",
    "missing here": "danger",
    "missing there": "danger",
    "bypass": "danger",
    "credit": "info",
}


@admin.register(CostReport)
class CostReportAdmin(Unedited, OperatorAdmin):
    """What the providers said, fetch by fetch, with the lines of each."""

    changed_with = Right.BOOK
    list_display = (
        "fetched_at", "provider", "source", "first_day", "last_day", "line_count", "shown_total", "fetched_by"
    )  # fmt: skip
    list_filter = (("provider", FieldTextFilter), ("source", ChoicesCheckboxFilter))
    list_select_related = ("fetched_by",)
    search_fields = ("provider", "file_name", "digest")
    fields = (
        ("provider", "kind"),
        ("first_day", "last_day"),
        ("source", "file_name"),
        ("fetched_at", "fetched_by"),
        "digest",
        "shown_total",
        "shown_lines",
    )
    readonly_fields = ("shown_total", "shown_lines")

    @figure_column("Billed, USD")
    def shown_total(self, report: CostReport) -> Decimal:
        return report.total_usd

    @display(description="Lines")
    def shown_lines(self, report: CostReport) -> str:
        rows = [
            [
                str(line.day),
                line.line_item or "–",
                line.project or "–",
                line.model or "–",
                line.meter or "–",
                plain_quantity(line.quantity),
                line.amount_usd,
                "live" if line.superseded_at is None else "superseded",
            ]
            for line in report.lines.all()[:LINES_SHOWN]
        ]
        headers = ["Day", "Line item", "Project", "Model", "Meter", "Quantity", "USD", "State"]
        table = {"headers": headers, "rows": rows}
        return render_to_string("admin/table.html", {"table": table}) if rows else "–"


class DecisionForm(BaseDialogForm):
    """Why a difference is what it is."""

    status = forms.ChoiceField(
        choices=Status.choices, widget=UnfoldAdminSelectWidget(), initial=Status.EXPLAINED
    )
    reason = forms.CharField(max_length=500, widget=UnfoldAdminTextInputWidget())


class AdjustmentForm(BaseDialogForm):
    """Whose books a difference goes into."""

    tenant = forms.ModelChoiceField(
        queryset=Tenant.objects.all(),
        widget=UnfoldAdminSelectWidget(),
        help_text="Whose calls caused it; its rows are shown below the comparison.",
    )
    is_charged = forms.BooleanField(
        required=False,
        widget=UnfoldBooleanSwitchWidget(),
        label="Charge it to the tenant",
        help_text="Otherwise only our own cost changes.",
    )
    reason = forms.CharField(max_length=300, widget=UnfoldAdminTextInputWidget())


@admin.register(CostComparison)
class CostComparisonAdmin(HistoryPages, Unedited, OperatorAdmin):
    """Each day, model and meter of an account: the provider's figures and ours. The list is the page of reconciliation."""

    list_display = (
        "day", "provider", "model", "meter", "shown_kind", "shown_theirs", "shown_ours", "shown_difference",
        "is_within_tolerance", "shown_status",
    )  # fmt: skip
    list_filter = (
        ("day", RangeDateFilter),
        ("provider", FieldTextFilter),
        ("kind", ChoicesCheckboxFilter),
        ("cause", ChoicesCheckboxFilter),
        ("status", ChoicesCheckboxFilter),
        "is_within_tolerance",
    )
    search_fields = ("provider", "model", "meter", "reason")
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("provider", "day"),
                    ("model", "meter"),
                    ("shown_kind", "cause"),
                    "detail",
                    ("their_tokens", "our_tokens"),
                    ("shown_theirs", "shown_ours"),
                    ("shown_difference", "is_within_tolerance"),
                )
            },
        ),
        (
            "Decision",
            {
                "fields": (
                    ("shown_status", "reason"),
                    ("decided_by", "decided_at"),
                    ("adjusted_usd", "adjustment_id"),
                    "shown_tenants",
                )
            },
        ),
    )
    readonly_fields = (
        "their_tokens", "our_tokens", "shown_kind", "shown_theirs", "shown_ours", "shown_difference", "shown_status",
        "shown_tenants",
    )  # fmt: skip
    actions_list = ("open_page",)
    actions_detail = ("decide_row", "book", "open_records")
    changed_with = Right.BOOK
    custom_urls = (("reconciliation/", "billing_reconciliation", reconciliation_page),)

    @display(description="Kind", label=KIND_COLOURS)
    def shown_kind(self, row: CostComparison) -> str:
        return row.get_kind_display()

    @figure_column("Their quantity")
    def their_tokens(self, row: CostComparison) -> str:
        return plain_quantity(row.their_quantity)

    @figure_column("Our quantity")
    def our_tokens(self, row: CostComparison) -> str:
        return plain_quantity(row.our_quantity)

    @figure_column("Theirs, USD", ordering="their_usd")
    def shown_theirs(self, row: CostComparison) -> Decimal | None:
        return row.their_usd

    @figure_column("Ours, USD", ordering="our_usd")
    def shown_ours(self, row: CostComparison) -> Decimal | None:
        return row.our_usd

    @figure_column("Difference, USD", ordering="difference_usd")
    def shown_difference(self, row: CostComparison) -> Decimal | None:
        return row.difference_usd

    @display(description="Status", label={"open": "danger", "explained": "info", "resolved": "success"})
    def shown_status(self, row: CostComparison) -> str:
        return row.status

    @display(description="Tenants concerned")
    def shown_tenants(self, row: CostComparison) -> str:
        # the form asks for each field several times, and this one looks it up
        names = row.__dict__.get("tenant_names")
        if names is None:
            names = ", ".join(str(tenant) for tenant in tenants_of_comparison(row)) or "none"
            row.__dict__["tenant_names"] = names
        return str(names)

    @action(description="Reconcile", icon="balance", permissions=["operate"])
    def open_page(self, request: HttpRequest) -> HttpResponse:
        return redirect("admin:billing_reconciliation")

    @action(description="Our records", icon="receipt_long", permissions=["operate"])
    def open_records(self, request: HttpRequest, object_id: int) -> HttpResponse:
        row = owned(self, request, object_id)
        return redirect(
            f"{reverse('admin:billing_reconciliation')}?provider={row.provider}&first={row.day}&last={row.day}"
            f"&row={row.pk}"
        )

    @dialog_action(
        "Decide…",
        "rule",
        title="What explains this difference?",
        text="The decision is valid until the figures change.",
        submit="Keep",
        form=DecisionForm,
        refusals=(ValidationError,),
    )
    def decide_row(self, request: HttpRequest, form: DecisionForm, row: CostComparison) -> str:
        decide(
            row,
            status=form.cleaned_data["status"],
            reason=form.cleaned_data["reason"],
            acting_user=cast(User, request.user),
        )
        return "Kept."

    @dialog_action(
        "Book the difference…",
        "edit_note",
        title="Book what the provider billed?",
        text="One row of the ledger; nothing that was booked is changed.",
        submit="Book",
        form=AdjustmentForm,
        refusals=(ValidationError, StaleComparison),
    )
    def book(self, request: HttpRequest, form: AdjustmentForm, row: CostComparison) -> str:
        book_adjustment(
            row,
            tenant=form.cleaned_data["tenant"],
            reason=form.cleaned_data["reason"],
            is_charged=form.cleaned_data["is_charged"],
            acting_user=cast(User, request.user),
        )
        return "Booked."

    def get_queryset(self, request: HttpRequest) -> QuerySet[CostComparison]:
        rows: QuerySet[CostComparison] = super().get_queryset(request)
        return rows.select_related("decided_by")
