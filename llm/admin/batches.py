"""Pages of files and batches.

Invariant: read only but for the verbs of `llm.batches.operations`; the content of files and the bodies of lines are not
shown, because they hold prompts. No list counts lines: they were counted beside it.
"""

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import (
    ChoicesCheckboxFilter,
    FieldTextFilter,
    RangeDateTimeFilter,
    RangeNumericFilter,
)
from unfold.decorators import display
from unfold.forms import BaseDialogForm

from billing.admin.figures import exact_usd, json_block
from llm.admin import batch_figures
from llm.batches.operations import verbs
from llm.models import Batch, BatchItem, BatchJob, StoredFile
from llm.models.batch_progress import FAILED
from tenants.admin.access import ReadOnlyAdmin
from tenants.admin.choices import SeenRowsFilter
from tenants.admin.confirming import list_action
from tenants.admin.dialogs import dialog_action

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
    "stuck": "danger",
}


@admin.register(StoredFile)
class StoredFileAdmin(ReadOnlyAdmin):
    """Files that tenants uploaded or batches produced."""

    list_display = (
        "public_id",
        "tenant",
        "purpose",
        "filename",
        "size",
        "status",
        "created_at",
        "deleted_at",
    )
    list_filter = (
        ("tenant", SeenRowsFilter),
        ("purpose", FieldTextFilter),
        ("created_at", RangeDateTimeFilter),
    )
    list_select_related = ("tenant",)
    search_fields = ("public_id", "filename")
    exclude = ("location", "report", "problems")

    def get_queryset(self, request: HttpRequest) -> QuerySet[StoredFile]:
        return super().get_queryset(request).defer("report", "problems")

    @display(description="Size", ordering="bytes")
    def size(self, file: StoredFile) -> str:
        return f"{file.bytes:,} bytes"


class NeedsFilter(admin.SimpleListFilter):
    """Batches that somebody should look at."""

    title = "needs attention"
    parameter_name = "needs"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("stuck", "Does not go on"), ("failed", "Has failed lines, or was refused")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Batch]) -> QuerySet[Batch]:
        match self.value():
            case "stuck":
                return queryset.filter(progress__isnull=False).exclude(progress__stuck="")
            case "failed":
                has_failed = Q(progress__lines__has_any_keys=list(FAILED))
                return queryset.filter(has_failed | Q(status=Batch.Status.FAILED))
        return queryset


@admin.register(Batch)
class BatchAdmin(ReadOnlyAdmin):
    """Batches: how far each is, what it holds, costs and saved, and what an operator does with it."""

    list_display = (
        "shown_id",
        "tenant",
        "user",
        "shown_status",
        "progress_bar",
        "age",
        "held",
        "cost",
        "saved",
    )
    list_filter = (
        ("tenant", SeenRowsFilter),
        ("status", ChoicesCheckboxFilter),
        NeedsFilter,
        ("created_at", RangeDateTimeFilter),
    )
    search_fields = ("public_id__exact", "user__exact")
    search_help_text = "The id of a batch, or a user"
    actions = ("cancel_selected", "requeue_selected", "retry_selected")
    actions_detail = ("cancel_one", "requeue_one", "retry_one")
    change_form_outer_before_template = "admin/batch.html"
    fieldsets = (
        ("Whose", {"fields": (("tenant", "key_id"), ("user", "feature"), "shown_tags")}),
        (
            "What",
            {
                "fields": (
                    "public_id",
                    ("endpoint", "shown_status"),
                    "input_file",
                    "output_file",
                    "error_file",
                    ("line_count", "metadata"),
                )
            },
        ),
        (
            "When",
            {
                "fields": (
                    ("created_at", "in_progress_at"),
                    ("finalizing_at", "expires_at"),
                    ("cancelling_at", "cancelled_at"),
                    ("completed_at", "failed_at", "expired_at"),
                )
            },
        ),
    )
    readonly_fields = ("shown_status", "shown_tags")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Batch]:
        files = ("input_file", "output_file", "error_file")
        rows = super().get_queryset(request).select_related("tenant", "progress", *files)
        return rows.defer(*(f"{name}__{column}" for name in files for column in ("report", "problems")))

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        context = dict(extra_context or {})
        if (batch := self.get_object(request, object_id)) is not None:
            context["batch_state"] = batch_figures.page_context(batch)
        return super().change_view(request, object_id, form_url, context)

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> Any:
        """Only the buttons that would change something now."""
        batch = self.get_object(request, str(object_id))
        applies = {
            "cancel_one": verbs.may_cancel,
            "requeue_one": verbs.may_requeue,
            "retry_one": verbs.may_retry,
        }
        return [
            action
            for action in super().get_actions_detail(request, object_id)
            if batch is not None
            and any(action.action_name.endswith(name) and may(batch) for name, may in applies.items())
        ]

    @display(description="Batch", ordering="public_id")
    def shown_id(self, batch: Batch) -> SafeString:
        return format_html('<span style="overflow-wrap:anywhere">{}</span>', batch.public_id)

    @display(description="Status", ordering="status", label=STATUS_LABELS)
    def shown_status(self, batch: Batch) -> str:
        progress = batch_figures.progress_of(batch)
        return "stuck" if progress and progress.stuck else batch.status

    @display(description="Lines")
    def progress_bar(self, batch: Batch) -> Any:
        return batch_figures.small_bar(batch)

    @display(description="Age", ordering="-created_at")
    def age(self, batch: Batch) -> SafeString:
        return format_html('<span class="whitespace-nowrap">{}</span>', batch_figures.age_of(batch))

    @display(description="Held", ordering="progress__held_usd")
    def held(self, batch: Batch) -> Any:
        return batch_figures.money(batch, "held_usd")

    @display(description="Cost", ordering="progress__cost_usd")
    def cost(self, batch: Batch) -> Any:
        return batch_figures.money(batch, "cost_usd")

    @display(description="Saved")
    def saved(self, batch: Batch) -> Any:
        return batch_figures.saved(batch)

    @display(description="Tags")
    def shown_tags(self, batch: Batch) -> str:
        return ", ".join(f"{name}={value}" for name, value in batch.tags.items()) or "–"

    @list_action(
        "Cancel the selected batches",
        effect="Lines that no provider has yet end now, and their holds are given back. Lines that a provider answers all the"
        " same are paid and delivered. This cannot be undone.",
        submit="Cancel the batches",
        is_destructive=True,
    )
    def cancel_selected(self, request: HttpRequest, queryset: QuerySet[Batch]) -> None:
        done = sum(verbs.cancel(batch, acting_user=request.user) for batch in queryset)
        self.message_user(request, f"{done} batches are being cancelled.")

    @list_action(
        "Look at the selected batches again now",
        effect="Their jobs do not wait for their next look, and their failed calls are forgotten. Nothing is sent twice.",
        submit="Look again",
    )
    def requeue_selected(self, request: HttpRequest, queryset: QuerySet[Batch]) -> None:
        done = sum(verbs.requeue(batch, acting_user=request.user) for batch in queryset)
        self.message_user(request, f"{done} batches are looked at again.")

    @dialog_action(
        "Cancel",
        "cancel",
        title="Cancel this batch?",
        text="Lines that no provider has yet end now, and their holds are given back. The provider is asked to stop; lines"
        " that it answers all the same are paid and delivered. This cannot be undone.",
        submit="Yes, cancel the batch",
        is_destructive=True,
    )
    def cancel_one(self, request: HttpRequest, form: BaseDialogForm, batch: Batch) -> str:
        done = verbs.cancel(batch, acting_user=request.user)
        return "It is being cancelled." if done else f"Nothing to do: it is {batch.status}."

    @dialog_action(
        "Look again now",
        "refresh",
        title="Have a worker look at this batch now?",
        text="Its jobs do not wait for their next look, and their failed calls are forgotten. Nothing is sent twice: what may"
        " have arrived at the provider is looked up there first.",
        submit="Look again",
    )
    def requeue_one(self, request: HttpRequest, form: BaseDialogForm, batch: Batch) -> str:
        done = verbs.requeue(batch, acting_user=request.user)
        return "It is looked at within seconds." if done else "Nothing to do: no job of it waits."

    @list_action(
        "Try the failed lines of the selected batches again",
        effect="Each is open again for a day. Failed lines that cost nothing get another attempt, held before it is sent;"
        " answered lines stay and are not paid again.",
        submit="Try them again",
    )
    def retry_selected(self, request: HttpRequest, queryset: QuerySet[Batch]) -> None:
        done = sum(verbs.retry_failed(batch, acting_user=request.user) for batch in queryset)
        self.message_user(request, f"{done} batches are open again for their failed lines.")

    @dialog_action(
        "Try failed lines again",
        "replay",
        title="Try this batch's failed lines again?",
        text="The batch is open again for a day. Each failed line that cost nothing gets another attempt, held before it is"
        " sent; answered lines stay as they are and are not paid again. At the end the batch gets new files, in which"
        " every line stands once; the files that it has now stay.",
        submit="Try them again",
    )
    def retry_one(self, request: HttpRequest, form: BaseDialogForm, batch: Batch) -> str:
        done = verbs.retry_failed(batch, acting_user=request.user)
        return "They are tried again." if done else "Nothing to do: no failed line of it can be tried again."


@admin.register(BatchJob)
class BatchJobAdmin(ReadOnlyAdmin):
    """A batch's parts at the providers: where each is, and when it is asked for next."""

    list_display = (
        "public_id",
        "batch",
        "tenant",
        "provider",
        "model",
        "line_count",
        "shown_state",
        "upstream_status",
        "upstream_id",
        "next_look",
        "failures",
        "last_error",
    )
    list_filter = (
        ("tenant", SeenRowsFilter),
        ("batch", SeenRowsFilter),
        ("state", ChoicesCheckboxFilter),
        ("provider", FieldTextFilter),
        ("failures", RangeNumericFilter),
    )
    list_select_related = ("tenant", "batch")
    search_fields = ("public_id__exact", "upstream_id__exact", "batch__public_id__exact")
    search_help_text = "The id of a job, of a batch, or of a batch at its provider"
    ordering = ("-pk",)

    @display(
        description="State",
        ordering="state",
        label={"new": "", "submitting": "warning", "submitted": "info", "finished": "success"},
    )
    def shown_state(self, job: BatchJob) -> str:
        return job.state

    @display(description="Next look", ordering="next_look_at")
    def next_look(self, job: BatchJob) -> str:
        return batch_figures.moment(job.next_look_at)


@admin.register(BatchItem)
class BatchItemAdmin(ReadOnlyAdmin):
    """The lines of batches, with what each cost."""

    list_display = ("custom_id", "batch", "tenant", "model", "shown_status", "tokens", "cost", "settled_at")
    list_filter = (
        ("tenant", SeenRowsFilter),
        ("batch", SeenRowsFilter),
        ("status", ChoicesCheckboxFilter),
        ("model", FieldTextFilter),
    )
    list_select_related = ("tenant", "batch", "job")
    search_fields = ("custom_id__exact", "batch__public_id__exact", "request_id__exact")
    search_help_text = "The custom id of a line, the id of its batch, or of its request"
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
