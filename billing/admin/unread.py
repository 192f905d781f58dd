"""Parts of the ledger's page: they show how certain amounts are, and let a person explain one.

Invariant: nothing is booked here.
"""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminTextInputWidget

from billing.models import Attempt, UsageRecord


class CertaintyFilter(admin.SimpleListFilter):
    """How far an amount is known. What was unread and is explained now is apart."""

    title = "certainty"
    parameter_name = "certainty"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [*UsageRecord.Certainty.choices, ("explained", "unread, and explained since")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[UsageRecord]) -> QuerySet[UsageRecord]:
        match self.value():
            case None:
                return queryset
            case "unread":
                return queryset.filter(certainty="unread").exclude(attempt__state=Attempt.State.CAPTURED)
            case "explained":
                return queryset.filter(certainty="unread", attempt__state=Attempt.State.CAPTURED)
            case certainty:
                return queryset.filter(certainty=certainty)


class ExplanationForm(BaseDialogForm):
    """What a call really cost, and how this is known."""

    amount_usd = forms.DecimalField(
        min_value=0,
        max_digits=28,
        decimal_places=12,
        widget=UnfoldAdminDecimalFieldWidget(),
        label="Cost, USD",
    )
    explanation = forms.CharField(
        max_length=500,
        widget=UnfoldAdminTextInputWidget(),
        help_text="What the provider's figures mean, for later readers of the ledger.",
    )
