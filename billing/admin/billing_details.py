"""The page of whom a tenant's statements are addressed to.

Invariant: owners and finance of a tenant enter their own name and address; what is taxed, and when it is due, platform finance.
"""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from billing.models import BillingDetails
from tenants.admin.access import HistoryPages, TenantScopedAdmin
from tenants.people.rights import Right, may_everywhere

OPERATORS_FIELDS = ("tax", "vat_percent", "payment_days", "currency")


@admin.register(BillingDetails)
class BillingDetailsAdmin(HistoryPages, TenantScopedAdmin):
    """Recipients of statements, with tax and terms of payment."""

    changed_with = Right.BILL
    list_display = (
        "tenant",
        "legal_name",
        "vat_id",
        "tax",
        "vat_percent",
        "payment_days",
        "currency",
        "po_number",
    )
    list_select_related = ("tenant",)
    search_fields = ("tenant__slug", "legal_name", "vat_id")
    autocomplete_fields = ("tenant",)
    fieldsets = (
        (None, {"fields": ("tenant", ("legal_name", "vat_id"), "address", ("email", "po_number"))}),
        (
            "Tax and payment",
            {
                "fields": (("tax", "vat_percent"), ("payment_days", "currency")),
                "description": "Of the next statements. Those that are issued keep what they say.",
            },
        ),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        fields = tuple(super().get_readonly_fields(request, obj))
        return fields if may_everywhere(request, Right.BOOK) else (*fields, *OPERATORS_FIELDS)
