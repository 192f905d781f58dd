"""The page of estimates: what was held for calls beside what they came to, and what was learned from it.

Invariant: to read only; a task writes it.
"""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.contrib.filters.admin import FieldTextFilter
from unfold.decorators import display

from billing.admin_figures import exact_usd
from billing.models import EstimateAccuracy
from tenants.admin_access import OperatorAdmin


@admin.register(EstimateAccuracy)
class EstimateAccuracyAdmin(OperatorAdmin):
    """Models by how far their holds were from their bills."""

    list_display = (
        "model", "provider", "shape", "samples", "held_for_each", "hold_ratio_p50", "short", "input_ratio_p50",
        "input_ratio_high", "input_factor", "output_p50", "output_p95", "refreshed_at",
    )  # fmt: skip
    list_filter = (("provider", FieldTextFilter), ("model", FieldTextFilter))
    search_fields = ("model", "provider")
    readonly_fields = ("held", "billed")
    exclude = ("hold_usd", "billed_usd")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @display(description="Held / billed")
    def held_for_each(self, row: EstimateAccuracy) -> str:
        return f"{row.hold_usd / row.billed_usd:.2f}" if row.billed_usd else "–"

    @display(description="Held")
    def held(self, row: EstimateAccuracy) -> str:
        return exact_usd(row.hold_usd)

    @display(description="Billed")
    def billed(self, row: EstimateAccuracy) -> str:
        return exact_usd(row.billed_usd)
