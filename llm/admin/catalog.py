"""Pages of providers and their models.

Invariant: a provider's key is written, never shown; every change has an author in the history.
"""

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import Count, Exists, OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.timezone import now
from unfold.admin import TabularInline
from unfold.contrib.filters.admin import ChoicesCheckboxFilter
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminPasswordWidget

from billing.models import PriceRow
from llm.admin.deployments import deployments_page
from llm.admin.switches import AccountSwitches, ModelSwitches
from llm.configuration.prices import price_as_the_model
from llm.models import Deployment, LanguageModel, Provider
from tenants.admin.access import HistoryPages, OperatorAdmin
from tenants.admin.choices import SeenRowsFilter
from tenants.admin.columns import figure_column

LIMITS = ("rpm", "tpm", "concurrency", "batch_lines", "batch_bytes", "batch_tokens")
TIMEOUTS = ("connect", "first_byte", "idle", "total")


class ProviderForm(forms.ModelForm[Provider]):
    """A provider; its key can be replaced, and is never shown."""

    new_api_key = forms.CharField(
        required=False,
        strip=True,
        label="New API key",
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        help_text="Stored encrypted. Empty keeps the one that is stored.",
    )
    new_admin_api_key = forms.CharField(
        required=False,
        strip=True,
        label="New admin key",
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        help_text="Reads the account's cost reports. Stored encrypted; empty keeps the one that is stored.",
    )

    class Meta:
        model = Provider
        fields = (
            "name",
            "kind",
            "tenant",
            "base_url",
            "options",
            "limits",
            "timeouts",
            "report_scope",
            "is_active",
        )

    def clean_limits(self) -> dict[str, int]:
        return _positive_numbers(self.cleaned_data["limits"], LIMITS, "limits")

    def clean_options(self) -> dict[str, str]:
        return self.cleaned_data["options"] or {}

    def clean_report_scope(self) -> dict[str, list[str]]:
        scope = self.cleaned_data["report_scope"] or {}
        if not isinstance(scope, dict) or not scope.keys() <= {"projects", "api_keys"}:
            raise ValidationError("report_scope must be an object with some of projects, api_keys")
        return {name: _names(value, f"report_scope.{name}") for name, value in scope.items()}

    def clean_timeouts(self) -> dict[str, int]:
        return _positive_numbers(self.cleaned_data["timeouts"], TIMEOUTS, "timeouts")


def _positive_numbers(value: Any, names: tuple[str, ...], field: str) -> dict[str, Any]:
    if not value:
        return {}
    if not isinstance(value, dict):
        raise ValidationError(f"{field} must be an object with some of {', '.join(names)}")
    for name, number in value.items():
        if name not in names:
            raise ValidationError(f"{field}.{name} is not known here; known are {', '.join(names)}")
        if isinstance(number, bool) or not isinstance(number, int | float) or number <= 0:
            raise ValidationError(f"{field}.{name} must be a number above 0, not {number!r}")
    return value


class RecordedOperatorAdmin(HistoryPages, OperatorAdmin):
    """Pages of the product's own configuration, with their history."""


class SwitchedAdmin(RecordedOperatorAdmin):
    """Pages of rows with switches: what is declared already is switched by its buttons only, which say the effect."""

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        fixed = super().get_readonly_fields(request, obj)
        return fixed if obj is None else (*fixed, "is_active")


@admin.register(Provider)
class ProviderAdmin(AccountSwitches, SwitchedAdmin):
    """Accounts at the providers' servers."""

    form = ProviderForm
    list_display = ("name", "kind", "base_url", "tenant", "model_count", "key_state", "shown_state")
    list_select_related = ("tenant",)
    list_filter = (("kind", ChoicesCheckboxFilter), "is_active")
    search_fields = ("name", "base_url")
    ordering = ("name",)
    fieldsets = (
        (None, {"fields": (("name", "kind"), ("base_url", "is_active"), "tenant", "new_api_key", "options")}),
        ("Limits", {"fields": ("limits", "timeouts")}),
        ("Cost reports", {"fields": ("new_admin_api_key", "report_scope")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Provider]:
        return super().get_queryset(request).annotate(model_total=Count("language_models"))

    def save_model(self, request: HttpRequest, obj: Provider, form: Any, change: bool) -> None:
        if form.cleaned_data["new_api_key"]:
            obj.api_key = form.cleaned_data["new_api_key"]
        if form.cleaned_data["new_admin_api_key"]:
            obj.admin_api_key = form.cleaned_data["new_admin_api_key"]
        super().save_model(request, obj, form, change)

    @figure_column("Models", ordering="model_total")
    def model_count(self, provider: Any) -> int:
        return int(provider.model_total)

    @display(description="State", label={"active": "success", "draining": "warning", "disabled": "danger"})
    def shown_state(self, provider: Provider) -> str:
        return provider.state

    @display(description="API key", label={"set": "success", "none": "warning"})
    def key_state(self, provider: Provider) -> str:
        return "set" if provider.api_key else "none"


class LanguageModelForm(forms.ModelForm[LanguageModel]):
    """A model whose lists hold what they should."""

    def clean_capabilities(self) -> list[str]:
        return _names(self.cleaned_data["capabilities"], "capabilities")

    def clean_timeouts(self) -> dict[str, int]:
        return _positive_numbers(self.cleaned_data["timeouts"], TIMEOUTS, "timeouts")

    def clean_fallbacks(self) -> list[str]:
        names = _names(self.cleaned_data["fallbacks"], "fallbacks")
        known = set(LanguageModel.objects.filter(name__in=names).values_list("name", flat=True))
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ValidationError(f"fallbacks: no model is called {', '.join(unknown)}")
        return names


def _names(value: Any, field: str) -> list[str]:
    if not value:
        return []
    if not isinstance(value, list) or not all(isinstance(name, str) and name for name in value):
        raise ValidationError(f'{field} must be a list of names, such as ["tools", "vision"]')
    return value


class DeploymentForm(forms.ModelForm[Deployment]):
    """A further account whose timeouts are what they should be."""

    def clean_timeouts(self) -> dict[str, int]:
        return _positive_numbers(self.cleaned_data["timeouts"], TIMEOUTS, "timeouts")


class DeploymentInline(TabularInline):
    """The further accounts of a model. One that has no price for it yet is priced as the model's own."""

    model = Deployment
    form = DeploymentForm
    fields = ("provider", "upstream", "weight", "timeouts", "is_active")
    autocomplete_fields = ("provider",)
    extra = 0
    tab = True

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Of a model that is declared already the button "Accounts…" switches them, and says the effect."""
        fixed = super().get_readonly_fields(request, obj)
        return fixed if obj is None else (*fixed, "is_active")


@admin.register(LanguageModel)
class LanguageModelAdmin(ModelSwitches, SwitchedAdmin):
    """What clients may ask for, with the list price that counts now; a model without one is refused."""

    form = LanguageModelForm
    list_display = (
        "name", "provider", "kind", "tier_label", "input_price", "output_price", "context", "is_active"
    )  # fmt: skip
    list_filter = (
        ("provider", SeenRowsFilter),
        ("tier", ChoicesCheckboxFilter),
        ("kind", ChoicesCheckboxFilter),
        "is_active",
    )
    list_select_related = ("provider",)
    search_fields = ("name", "upstream", "provider__name")
    autocomplete_fields = ("provider",)
    inlines = (DeploymentInline,)
    actions_list = ("open_deployments",)
    custom_urls = (("deployments/", "llm_deployments", deployments_page),)
    fieldsets = (
        (None, {"fields": (("name", "is_active"), ("provider", "upstream"), ("kind", "tier"), "retires_on")}),
        ("Calls", {"fields": (("weight", "timeouts"),)}),
        (
            "What it can do",
            {"fields": (("context_window", "max_output_tokens"), "capabilities", "fallbacks")},
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[LanguageModel]:
        return (
            super()
            .get_queryset(request)
            .annotate(
                input_usd=_list_price("input"),
                output_usd=_list_price("output"),
                has_further_accounts=Exists(Deployment.objects.filter(model=OuterRef("pk"))),
            )
        )

    @action(description="Deployments", icon="hub", permissions=["view"])
    def open_deployments(self, request: HttpRequest) -> HttpResponse:
        return redirect("admin:llm_deployments")

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        for deployment in form.instance.deployments.select_related("provider", "model__provider"):
            price_as_the_model(deployment)

    @display(
        description="Tier",
        ordering="tier",
        label={"Simple": "success", "Standard": "info", "Complex": "warning"},
    )
    def tier_label(self, model: LanguageModel) -> str:
        return model.get_tier_display() if model.tier else "by name only"

    @figure_column("Input, USD / million", ordering="input_usd")
    def input_price(self, model: Any) -> Decimal | str:
        return _price(model.input_usd)

    @figure_column("Output, USD / million", ordering="output_usd")
    def output_price(self, model: Any) -> Decimal | str | None:
        return None if model.kind == LanguageModel.Kind.EMBEDDING else _price(model.output_usd)

    @figure_column("Context", ordering="context_window")
    def context(self, model: LanguageModel) -> int:
        return model.context_window


def _list_price(meter: str) -> Subquery:
    """The live list price of a meter in its usual condition, USD per `per`; one subquery, not one per row."""
    at = now()
    live = PriceRow.objects.filter(
        Q(valid_to=None) | Q(valid_to__gt=at),
        book="list",
        provider=OuterRef("provider__name"),
        model=OuterRef("name"),
        meter=meter,
        processing="online",
        service_tier="standard",
        region="global",
        above_input_tokens=0,
        superseded_at=None,
        valid_from__lte=at,
    )
    return Subquery(live.order_by("-valid_from").values("unit_price")[:1])


def _price(unit_price: Decimal | None) -> Decimal | str:
    return "no price: refused" if unit_price is None else unit_price
