"""The page of deferred calls.

Invariant: read only but for the cancellation; what was asked and answered is not shown, because it is prompts.
"""

from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.timezone import now
from unfold.contrib.filters.admin import ChoicesCheckboxFilter, FieldTextFilter, RangeDateTimeFilter
from unfold.decorators import display
from unfold.forms import BaseDialogForm

from config.site.cells import json_block
from llm.admin.batches import STATUS_LABELS
from llm.jobs.following import cancel
from llm.models import DeferredJob
from tenants.admin.access import ReadOnlyAdmin
from tenants.admin.choices import SeenRowsFilter
from tenants.admin.columns import figure_column
from tenants.admin.confirming import list_action
from tenants.admin.dialogs import dialog_action


@admin.register(DeferredJob)
class DeferredJobAdmin(ReadOnlyAdmin):
    """Deferred calls: how old each is, by when it has to be answered, what is held for it and what it cost."""

    list_display = (
        "public_id",
        "tenant",
        "user",
        "model",
        "shown_status",
        "lane",
        "age",
        "deadline_at",
        "held",
        "cost",
    )
    list_filter = (
        ("tenant", SeenRowsFilter),
        ("status", ChoicesCheckboxFilter),
        ("lane", ChoicesCheckboxFilter),
        ("model", FieldTextFilter),
        ("created_at", RangeDateTimeFilter),
    )
    list_select_related = ("tenant",)
    search_fields = ("public_id", "request_id__exact", "user")
    exclude = ("body", "response", "context", "error", "lanes", "steps", "item")
    readonly_fields = ("shown_lanes", "shown_error")
    actions = ("cancel_selected",)
    actions_detail = ("cancel_one",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[DeferredJob]:
        return super().get_queryset(request).defer("body", "response", "context", "steps")

    @display(
        description="Status", ordering="status", label={**STATUS_LABELS, "running": "info", "queued": ""}
    )
    def shown_status(self, job: DeferredJob) -> str:
        return job.status

    @display(description="Age", ordering="-created_at")
    def age(self, job: DeferredJob) -> str:
        age = (job.finished_at or now()) - job.created_at
        return str(timedelta(seconds=round(age.total_seconds())))

    @figure_column("Held, USD", ordering="hold_usd")
    def held(self, job: DeferredJob) -> Decimal | None:
        return None if job.finished_at else job.hold_usd

    @figure_column("Cost, USD", ordering="cost_usd")
    def cost(self, job: DeferredJob) -> Decimal | None:
        return job.cost_usd if job.finished_at else None

    @display(description="Lanes")
    def shown_lanes(self, job: DeferredJob) -> Any:
        return json_block(job.lanes) if job.lanes else "–"

    @display(description="Error")
    def shown_error(self, job: DeferredJob) -> Any:
        return json_block(job.error) if job.error else "–"

    @list_action(
        "Cancel the selected deferred calls",
        effect="Those that wait end now, and their holds are given back. Those that run may still be answered, and are then"
        " paid.",
        submit="Cancel them",
        is_destructive=True,
    )
    def cancel_selected(self, request: HttpRequest, queryset: QuerySet[DeferredJob]) -> None:
        done = sum(cancel(job) for job in queryset)
        self.message_user(request, f"{done} deferred calls cancelled, or asked to end.")

    @dialog_action(
        "Cancel",
        "cancel",
        title="Cancel this deferred call?",
        text="One that waits ends now, and its hold is given back. One that runs may still be answered, and is paid then.",
        submit="Cancel it",
    )
    def cancel_one(self, request: HttpRequest, form: BaseDialogForm, job: DeferredJob) -> str:
        return "It is cancelled, or asked to end." if cancel(job) else "It is over already."
