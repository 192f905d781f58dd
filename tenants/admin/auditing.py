"""What the admin writes into the audit log, beside what tables with a history write by themselves.

Invariant: each form that was saved, each action on rows and each look at kept texts has an entry.
"""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from tenants.admin.confirming import ask_first
from tenants.people import audit
from tenants.people.rights import Right


class AuditedPages(admin.ModelAdmin[Any]):
    """A part of every page of ours."""

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if change and not audit.is_watched(obj):
            obj._before = type(obj)._base_manager.filter(pk=obj.pk).values().first()
        super().save_model(request, obj, form, change)

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        if not audit.is_watched(obj):
            audit.record(
                "created",
                about=obj,
                request=request,
                changes=audit.difference(obj, None, audit.values_of(obj)),
            )
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        if not audit.is_watched(obj):
            before = getattr(obj, "_before", None)
            audit.record(
                "changed",
                about=obj,
                request=request,
                changes=audit.difference(obj, before, audit.values_of(obj)),
            )
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        for obj in queryset[: audit.MOST_SHOWN]:
            if not audit.is_watched(obj):
                audit.record(
                    "deleted",
                    about=obj,
                    request=request,
                    changes=audit.difference(obj, audit.values_of(obj), None),
                )
        return super().log_deletions(request, queryset)

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        if (asked := ask_first(self, request, queryset)) is not None:
            return asked
        response = super().response_action(request, queryset)
        name = request.POST.get("action", "")
        if response is not None and name in self.get_actions(request) and name != "delete_selected":
            chosen = request.POST.getlist("_selected_action")
            shown = ", ".join(chosen[:20]) + (f" and {len(chosen) - 20} more" if len(chosen) > 20 else "")
            audit.record(
                f"{name.replace('_', ' ')} ({self.opts.verbose_name_plural})",
                request=request,
                changes={"rows": [None, shown]},
            )
        return response

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        response: HttpResponse = super().changelist_view(request, extra_context)
        if self._shows_texts and request.method == "GET" and response.status_code == 200:
            audit.record(
                "read a list of texts", request=request, object_name=str(self.opts.verbose_name_plural)
            )
        return response

    def render_change_form(
        self, request: HttpRequest, context: Any, *args: Any, **options: Any
    ) -> HttpResponse:
        if self._shows_texts and request.method == "GET" and (row := options.get("obj")) is not None:
            audit.record(
                "read a text", about=row, request=request, object_name=f"{self.opts.verbose_name} {row.pk}"
            )
        response: HttpResponse = super().render_change_form(request, context, *args, **options)
        return response

    @property
    def _shows_texts(self) -> bool:
        return getattr(self, "seen_with", None) == Right.READ_TEXTS
