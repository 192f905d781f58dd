"""The page of estimates: what was held for calls, what they cost, and what was learned from it.

Invariant: read only; a task writes it.
"""

from decimal import Decimal

from django.contrib import admin
from unfold.contrib.filters.admin import FieldTextFilter
from unfold.decorators import display

from billing.models import EstimateAccuracy
from tenants.admin.access import OperatorAdmin, Unedited
from tenants.admin.columns import figure_column


@admin.register(EstimateAccuracy)
class EstimateAccuracyAdmin(Unedited, OperatorAdmin):
    """Models by how far their holds were from their bills."""

    list_display = (
        "model", "provider", "shape", "samples", "held_for_each", "hold_ratio_p50", "short", "input_ratio_p50",
        "input_ratio_high", "input_factor", "output_p50", "output_p95", "refreshed_at",
    )  # fmt: skip
    list_filter = (("provider", FieldTextFilter), ("model", FieldTextFilter))
    search_fields = ("model", "provider")
    readonly_fields = ("held", "billed")
    exclude = ("hold_usd", "billed_usd")

    @figure_column("Held / billed")
    def held_for_each(self, row: EstimateAccuracy) -> str:
        return f"{row.hold_usd / row.billed_usd:.2f}" if row.billed_usd else "–"

    @display(description="Held")
    def held(self, row: EstimateAccuracy) -> Decimal:
        return row.hold_usd

    @display(description="Billed")
    def billed(self, row: EstimateAccuracy) -> Decimal:
        return row.billed_usd
