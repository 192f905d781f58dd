"""Pages of the ledger and of what leads to it: attempts, records, days, periods. All of them are read only.

Invariant: nothing here can add, change or delete a row; the database refuses it too. What could not be read is settled
by corrections.
"""

from decimal import Decimal
from typing import Any

from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import (
    ChoicesCheckboxFilter,
    FieldTextFilter,
    RangeDateFilter,
    RangeDateTimeFilter,
)
from unfold.decorators import display
from unfold.forms import BaseDialogForm

from billing.admin.figures import usd
from billing.admin.newest import ATTEMPTS, DAYS, NewestAdmin
from billing.admin.unread import CertaintyFilter, ExplanationForm
from billing.ledger import unread
from billing.ledger.rollups import rebuild_dirty
from billing.models import Attempt, RollupDirty, UsageDaily, UsageLine, UsageRecord
from config.site.cells import json_block
from tenants.admin.access import ReadOnlyAdmin
from tenants.admin.choices import SeenRowsFilter
from tenants.admin.columns import figure_column
from tenants.admin.dialogs import dialog_action
from tenants.models import ApiKey
from tenants.people.rights import Right


def key_name(key_id: int | None) -> str:
    """Return the name of the key a row was made with; the row keeps only its id."""
    key = ApiKey.objects.filter(pk=key_id).first() if key_id else None
    return str(key) if key else "–"


@admin.register(UsageRecord)
class UsageRecordAdmin(NewestAdmin):
    """The ledger, newest first, each record with its lines."""

    list_display = (
        "occurred_at",
        "tenant",
        "user_id",
        "feature",
        "model",
        "shown_source",
        "shown_certainty",
        "tokens",
        "shown_list_cost",
        "shown_billed_cost",
        "shown_saving",
    )
    list_filter = (
        ("tenant", SeenRowsFilter),
        ("occurred_at", RangeDateTimeFilter),
        ("model", FieldTextFilter),
        ("user_id", FieldTextFilter),
        ("feature", FieldTextFilter),
        ("cost_center", FieldTextFilter),
        CertaintyFilter,
    )
    list_select_related = ("tenant", "attempt")
    actions_detail = ("explain_usage", "read_usage_again")
    search_fields = ("request_id__exact", "attempt_id__exact", "upstream_id__exact")
    search_help_text = "A request, attempt or provider id"
    fieldsets = (
        (
            "What",
            {
                "fields": (
                    ("occurred_at", "recorded_at"),
                    ("kind", "usage_source"),
                    ("shown_certainty", "price_status"),
                    ("charge_class", "reason"),
                )
            },
        ),
        (
            "Who",
            {
                "fields": (
                    ("tenant", "period"),
                    ("user_id", "key"),
                    ("feature", "project"),
                    ("cost_center", "shown_tags"),
                )
            },
        ),
        (
            "Which",
            {
                "fields": (
                    ("provider", "model"),
                    ("model_asked", "tier"),
                    ("endpoint", "cache_state"),
                    ("processing", "service_tier", "region"),
                )
            },
        ),
        (
            "Tokens",
            {
                "fields": (
                    ("input_tokens", "cache_read_tokens", "cache_write_tokens"),
                    ("output_tokens", "reasoning_tokens"),
                    ("saved_input_tokens", "saved_output_tokens"),
                )
            },
        ),
        (
            "Money, USD",
            {
                "fields": (
                    ("list_cost", "provider_cost"),
                    ("contracted_cost", "billed_cost"),
                    "shown_lines",
                    "shown_savings",
                )
            },
        ),
        (
            "Traces",
            {
                "fields": (
                    ("id", "request_id"),
                    ("attempt_id", "upstream_id"),
                    "corrects_id",
                    "shown_raw_usage",
                    "shown_reading",
                )
            },
        ),
    )
    readonly_fields = (
        *("key", "shown_tags", "shown_lines", "shown_savings", "shown_raw_usage", "shown_reading"),
        "shown_certainty",
    )

    operated_with = Right.BOOK

    @dialog_action(
        "Explain…",
        "troubleshoot",
        title="What did this call cost?",
        text="The provider sent figures that could not be read or believed, so the call was booked at a bound. The"
        " difference to what you say is booked as a correction in the open month.",
        submit="Book it",
        form=ExplanationForm,
        refusals=(ValidationError,),
    )
    def explain_usage(self, request: HttpRequest, form: ExplanationForm, record: UsageRecord) -> str:
        difference = unread.explain(
            record,
            amount_usd=form.cleaned_data["amount_usd"],
            explanation=form.cleaned_data["explanation"],
            acting_user=request.user,
        )
        return f"Explained: {difference:+f} USD booked as a correction."

    @dialog_action(
        "Read again",
        "refresh",
        title="Read the usage again?",
        text="As this release reads it, at the prices of its day. What it cannot read either stays as it is.",
        submit="Read it",
        refusals=(ValidationError,),
    )
    def read_usage_again(self, request: HttpRequest, form: BaseDialogForm, record: UsageRecord) -> str:
        return "Read, and settled." if unread.read_again(record) else "It cannot be read yet."

    @display(
        description="Certainty",
        label={"exact": "success", "estimated": "warning", "unread": "danger", "explained": "info"},
    )
    def shown_certainty(self, record: UsageRecord) -> str:
        is_settled = record.attempt is not None and record.attempt.state == Attempt.State.CAPTURED
        return "explained" if is_settled and record.certainty != "exact" else record.certainty

    @display(description="How it was read")
    def shown_reading(self, record: UsageRecord) -> SafeString | str:
        return json_block(record.reading) if record.reading else "–"

    @display(
        description="Source",
        label={"provider": "success", "gateway cache": "info", "estimated": "warning", "manual": "danger"},
    )
    def shown_source(self, record: UsageRecord) -> str:
        return record.get_usage_source_display()

    @figure_column("Tokens in / out")
    def tokens(self, record: UsageRecord) -> str:
        if record.usage_source == UsageRecord.Source.GATEWAY_CACHE:
            return f"saved {record.saved_input_tokens:,} / {record.saved_output_tokens:,}"
        tokens_in = record.input_tokens + record.cache_read_tokens + record.cache_write_tokens
        return f"{tokens_in:,} / {record.output_tokens:,}"

    @figure_column("List, USD")
    def shown_list_cost(self, record: UsageRecord) -> Decimal:
        return record.list_cost

    @figure_column("Billed, USD")
    def shown_billed_cost(self, record: UsageRecord) -> Decimal:
        return record.billed_cost

    @figure_column("Saved, USD")
    def shown_saving(self, record: UsageRecord) -> Decimal:
        return record.list_cost - record.billed_cost

    @display(description="API key")
    def key(self, record: UsageRecord) -> str:
        return key_name(record.key_id)

    @display(description="Tags")
    def shown_tags(self, record: UsageRecord) -> SafeString | str:
        return json_block(record.tags) if record.tags else "–"

    @display(description="Savings by cause")
    def shown_savings(self, record: UsageRecord) -> SafeString | str:
        return json_block(record.saving) if record.saving else "–"

    @display(description="Usage as reported")
    def shown_raw_usage(self, record: UsageRecord) -> SafeString | str:
        return json_block(record.raw_usage) if record.raw_usage else "–"

    @display(description="Lines")
    def shown_lines(self, record: UsageRecord) -> SafeString | str:
        lines = UsageLine.objects.filter(record_id=record.id, occurred_at=record.occurred_at).order_by(
            "line_no"
        )
        rows = [
            [
                line.meter,
                line.quantity,
                f"{usd(line.unit_price)} per {line.per:,}" if line.unit_price is not None else "–",
                line.billed_cost,
            ]
            for line in lines
        ]
        table = {"headers": ["Meter", "Quantity", "Price", "Billed, USD"], "rows": rows}
        return render_to_string("admin/table.html", {"table": table}) if rows else "–"


@admin.register(Attempt)
class AttemptAdmin(NewestAdmin):
    """Calls to providers, with what they hold of the budgets until they are settled."""

    rows_of_day = ATTEMPTS

    list_display = (
        "occurred_at", "tenant", "user", "model", "provider", "shown_state", "shown_hold", "hold_tokens", "settled_at"
    )  # fmt: skip
    list_filter = (
        ("tenant", SeenRowsFilter),
        ("state", ChoicesCheckboxFilter),
        ("occurred_at", RangeDateTimeFilter),
        ("model", FieldTextFilter),
    )
    list_select_related = ("tenant",)
    search_fields = ("request_id__exact", "id__exact")
    search_help_text = "A request or attempt id"

    @display(
        description="State",
        label={"held": "info", "sent": "info", "captured": "success", "voided": "", "estimated": "warning"},
    )
    def shown_state(self, attempt: Attempt) -> str:
        return attempt.state

    @figure_column("Hold, USD")
    def shown_hold(self, attempt: Attempt) -> Decimal:
        return attempt.hold_usd


@admin.register(UsageDaily)
class UsageDailyAdmin(NewestAdmin):
    """Days, as the graphs count them."""

    newest_by, rows_of_day = "day", DAYS

    list_display = (
        "day", "tenant", "user_id", "feature", "model", "cache_state", "shown_requests", "shown_list", "shown_billed"
    )  # fmt: skip
    list_filter = (
        ("tenant", SeenRowsFilter),
        ("day", RangeDateFilter),
        ("model", FieldTextFilter),
        ("user_id", FieldTextFilter),
        ("feature", FieldTextFilter),
    )
    list_select_related = ("tenant",)
    date_hierarchy = None

    @figure_column("Calls", ordering="requests")
    def shown_requests(self, day: UsageDaily) -> int:
        return day.requests

    @figure_column("List, USD", ordering="list_cost")
    def shown_list(self, day: UsageDaily) -> Decimal:
        return day.list_cost

    @figure_column("Billed, USD", ordering="billed_cost")
    def shown_billed(self, day: UsageDaily) -> Decimal:
        return day.billed_cost


@admin.register(RollupDirty)
class RollupDirtyAdmin(ReadOnlyAdmin):
    """Days whose sums are older than their ledger; the schedule empties this list every minute."""

    list_display = ("day", "tenant")
    list_select_related = ("tenant",)
    actions_list = ("rebuild",)

    operated_with = Right.PLATFORM  # it sums the days of every tenant

    @dialog_action(
        "Rebuild now",
        "refresh",
        title="Rebuild the sums of these days now?",
        text="The schedule does it every minute.",
        submit="Rebuild",
    )
    def rebuild(self, request: HttpRequest, form: BaseDialogForm) -> str:
        return f"{rebuild_dirty()} days rebuilt."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).order_by("-day")
