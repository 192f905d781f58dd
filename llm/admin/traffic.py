"""Pages of traffic: the log of requests with their receipts, and the feedback of callers.

Invariant: read only; these tables hold no prompt and no answer.
"""

from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from unfold.contrib.filters.admin import (
    RangeDateTimeFilter,
)
from unfold.decorators import display

from billing.admin.newest import Days, NewestChangeList
from llm.admin.receipts import finding, saved_views
from llm.admin.receipts.page import page_of
from llm.models import Feedback, RequestLog
from tenants.admin.access import ReadOnlyAdmin, tenants_of
from tenants.admin.choices import SeenRowsFilter
from tenants.admin.columns import figure_column


class RequestChangeList(NewestChangeList):
    """The list, narrowed by its filter bar; of a tenant, its own index finds the newest."""

    def get_filters_params(self, params: Any = None) -> dict[str, Any]:
        return {
            name: value
            for name, value in super().get_filters_params(params).items()
            if name not in finding.NAMES
        }

    def narrowed(self, request: HttpRequest, rows: QuerySet[RequestLog]) -> QuerySet[RequestLog]:
        self.bar = finding.bar_of(request)
        return finding.narrow(rows, self.bar, tenants=tenants_of(request))

    def is_found_by_index(self) -> bool:
        return finding.request_id_of(self.bar) is not None

    def has_chosen_time(self) -> bool:
        return bool(self.bar.chosen("from") or self.bar.chosen("to"))

    def is_narrowed(self) -> bool:
        return self.bar.is_narrowed

    def rows_by_day(self, request: HttpRequest) -> Days:
        return finding.requests_by_day(request, self.bar)


@admin.register(RequestLog)
class RequestLogAdmin(ReadOnlyAdmin):
    """Requests, newest first, each with its receipt."""

    list_display = (
        "at", "tenant", "user", "feature", "shown_model", "shown_cache", "shown_status", "cost", "list_cost",
        "latency",
    )  # fmt: skip
    list_select_related = ("tenant",)
    newest_by = "at"
    change_form_template = "admin/request.html"
    change_list_template = "admin/requests.html"
    custom_urls = (
        ("views/", "llm_requestlog_save_view", saved_views.save_page),
        ("views/<int:view_id>/delete/", "llm_requestlog_delete_view", saved_views.delete_page),
    )

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[RequestChangeList]:
        return RequestChangeList

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        bar = finding.bar_of(request)
        whose = {"tenant": bar.chosen("tenant")} if bar.chosen("tenant") else {}
        queries = [(title, urlencode({**whose, **choice})) for title, choice in finding.VIEWS]
        views = [
            {"title": title, "query": query, "is_open": query == bar.query()} for title, query in queries
        ]
        own = [
            {"pk": view.pk, "title": view.name, "query": view.query, "is_open": view.query == bar.query()}
            for view in saved_views.views_of(request.user)
        ]
        context = {"bar": bar, "views": views, "own_views": own, **(extra_context or {})}
        return super().changelist_view(request, context)

    @display(description="Model", ordering="model_asked")
    def shown_model(self, entry: RequestLog) -> str:
        return (
            f"{entry.model_asked} → {entry.model}"
            if entry.model not in ("", entry.model_asked)
            else entry.model_asked
        )

    @display(
        description="Cache", label={"exact": "success", "semantic": "success", "miss": "", "bypass": "info"}
    )
    def shown_cache(self, entry: RequestLog) -> str:
        return entry.cache_state

    @display(description="Status", label={"ok": "success", "refused": "warning", "failed": "danger"})
    def shown_status(self, entry: RequestLog) -> tuple[str, str]:
        kind = "ok" if entry.status < 400 else "refused" if entry.status < 500 else "failed"
        return kind, f"{entry.status} {entry.error_code}".strip()

    @figure_column("Cost, USD", ordering="cost_usd")
    def cost(self, entry: RequestLog) -> Decimal:
        return entry.cost_usd

    @figure_column("List, USD", ordering="list_cost_usd")
    def list_cost(self, entry: RequestLog) -> Decimal:
        return entry.list_cost_usd

    @figure_column("Took, ms", ordering="latency_ms")
    def latency(self, entry: RequestLog) -> int:
        return entry.latency_ms

    def get_queryset(self, request: HttpRequest) -> QuerySet[RequestLog]:
        return super().get_queryset(request).select_related("tenant")

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        *args: Any,
        obj: RequestLog | None = None,
        **options: Any,
    ) -> HttpResponse:
        if obj is not None:
            context |= page_of(obj, view=request.GET.get("view", ""))
        return super().render_change_form(request, context, *args, obj=obj, **options)


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
