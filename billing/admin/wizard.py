"""The form that opens a tenant: name, time zone, key, user, monthly budget and rate limits, in one step.

Invariant: it is not valid before somebody chose a budget and rate limits, or "no limit" of each in so many words.
"""

from decimal import Decimal
from typing import Any

from django import forms
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminSelect2Widget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from tenants.admin.limits import FIELDS as LIMIT_FIELDS
from tenants.admin.limits import chosen_limits, limit_field
from tenants.models import Tenant
from tenants.validation import timezones

FIELDSETS = (
    ("Who", {"fields": (("name", "slug"), "timezone")}),
    (
        "What it may spend",
        {
            "fields": (("monthly_budget_usd", "has_no_limit"),),
            "description": "A call that does not fit any more is refused, before it costs anything.",
        },
    ),
    (
        "How fast it may call",
        {
            "fields": (("rpm", "tpm", "concurrency"), "has_no_rate_limit"),
            "description": "A call beyond these is refused with the seconds to wait. Keys can have limits of their own.",
        },
    ),
    ("How it calls", {"fields": (("key_name", "user"),)}),
)


class TenantWizard(forms.ModelForm[Tenant]):
    """Asks for what a tenant needs for its first call, and no more."""

    timezone = forms.ChoiceField(
        widget=UnfoldAdminSelect2Widget(),
        initial="UTC",
        label="Time zone",
        help_text="Its days and months begin here; a closed month keeps the zone it had.",
    )
    monthly_budget_usd = forms.DecimalField(
        min_value=Decimal("0.01"),
        max_digits=28,
        decimal_places=12,
        required=False,
        widget=UnfoldAdminDecimalFieldWidget(attrs={"min": "0.01", "step": "any"}),
        label="Monthly budget, USD",
        help_text="Alerts at 80 and 100 %. Budgets of single users, keys and features can be added later.",
    )
    has_no_limit = forms.BooleanField(
        required=False,
        widget=UnfoldBooleanSwitchWidget(),
        label="No limit",
        help_text="Every key of this tenant may spend without end.",
    )
    rpm = limit_field("Requests a minute", "Of all its keys together.", initial=600)
    tpm = limit_field("Tokens a minute", "Input and output together.", initial=400_000)
    concurrency = limit_field("Calls at one time", "Open streams count until they end.", initial=50)
    has_no_rate_limit = forms.BooleanField(
        required=False,
        widget=UnfoldBooleanSwitchWidget(),
        label="No rate limit",
        help_text="It may call as fast as the providers answer; the fields above count for nothing.",
    )
    key_name = forms.CharField(
        max_length=100,
        initial="first",
        widget=UnfoldAdminTextInputWidget(),
        label="Name of its first key",
        help_text="The key is shown once, when you save.",
    )
    user = forms.CharField(
        max_length=200,
        required=False,
        widget=UnfoldAdminTextInputWidget(),
        label="User of this key",
        help_text="The person whose key it is. Empty: calls name their users themselves.",
    )

    class Meta:
        model = Tenant
        fields = ("name", "slug", "timezone")
        widgets = {"name": UnfoldAdminTextInputWidget(), "slug": UnfoldAdminTextInputWidget()}
        help_texts = {"slug": "Short name in addresses, files and reports. It never changes."}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["timezone"].choices = [(name, name) for name in sorted(timezones())]

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean() or {}
        has_budget = cleaned.get("monthly_budget_usd") is not None
        if "monthly_budget_usd" not in self.errors and has_budget == bool(cleaned.get("has_no_limit")):
            message = (
                "Either a budget or no limit, not both."
                if has_budget
                else "Choose a budget, or say that there is no limit."
            )
            self.add_error("monthly_budget_usd", message)
        is_unlimited = bool(cleaned.get("has_no_rate_limit"))
        if not is_unlimited and not chosen_limits(cleaned) and not {*LIMIT_FIELDS} & {*self.errors}:
            self.add_error("rpm", "Choose a rate limit, or say that there is none.")
        self.instance.rate_limits = {} if is_unlimited else chosen_limits(cleaned)
        return cleaned
