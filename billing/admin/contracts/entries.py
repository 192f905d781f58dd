"""The pages of what is entered in the books by hand: credits and adjustments."""

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from unfold.contrib.filters.admin import ChoicesCheckboxFilter

from billing.ledger.corrections import adjust, credit
from billing.models import ManualEntry
from tenants.admin.access import TenantScopedAdmin, Unedited
from tenants.admin.choices import SeenRowsFilter
from tenants.admin.columns import figure_column
from tenants.people.rights import Right


@admin.register(ManualEntry)
class ManualEntryAdmin(Unedited, TenantScopedAdmin):
    """Credits and adjustments: entered once, with a reason, into the open month."""

    list_display = ("entered_at", "tenant", "kind", "amount", "reason", "period", "entered_by")
    list_filter = (("tenant", SeenRowsFilter), ("kind", ChoicesCheckboxFilter))
    list_select_related = ("tenant", "period__tenant", "entered_by")
    search_fields = ("reason", "tenant__slug")
    autocomplete_fields = ("tenant",)
    fieldsets = (
        (None, {"fields": (("tenant", "kind"), "amount_usd", "reason")}),
        ("Booked", {"fields": (("period", "entered_at", "entered_by"),)}),
    )
    add_fieldsets = ((None, {"fields": (("tenant", "kind"), "amount_usd", "reason")}),)
    readonly_fields = ("period", "entered_at", "entered_by")

    changed_with = Right.BOOK  # people must not give themselves a credit

    def has_add_permission(self, request: HttpRequest) -> bool:
        return TenantScopedAdmin.has_add_permission(self, request)

    def save_model(self, request: HttpRequest, obj: ManualEntry, form: Any, change: bool) -> None:
        book = credit if obj.kind == ManualEntry.Kind.CREDIT else adjust
        booked = book(obj.tenant, amount_usd=obj.amount_usd, reason=obj.reason, acting_user=request.user)
        obj.pk, obj._state.adding = booked.pk, False

    def get_form(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        return super().get_form(request, obj, **kwargs) if obj else ManualEntryForm

    @figure_column("USD", ordering="amount_usd")
    def amount(self, entry: ManualEntry) -> Decimal:
        return entry.amount_usd


class ManualEntryForm(forms.ModelForm[ManualEntry]):
    """Shows next to each field what the domain functions would refuse."""

    class Meta:
        model = ManualEntry
        fields = ("tenant", "kind", "amount_usd", "reason")

    def clean_amount_usd(self) -> Any:
        amount = self.cleaned_data["amount_usd"]
        if amount == 0 or (self.data.get("kind") == ManualEntry.Kind.CREDIT and amount < 0):
            raise ValidationError("A credit is what is given back, above 0; an adjustment is not 0.")
        return amount
