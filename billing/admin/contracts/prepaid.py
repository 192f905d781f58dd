"""The pages of prepaid balances: what is left, of what, until when; topping up and paying back.

Invariant: an entry is made by the domain functions; nothing here edits one.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import OuterRef, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesCheckboxFilter
from unfold.decorators import display
from unfold.forms import BaseDialogForm
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from billing.admin.contracts.confirming import AsksFirst, Effect
from billing.admin.contracts.proposals import or_proposed
from billing.admin.figures import MomentField, usd
from billing.contracts import prepaid
from billing.models import BudgetWindow, PrepaidBalance, PrepaidEntry
from tenants.admin.access import TenantScopedAdmin, Unedited
from tenants.admin.choices import SeenRowsFilter
from tenants.admin.columns import figure_column
from tenants.admin.dialogs import dialog_action
from tenants.people.rights import Right

ENTRIES_SHOWN: Final = 50
ADDED: Final = [("top_up", "paid"), ("grant", "granted, not paid")]


def _amount(label: str, **options: Any) -> forms.DecimalField:
    widget = UnfoldAdminDecimalFieldWidget()
    return forms.DecimalField(max_digits=28, decimal_places=12, label=label, widget=widget, **options)


class AddForm(BaseDialogForm):
    """What is added to a balance."""

    amount_usd = _amount("Amount, USD", min_value=Decimal("0.01"))
    kind = forms.ChoiceField(choices=ADDED, widget=UnfoldAdminSelectWidget())
    expires_at = MomentField(
        required=False, label="Expires (UTC)", help_text="What is not used by then is lost. Empty: never."
    )
    reason = forms.CharField(
        max_length=300, widget=UnfoldAdminTextInputWidget(), help_text="The invoice's number, or why."
    )


class PayBackForm(BaseDialogForm):
    """What is taken from a balance."""

    amount_usd = _amount("Amount, USD", min_value=Decimal("0.01"))
    reason = forms.CharField(max_length=300, widget=UnfoldAdminTextInputWidget())


class BalanceForm(forms.ModelForm[PrepaidBalance]):
    """A new balance with its first amount, so that calls go on."""

    first_usd = _amount("First amount, USD", min_value=Decimal("0.01"))
    first_reason = forms.CharField(
        max_length=300, label="Invoice's number, or why", widget=UnfoldAdminTextInputWidget()
    )


@admin.register(PrepaidBalance)
class PrepaidBalanceAdmin(AsksFirst, Unedited, TenantScopedAdmin):
    """What tenants paid ahead: what is left, and for how long."""

    list_display = ("tenant", "left", "held", "available", "opened_at", "opened_by")
    list_filter = (("tenant", SeenRowsFilter),)
    list_select_related = ("tenant", "opened_by", "budget")
    search_fields = ("tenant__slug",)
    autocomplete_fields = ("tenant",)
    actions_detail = ("top_up", "pay_back")
    add_fieldsets = (
        (None, {"fields": ("tenant", ("first_usd", "first_reason"), "alert_below_usd")}),
    )  # fmt: skip
    fieldsets = (
        (None, {"fields": (("tenant", "alert_below_usd"), ("left", "held", "available"), "lasts")}),
        ("What is left of what", {"fields": ("parts",)}),
        ("Entries", {"fields": ("entries",)}),
    )
    readonly_fields = ("left", "held", "available", "lasts", "parts", "entries")

    changed_with = operated_with = Right.BOOK  # people must not pay with what they have not paid

    def has_add_permission(self, request: HttpRequest) -> bool:
        return TenantScopedAdmin.has_add_permission(self, request)

    def get_form(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        if obj is None:
            kwargs["form"] = BalanceForm
            kwargs["fields"] = ("tenant", "alert_below_usd")
        return super().get_form(request, obj, **kwargs)

    def effect_of(self, request: HttpRequest, form: Any) -> Effect:
        first = form.cleaned_data["first_usd"]
        return Effect(
            change=f"calls of {form.instance.tenant} are paid from a balance of {usd(first)}",
            meaning="Every call is held in it, under all budgets. When it is empty calls are refused with 429 budget_exceeded"
            " until it is topped up; what was called before is not taken from it.",
            submit="Open this balance",
            note="A balance cannot be closed while something is left of it: pay it back first.",
        )

    def save_model(self, request: HttpRequest, obj: PrepaidBalance, form: Any, change: bool) -> None:
        balance = prepaid.open_balance(
            obj.tenant,
            alert_below_usd=obj.alert_below_usd,
            first_usd=form.cleaned_data["first_usd"],
            first_reason=form.cleaned_data["first_reason"],
            acting_user=request.user,
        )
        obj.pk, obj._state.adding = balance.pk, False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        windows = BudgetWindow.objects.filter(budget=OuterRef("pk")).order_by().values("budget")
        sums = {
            f"sum_{name}": Coalesce(Subquery(windows.annotate(sum=Sum(name)).values("sum")), Decimal(0))
            for name in ("spent", "held")
        }
        return super().get_queryset(request).annotate(**sums)

    @figure_column("Left, USD")
    def left(self, balance: Any) -> Decimal:
        return balance.budget.limit_amount - balance.sum_spent

    @figure_column("Held, USD")
    def held(self, balance: Any) -> Decimal:
        return balance.sum_held

    @figure_column("Available, USD")
    def available(self, balance: Any) -> Decimal:
        return balance.budget.limit_amount - balance.sum_spent - balance.sum_held

    @display(description="Lasts")
    def lasts(self, balance: PrepaidBalance) -> str:
        """When it may be empty, by the forecast of the tenant's spending."""
        found = _once(balance, "runway", prepaid.runway)
        return "too little is known for a forecast" if found is None else str(found)

    @display(description="Parts")
    def parts(self, balance: PrepaidBalance) -> SafeString:
        rows = [
            [part.amount_usd, part.left_usd, part.expires_at or "never"]
            for part in _once(balance, "parts", prepaid.parts_of)[:ENTRIES_SHOWN]
        ]
        headers = ["Added, USD", "Left, USD", "Expires"]
        return render_to_string("admin/table.html", {"table": {"headers": headers, "rows": rows}})

    @display(description="Entries")
    def entries(self, balance: PrepaidBalance) -> SafeString:
        found = _once(balance, "entries", _newest)
        rows = [
            [
                one.entered_at,
                one.get_kind_display(),
                one.amount_usd,
                one.reason,
                one.entered_by or "by itself",
            ]
            for one in found
        ]
        headers = ["When", "What", "USD", "Reason", "By"]
        return render_to_string("admin/table.html", {"table": {"headers": headers, "rows": rows}})

    @dialog_action(
        "Top up…",
        "add_card",
        title="Add to this balance?",
        text="It counts within a second. An entry is never edited; what was added by mistake is paid back.",
        submit="Add it",
        form=AddForm,
        refusals=(ValidationError,),
    )
    def top_up(self, request: HttpRequest, form: AddForm, balance: PrepaidBalance) -> str:
        return or_proposed(
            request,
            lambda: (
                f"Added. {usd(prepaid.add(balance, acting_user=request.user, **_answers(form)))} are available."
            ),
        )

    @dialog_action(
        "Pay back…",
        "undo",
        title="Take from this balance?",
        text="Only what is neither spent nor held. Calls that need more than what stays are refused.",
        submit="Take it",
        form=PayBackForm,
        is_destructive=True,
        refusals=(ValidationError,),
    )
    def pay_back(self, request: HttpRequest, form: PayBackForm, balance: PrepaidBalance) -> str:
        return or_proposed(
            request,
            lambda: (
                f"Taken. {usd(prepaid.pay_back(balance, acting_user=request.user, **_answers(form)))} are available."
            ),
        )


@admin.register(PrepaidEntry)
class PrepaidEntryAdmin(Unedited, TenantScopedAdmin):
    """Everything that was added to balances, and taken from them otherwise than by calls."""

    list_display = ("entered_at", "tenant", "kind", "amount", "expires_at", "reason", "entered_by")
    list_filter = (("tenant", SeenRowsFilter), ("kind", ChoicesCheckboxFilter))
    list_select_related = ("tenant", "entered_by")
    search_fields = ("reason", "tenant__slug")

    @figure_column("USD", ordering="amount_usd")
    def amount(self, entry: PrepaidEntry) -> Decimal:
        return entry.amount_usd


def _newest(balance: PrepaidBalance) -> list[PrepaidEntry]:
    return list(balance.entries.select_related("entered_by").order_by("-entered_at")[:ENTRIES_SHOWN])


def _once(balance: PrepaidBalance, name: str, read: Callable[[PrepaidBalance], Any]) -> Any:
    """What is read of a balance for a page, which asks for each of its fields several times."""
    known: dict[str, Any] = balance.__dict__.setdefault("_of_page", {})
    if name not in known:
        known[name] = read(balance)
    return known[name]


def _answers(form: BaseDialogForm) -> dict[str, Any]:
    return {name: value for name, value in form.cleaned_data.items() if not name.startswith("_")}
