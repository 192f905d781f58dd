"""The pages of minimum commitments: what a tenant pays at least, and how far it is met.

Invariant: a commitment is set and ended by the domain functions, after its effect was shown; nothing here edits one.
"""

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from django.utils.timezone import now
from unfold.contrib.filters.admin import ChoicesCheckboxFilter
from unfold.decorators import display
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminTextInputWidget

from billing.admin.contracts.confirming import AsksFirst, Effect
from billing.admin.contracts.proposals import or_proposed
from billing.contracts.commitments import Progress, end_commitment, progress_of, set_commitment
from billing.ledger.periods import period_at
from billing.models import Commitment
from tenants.admin.access import HistoryPages, TenantScopedAdmin, Unedited
from tenants.admin.choices import SeenRowsFilter
from tenants.admin.columns import figure_column
from tenants.admin.dialogs import dialog_action
from tenants.people.rights import Right

WHAT = ("span", "amount_usd", "first_month", "last_month")


class EndForm(BaseDialogForm):
    """The last month of a commitment."""

    last_month = forms.CharField(
        max_length=7, widget=UnfoldAdminTextInputWidget(), help_text="YYYY-MM, the last month of a span."
    )


@admin.register(Commitment)
class CommitmentAdmin(AsksFirst, HistoryPages, Unedited, TenantScopedAdmin):
    """What tenants pay at least, each month, quarter or year."""

    list_display = ("tenant", "span", "amount", "first_month", "last_month", "created_at", "created_by")
    list_filter = (("tenant", SeenRowsFilter), ("span", ChoicesCheckboxFilter))
    list_select_related = ("tenant", "created_by")
    search_fields = ("tenant__slug",)
    autocomplete_fields = ("tenant",)
    actions_detail = ("end",)
    add_fieldsets = ((None, {"fields": ("tenant", ("span", "amount_usd"), ("first_month", "last_month"))}),)
    fieldsets = (
        *add_fieldsets,
        ("The span that runs", {"fields": ("progress",)}),
        ("By", {"fields": (("created_at", "created_by"),)}),
    )
    readonly_fields = ("progress", "created_at", "created_by")

    changed_with = operated_with = Right.BOOK

    def has_add_permission(self, request: HttpRequest) -> bool:
        return TenantScopedAdmin.has_add_permission(self, request)

    def effect_of(self, request: HttpRequest, form: Any) -> Effect:
        commitment = form.instance
        running = period_at(commitment.tenant, at=now()).label
        month = max(running, commitment.first_month)
        so_far = progress_of(commitment, month=month)
        return Effect(
            change=f"{commitment.tenant} pays at least {commitment}",
            meaning=f"What is not used of it is charged when {so_far.last_month}, and each further {commitment.span}, is closed:"
            " a ledger row of its own kind, a step in the waterfall and a line of the statement.",
            submit="Set this commitment",
            table=_table(so_far),
            note="Usage, corrections and adjustments of the span's months count towards it; credits do not.",
        )

    def save_model(self, request: HttpRequest, obj: Commitment, form: Any, change: bool) -> None:
        values = {name: getattr(obj, name) for name in WHAT}
        made = set_commitment(obj.tenant, acting_user=request.user, **values)
        obj.pk, obj._state.adding = made.pk, False

    @figure_column("At least, USD", ordering="amount_usd")
    def amount(self, commitment: Commitment) -> Decimal:
        return commitment.amount_usd

    @display(description="Progress")
    def progress(self, commitment: Commitment) -> SafeString | str:
        if not hasattr(commitment, "_progress"):  # a page asks for the field several times
            running = period_at(commitment.tenant, at=now()).label
            month = max(running, commitment.first_month)
            month = min(month, commitment.last_month) if commitment.last_month else month
            commitment._progress = progress_of(commitment, month=month)
        return render_to_string("admin/table.html", {"table": _table(commitment._progress)})

    @dialog_action(
        "End…",
        "stop_circle",
        title="Have this commitment end?",
        text="With the last month of a span; what is not used of that span is still charged. Closed months stay as they are.",
        submit="End it",
        form=EndForm,
        is_destructive=True,
        refusals=(ValidationError,),
    )
    def end(self, request: HttpRequest, form: EndForm, commitment: Commitment) -> str:
        last_month = form.cleaned_data["last_month"]

        def write() -> str:
            ended = end_commitment(commitment, last_month=last_month, acting_user=request.user)
            return f"It ends with {ended.last_month}."

        return or_proposed(request, write)


def _table(so_far: Progress) -> dict[str, Any]:
    rows = [
        [f"Used in {so_far.first_month} to {so_far.last_month}, so far", so_far.counted_usd],
        ["Would be charged if it ended now", so_far.unmet_usd],
        ["Charged", so_far.charged_usd],
    ]
    return {"headers": ["", "USD"], "rows": rows}
