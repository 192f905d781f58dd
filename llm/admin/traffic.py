"""Pages of traffic: the log of requests with their receipts, and the feedback of callers.

Invariant: read only; these tables hold no prompt and no answer.
"""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import (
    FieldTextFilter,
    RangeDateTimeFilter,
    RangeNumericFilter,
)
from unfold.decorators import display

from billing.admin.figures import exact_usd, json_block
from llm.models import Feedback, RequestLog
from tenants.admin.access import ReadOnlyAdmin
from tenants.admin.choices import SeenRowsFilter


@admin.register(RequestLog)
class RequestLogAdmin(ReadOnlyAdmin):
    """Requests, newest first, each with its receipt."""

    list_display = (
        "at", "tenant", "user", "model_asked", "answered_by", "shown_cache", "shown_status", "cost", "list_cost",
        "latency", "first_token",
    )  # fmt: skip
    list_filter = (
        ("tenant", SeenRowsFilter),
        ("at", RangeDateTimeFilter),
        ("status", RangeNumericFilter),
        ("user", FieldTextFilter),
        ("session", FieldTextFilter),
        ("feature", FieldTextFilter),
        ("model", FieldTextFilter),
        ("cache_state", FieldTextFilter),
        ("error_code", FieldTextFilter),
    )
    list_select_related = ("tenant",)
    search_fields = ("request_id__exact",)
    search_help_text = "A request id, as in the x-request-id header"
    fieldsets = (
        ("Why it was refused", {"fields": ("shown_refusal",)}),
        (
            "Who",
            {
                "fields": (
                    ("request_id", "at"),
                    ("tenant", "user"),
                    ("session", "feature"),
                    "endpoint",
                    ("key_id", "is_stream"),
                )
            },
        ),
        (
            "What was done",
            {
                "fields": (
                    ("model_asked", "model"),
                    ("provider", "tier"),
                    "route_reason",
                    ("cache_state", "similarity"),
                    ("status", "error_code"),
                )
            },
        ),
        (
            "Figures",
            {
                "fields": (
                    ("input_tokens", "output_tokens", "tokens_before_compression"),
                    ("cost_usd", "list_cost_usd"),
                    ("latency_ms", "ttft_ms"),
                )
            },
        ),
        ("Receipt", {"fields": ("shown_receipt",)}),
    )
    readonly_fields = ("shown_refusal", "shown_receipt")

    @display(description="Answered by")
    def answered_by(self, entry: RequestLog) -> str:
        return entry.model or "–"

    @display(
        description="Cache", label={"exact": "success", "semantic": "success", "miss": "", "bypass": "info"}
    )
    def shown_cache(self, entry: RequestLog) -> str:
        return entry.cache_state

    @display(description="Status", label={"ok": "success", "refused": "warning", "failed": "danger"})
    def shown_status(self, entry: RequestLog) -> tuple[str, str]:
        kind = "ok" if entry.status < 400 else "refused" if entry.status < 500 else "failed"
        return kind, f"{entry.status} {entry.error_code}".strip()

    @display(description="Cost", ordering="cost_usd")
    def cost(self, entry: RequestLog) -> str:
        return exact_usd(entry.cost_usd)

    @display(description="List", ordering="list_cost_usd")
    def list_cost(self, entry: RequestLog) -> str:
        return exact_usd(entry.list_cost_usd)

    @display(description="ms", ordering="latency_ms")
    def latency(self, entry: RequestLog) -> str:
        return f"{entry.latency_ms:,}"

    @display(description="First token, ms", ordering="ttft_ms")
    def first_token(self, entry: RequestLog) -> str:
        return "–" if entry.ttft_ms is None else f"{entry.ttft_ms:,}"

    def get_fieldsets(self, request: HttpRequest, obj: RequestLog | None = None) -> Any:
        sections = super().get_fieldsets(request, obj)
        return sections if obj and obj.receipt.get("refusal") else sections[1:]

    @display(description="Refusal")
    def shown_refusal(self, entry: RequestLog) -> SafeString:
        facts = entry.receipt["refusal"].items()
        rows = ((name.replace("_", " "), value) for name, value in facts if value not in (None, ""))
        return format_html(
            "<table>{}</table>",
            format_html_join("", '<tr><th class="pr-4 text-left">{}</th><td>{}</td></tr>', rows),
        )

    @display(description="Receipt")
    def shown_receipt(self, entry: RequestLog) -> SafeString:
        return json_block(entry.receipt)


@admin.register(Feedback)
class FeedbackAdmin(ReadOnlyAdmin):
    """Verdicts of callers on answers."""

    list_display = ("at", "tenant", "shown_rating", "answered_by", "cache_state", "reason")
    list_filter = (("tenant", SeenRowsFilter), "rating", ("at", RangeDateTimeFilter))
    list_select_related = ("tenant", "request")
    search_fields = ("reason", "request__request_id__exact")

    @display(description="Rating", ordering="rating", label={"good": "success", "bad": "danger"})
    def shown_rating(self, feedback: Feedback) -> str:
        return "good" if feedback.rating > 0 else "bad"

    @display(description="Answered by")
    def answered_by(self, feedback: Feedback) -> str:
        return feedback.request.model

    @display(description="Cache")
    def cache_state(self, feedback: Feedback) -> str:
        return feedback.request.cache_state
