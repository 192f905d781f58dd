"""Pages of files and batches.

Invariant: read only; the content of files and the bodies of lines are not shown, because they hold prompts.
"""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.contrib.filters.admin import (
    ChoicesCheckboxFilter,
    FieldTextFilter,
    RangeDateTimeFilter,
)
from unfold.decorators import display

from billing.admin.figures import exact_usd, json_block
from llm.models import Batch, BatchItem, BatchJob, StoredFile
from tenants.admin.access import ReadOnlyAdmin
from tenants.admin.choices import SeenRowsFilter

STATUS_LABELS = {
    "completed": "success",
    "failed": "danger",
    "expired": "danger",
    "cancelled": "warning",
    "cancelling": "warning",
    "in_progress": "info",
    "finalizing": "info",
    "validating": "info",
    "submitted": "info",
    "held": "info",
    "pending": "",
}


@admin.register(StoredFile)
class StoredFileAdmin(ReadOnlyAdmin):
    """Files that tenants uploaded or batches produced."""

    list_display = ("public_id", "tenant", "purpose", "filename", "size", "created_at", "deleted_at")
    list_filter = (
        ("tenant", SeenRowsFilter),
        ("purpose", FieldTextFilter),
        ("created_at", RangeDateTimeFilter),
    )
    list_select_related = ("tenant",)
    search_fields = ("public_id", "filename")
    exclude = ("content",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[StoredFile]:
        return super().get_queryset(request).defer("content")

    @display(description="Size", ordering="bytes")
    def size(self, file: StoredFile) -> str:
        return f"{file.bytes:,} bytes"


@admin.register(Batch)
class BatchAdmin(ReadOnlyAdmin):
    """Batches as their clients see them."""

    list_display = (
        "public_id",
        "tenant",
        "user",
        "endpoint",
        "shown_status",
        "line_count",
        "created_at",
        "completed_at",
    )
    list_filter = (
        ("tenant", SeenRowsFilter),
        ("status", ChoicesCheckboxFilter),
        ("created_at", RangeDateTimeFilter),
    )
    search_fields = ("public_id", "user")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Batch]:
        files = ("input_file", "output_file", "error_file")
        rows = super().get_queryset(request).select_related("tenant", *files)
        return rows.defer(*(f"{name}__content" for name in files))

    @display(description="Status", ordering="status", label=STATUS_LABELS)
    def shown_status(self, batch: Batch) -> str:
        return batch.status


@admin.register(BatchJob)
class BatchJobAdmin(ReadOnlyAdmin):
    """A batch's parts at the providers."""

    list_display = (
        "public_id",
        "batch",
        "tenant",
        "provider",
        "model",
        "state",
        "upstream_status",
        "submitted_at",
        "last_error",
    )
    list_filter = (("tenant", SeenRowsFilter), ("state", ChoicesCheckboxFilter))
    list_select_related = ("tenant", "batch")
    search_fields = ("public_id", "upstream_id", "batch__public_id")


@admin.register(BatchItem)
class BatchItemAdmin(ReadOnlyAdmin):
    """The lines of batches, with what each cost."""

    list_display = ("custom_id", "batch", "tenant", "model", "shown_status", "tokens", "cost", "settled_at")
    list_filter = (
        ("tenant", SeenRowsFilter),
        ("status", ChoicesCheckboxFilter),
        ("model", FieldTextFilter),
    )
    list_select_related = ("tenant", "batch", "job")
    search_fields = ("custom_id", "batch__public_id", "request_id__exact")
    exclude = ("body", "sent_body", "remembered", "response", "error")
    readonly_fields = ("shown_error",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[BatchItem]:
        return super().get_queryset(request).defer("body", "sent_body", "remembered", "response")

    @display(description="Status", ordering="status", label=STATUS_LABELS)
    def shown_status(self, item: BatchItem) -> str:
        return item.status

    @display(description="Tokens in / out")
    def tokens(self, item: BatchItem) -> str:
        return f"{item.input_tokens:,} / {item.output_tokens:,}"

    @display(description="Cost", ordering="cost_usd")
    def cost(self, item: BatchItem) -> str:
        return exact_usd(item.cost_usd)

    @display(description="Error")
    def shown_error(self, item: BatchItem) -> Any:
        return json_block(item.error) if item.error else "–"
