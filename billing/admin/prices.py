"""Pages of prices and of imports that wait for a person.

Invariant: a price row is never edited. A new one is added, or `set_price` supersedes the old.
"""

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timezone import now
from unfold.contrib.filters.admin import (
    ChoicesCheckboxFilter,
    FieldTextFilter,
    RangeDateTimeFilter,
)
from unfold.decorators import display
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminTextInputWidget

from billing.admin.figures import CENT, MomentField, plain
from billing.models import PriceProposal, PriceRow
from billing.prices.editing import revoke_price, rival_of, set_price
from billing.prices.importing import approve_proposal, changes_of, reject_proposal
from billing.prices.lists import ListPrice
from config.site.cells import json_block
from tenants.admin.access import OperatorAdmin, Unedited, finish
from tenants.admin.choices import SeenRowsFilter
from tenants.admin.columns import figure_column
from tenants.admin.dialogs import dialog_action, page_of


class SetPriceForm(BaseDialogForm):
    """The new rate, and from when it counts."""

    unit_price = forms.DecimalField(
        min_value=Decimal(0),
        max_digits=18,
        decimal_places=9,
        label="New price, USD",
        widget=UnfoldAdminDecimalFieldWidget(),
        help_text="For as many units as the old price.",
    )
    valid_from = MomentField(required=False, label="From (UTC)", help_text="Empty: from now on.")


class RevokePriceForm(BaseDialogForm):
    """Why a price that was announced does not come."""

    reason = forms.CharField(max_length=500, widget=UnfoldAdminTextInputWidget())


class LiveFilter(admin.SimpleListFilter):
    """Prices that count now, unless asked otherwise."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("live", "live"), ("superseded", "superseded"), ("all", "all")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        match self.value():
            case "superseded":
                return queryset.filter(superseded_at__isnull=False)
            case "all":
                return queryset
            case _:
                return queryset.filter(superseded_at=None)

    def choices(self, changelist: Any) -> Any:
        chosen = self.value() or "live"
        for value, title in self.lookup_choices:
            query = changelist.get_query_string({self.parameter_name: value})
            yield {"selected": chosen == value, "query_string": query, "display": title}


class PriceRowForm(forms.ModelForm[PriceRow]):
    """A price that does not contradict one that counts at the same time."""

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean() or {}
        if not self.errors and (rival := rival_of(PriceRow(**cleaned))):
            raise ValidationError(f"{rival} counts in that time; set its price instead.")
        return cleaned


@admin.register(PriceRow)
class PriceRowAdmin(OperatorAdmin):
    """Prices by meter and rate condition; live ones first."""

    form = PriceRowForm
    list_display = (
        "model",
        "provider",
        "meter",
        "price",
        "condition",
        "whose",
        "valid_from",
        "valid_to",
        "state",
    )
    list_filter = (
        LiveFilter,
        ("book", ChoicesCheckboxFilter),
        ("provider", FieldTextFilter),
        ("model", FieldTextFilter),
        ("meter", FieldTextFilter),
        ("tenant", SeenRowsFilter),
        ("valid_from", RangeDateTimeFilter),
    )
    list_select_related = ("tenant",)
    search_fields = ("model", "provider", "meter")
    autocomplete_fields = ("tenant",)
    actions_detail = ("change_price", "revoke")
    fieldsets = (
        ("What", {"fields": (("provider", "model"), ("meter", "book"), "tenant")}),
        ("Condition", {"fields": (("processing", "service_tier"), ("region", "above_input_tokens"))}),
        ("Price", {"fields": (("unit_price", "per"), ("valid_from", "valid_to"))}),
    )
    traces = (
        "Where from",
        {
            "fields": (
                ("source", "approved_by"),
                ("recorded_at", "superseded_at"),
                ("superseded_reason", "superseded_by"),
                "source_digest",
            )
        },
    )

    def get_fieldsets(self, request: HttpRequest, obj: PriceRow | None = None) -> Any:
        return (*self.fieldsets, self.traces) if obj else self.fieldsets

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return obj is None and super().has_change_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: PriceRow, form: Any, change: bool) -> None:
        obj.source, obj.approved_by = "admin", request.user
        super().save_model(request, obj, form, change)

    @figure_column("USD", ordering="unit_price")
    def price(self, row: PriceRow) -> str:
        per = {1_000_000: "million", 1_000: "thousand", 1: "one"}.get(row.per, f"{row.per:,}")
        price = row.unit_price.normalize()
        shown = price if price % CENT else row.unit_price.quantize(CENT)
        return f"{shown:f} / {per}"

    @display(description="Condition", ordering="processing")
    def condition(self, row: PriceRow) -> str:
        usual = {"standard", "global"}
        parts = [row.processing, *(part for part in (row.service_tier, row.region) if part not in usual)]
        parts += [f"above {row.above_input_tokens:,} input tokens"] if row.above_input_tokens else []
        return ", ".join(parts)

    @display(description="Book", ordering="book")
    def whose(self, row: PriceRow) -> str:
        return f"contract of {row.tenant}" if row.tenant else row.book

    @display(
        description="State", label={"live": "success", "past": "", "future": "info", "superseded": "danger"}
    )
    def state(self, row: PriceRow) -> str:
        at = now()
        if row.superseded_at is not None:
            return "superseded"
        if row.valid_from > at:
            return "future"
        return "past" if row.valid_to is not None and row.valid_to <= at else "live"

    @dialog_action(
        "Set price…",
        "price_change",
        title="Set another price",
        text="This row is superseded; what counted until then stays known. If the price is backdated, the"
        " re-rating of what was billed since is proposed within a minute.",
        submit="Set price",
        form=SetPriceForm,
        refusals=(ValidationError,),
    )
    def change_price(self, request: HttpRequest, form: SetPriceForm, row: PriceRow) -> HttpResponse:
        changed = set_price(
            row,
            unit_price=form.cleaned_data["unit_price"],
            valid_from=form.cleaned_data["valid_from"],
            acting_user=request.user,
        )
        return finish(request, page_of(changed), f"Set: {changed}.")

    @dialog_action(
        "Revoke…",
        "event_busy",
        title="Revoke a price before it is in force?",
        text="Only before it is in force. The row stays, superseded with your reason; the price before it stays in force.",
        submit="Revoke",
        form=RevokePriceForm,
        is_destructive=True,
        refusals=(ValidationError,),
    )
    def revoke(self, request: HttpRequest, form: RevokePriceForm, row: PriceRow) -> str:
        remaining = revoke_price(row, reason=form.cleaned_data["reason"], acting_user=request.user)
        return f"Revoked. {remaining} stays in force." if remaining else "Revoked. No other price follows."


@admin.register(PriceProposal)
class PriceProposalAdmin(Unedited, OperatorAdmin):
    """What an import of prices would change, waiting for a person."""

    list_display = ("created_at", "source", "shown_status", "summary", "decided_by", "decided_at")
    list_filter = (("status", ChoicesCheckboxFilter),)
    list_select_related = ("decided_by",)
    search_fields = ("source", "digest")
    fieldsets = (
        (
            None,
            {"fields": (("source", "shown_status"), ("created_at", "digest"), ("decided_by", "decided_at"))},
        ),
        ("Changes", {"fields": ("changes",)}),
    )
    readonly_fields = ("shown_status", "changes")
    actions_detail = ("approve", "reject")

    @display(
        description="Status",
        label={"proposed": "warning", "approved": "info", "applied": "success", "rejected": "danger"},
    )
    def shown_status(self, proposal: PriceProposal) -> str:
        return proposal.status

    @display(description="Says")
    def summary(self, proposal: PriceProposal) -> str:
        if "changes" in proposal.diff:
            return f"{len(proposal.diff['changes'])} rates would change"
        return f"{len(proposal.diff.get('models', ()))} new models"

    @display(description="Changes")
    def changes(self, proposal: PriceProposal) -> SafeString | str:
        changes = changes_of(proposal)
        if not changes:
            return json_block(proposal.diff)
        rows = [
            [
                f"{change.price.provider}/{change.price.model}",
                change.price.meter,
                change.price.processing,
                _rate(change.old),
                _rate(change.new),
            ]
            for change in changes
        ]
        headers = ["Model", "Meter", "Processing", "Now, USD", "Then, USD"]
        table = render_to_string("admin/table.html", {"table": {"headers": headers, "rows": rows}})
        return table + _inferred(proposal.diff.get("inferred"))

    @dialog_action(
        "Approve",
        "check_circle",
        title="Have these rates count?",
        text="A list's count from now on. What the sentinel inferred counts since the day that it names; the re-rating of what"
        " was billed since is proposed within a minute.",
        submit="Approve",
        refusals=(ValidationError,),
    )
    def approve(self, request: HttpRequest, form: BaseDialogForm, proposal: PriceProposal) -> str:
        approve_proposal(proposal, acting_user=request.user)
        return "The rates count."

    @dialog_action(
        "Reject",
        "cancel",
        title="Keep our rates?",
        text="The same changes are not proposed again.",
        submit="Reject",
        is_destructive=True,
        refusals=(ValidationError,),
    )
    def reject(self, request: HttpRequest, form: BaseDialogForm, proposal: PriceProposal) -> str:
        reject_proposal(proposal, acting_user=request.user)
        return "Our rates stay."


def _inferred(inferred: dict[str, Any] | None) -> SafeString:
    """What bills say of a price, day by day, as the sentinel inferred it."""
    if not inferred:
        return SafeString()
    rows = [
        [one["day"], Decimal(one["quantity"]), Decimal(one["usd"]), Decimal(one["low"]), Decimal(one["high"])]
        for one in inferred["days"]
    ]
    headers = [
        "Day, UTC",
        "Quantity",
        "Their bill, USD",
        "At least, USD per million",
        "At most, USD per million",
    ]
    said = format_html(
        "<p>One price explains all of these days: between {} and {} USD per million.</p>",
        inferred["low"],
        inferred["high"],
    )
    return said + render_to_string("admin/table.html", {"table": {"headers": headers, "rows": rows}})


def _rate(price: ListPrice | None) -> str:
    return "none" if price is None else f"{plain(price.unit_price)} per {price.per:,}"
