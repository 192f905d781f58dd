"""The page of rates between currencies.

Invariant: a rate is stored by the domain functions; nothing here edits one.
"""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from unfold.contrib.filters.admin import FieldTextFilter, RangeDateFilter
from unfold.decorators import display
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminTextareaWidget

from billing.admin.contracts.confirming import AsksFirst, Effect
from billing.admin.contracts.proposals import or_proposed
from billing.admin.figures import plain
from billing.contracts.currencies import import_rates, set_rate
from billing.models import BillingDetails, CurrencyRate
from tenants.admin.access import OperatorAdmin, Unedited
from tenants.admin.columns import figure_column
from tenants.admin.dialogs import dialog_action
from tenants.people.rights import Right

WHAT = ("day", "base", "quote", "rate", "source")
MOST_TEXT = 1_000_000


class ImportForm(BaseDialogForm):
    """Rates as lines of text."""

    rates = forms.CharField(
        max_length=MOST_TEXT,
        label="Rates as CSV",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 8}),
        help_text="The first line is date,base,quote,rate,source; then lines such as 2026-10-30,USD,EUR,0.9213,ECB.",
    )


@admin.register(CurrencyRate)
class CurrencyRateAdmin(AsksFirst, Unedited, OperatorAdmin):
    """Rates of days; the newest of a month's last week converts what its statements ask for."""

    list_display = ("day", "base", "quote", "shown_rate", "source", "state", "recorded_at", "recorded_by")
    list_filter = (("day", RangeDateFilter), ("base", FieldTextFilter), ("quote", FieldTextFilter))
    list_select_related = ("recorded_by",)
    search_fields = ("base", "quote", "source")
    add_fieldsets = ((None, {"fields": (("day", "source"), ("base", "quote", "rate"))}),)
    fieldsets = (
        *add_fieldsets,
        ("Stored", {"fields": (("recorded_at", "recorded_by"), "superseded_at")}),
    )
    readonly_fields = ("recorded_at", "recorded_by", "superseded_at")
    actions_list = ("import_csv",)

    changed_with = Right.BOOK

    def has_add_permission(self, request: HttpRequest) -> bool:
        return OperatorAdmin.has_add_permission(self, request)

    def get_fieldsets(self, request: HttpRequest, obj: CurrencyRate | None = None) -> Any:
        return self.fieldsets if obj else self.add_fieldsets

    def effect_of(self, request: HttpRequest, form: Any) -> Effect:
        rate = form.instance
        known = CurrencyRate.objects.filter(
            day=rate.day, base=rate.base, quote=rate.quote, superseded_at=None
        ).first()
        payers = BillingDetails.objects.filter(currency__in={rate.base, rate.quote} - {"USD"}).count()
        return Effect(
            change=str(rate),
            meaning=f"It supersedes {known}." if known else "It is the first rate of that day and pair.",
            submit="Store this rate",
            note=f"Tenants billed in these currencies: {payers}. Issued statements keep the rate that they have.",
        )

    def save_model(self, request: HttpRequest, obj: CurrencyRate, form: Any, change: bool) -> None:
        made = set_rate(acting_user=request.user, **{name: getattr(obj, name) for name in WHAT})
        obj.pk, obj._state.adding = made.pk, False

    def get_form(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        return super().get_form(request, obj, **({} if obj else {"form": RateForm}), **kwargs)

    @figure_column("Rate", ordering="rate")
    def shown_rate(self, rate: CurrencyRate) -> str:
        return plain(rate.rate)

    @display(description="State", label={"counts": "success", "superseded": "danger"})
    def state(self, rate: CurrencyRate) -> str:
        return "superseded" if rate.superseded_at else "counts"

    @dialog_action(
        "Import…",
        "upload",
        title="Store these rates?",
        text="All of them, or none. A rate supersedes another one of its day and pair; issued statements keep theirs.",
        submit="Store them",
        form=ImportForm,
        refusals=(ValidationError,),
    )
    def import_csv(self, request: HttpRequest, form: ImportForm) -> str:
        def write() -> str:
            found = import_rates(form.cleaned_data["rates"], acting_user=request.user)
            return f"{len(found)} rates are stored."

        return or_proposed(request, write)


class RateForm(forms.ModelForm[CurrencyRate]):
    """A rate; one that is there already is superseded, so it is no error."""

    def validate_unique(self) -> None:
        """Leave it to the domain function."""

    def _get_validation_exclusions(self) -> set[str]:
        return {*super()._get_validation_exclusions(), "superseded_at"}
