"""The pages of reports that are delivered by themselves, and of each delivery.

Invariant: what opens a storage is written, never shown. All tenants' reports, which have our margin, are for who may close
everywhere; who may close in a tenant sends that tenant's to its own people, and to storages.
"""

from typing import Any, Final

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesCheckboxFilter
from unfold.decorators import display
from unfold.forms import BaseDialogForm
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminPasswordWidget,
    UnfoldAdminTextInputWidget,
)

from billing.deliveries.outbox import SECRETS, ask_now, retry
from billing.deliveries.schedules import OF_STATEMENTS, check, remove_schedule, save_schedule, zone_of
from billing.models import ReportDelivery, ReportSchedule
from billing.models.split_rules import MONTH
from billing.months.exports import ASKED
from config.site import cells
from config.site.cells import NOTHING
from tenants.admin.access import ReadOnlyAdmin, TenantScopedAdmin, TenantScopedForm
from tenants.admin.choices import SeenRowsFilter
from tenants.admin.dialogs import dialog_action
from tenants.people.rights import Right, may_everywhere

SHOWN: Final = 20
KEEPS: Final = "Empty keeps the one that is stored. It is never shown."


def _secret(label: str) -> forms.CharField:
    widget = UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"})
    return forms.CharField(required=False, label=label, widget=widget, help_text=KEEPS, max_length=300)


class ReportScheduleForm(TenantScopedForm):
    """A schedule that can be carried out; the keys of a storage can be replaced, and are never shown."""

    is_everywhere = False

    formats = forms.MultipleChoiceField(
        required=False,
        choices=[(name, name) for name in dict.fromkeys((*OF_STATEMENTS, *ASKED))],
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="Of a report or a statement; a pack has all.",
    )
    new_access_key = _secret("Access key")
    new_secret_key = _secret("Secret key")

    class Meta:
        model = ReportSchedule
        fields = (
            *("tenant", "name", "what", "formats", "when", "day", "hour"),
            *("kind", "target", "endpoint", "region", "is_active"),
        )

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean() or {}
        if "tenant" in self.fields and cleaned.get("tenant") is None and not self.is_everywhere:
            raise ValidationError({"tenant": "A schedule belongs to a tenant."})
        return cleaned

    def _post_clean(self) -> None:
        """Check the schedule as the answers make it, before the database's own rules do."""
        for name in SECRETS:
            if new := self.cleaned_data.get(f"new_{name}"):
                setattr(self.instance, name, new)
        super()._post_clean()
        if not self.errors:
            try:
                check(self.instance, by_tenant=not self.is_everywhere)
            except ValidationError as error:
                for name, problems in error.message_dict.items():
                    of_form = f"new_{name}" if name in SECRETS else name
                    self.add_error(of_form if of_form in self.fields else None, problems)


class NowForm(BaseDialogForm):
    """Of which month."""

    month = forms.CharField(
        max_length=7,
        validators=[MONTH],
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "2026-11"}),
    )


@admin.register(ReportSchedule)
class ReportScheduleAdmin(TenantScopedAdmin):
    """Which reports go where by themselves."""

    form = ReportScheduleForm
    list_display = ("name", "tenant", "what", "when", "shown_kind", "target", "is_active")
    list_filter = (("tenant", SeenRowsFilter), ("kind", ChoicesCheckboxFilter), "is_active")
    list_select_related = ("tenant",)
    search_fields = ("name", "target", "tenant__slug")
    autocomplete_fields = ("tenant",)
    actions_detail = ("deliver_now",)
    add_fieldsets = (
        (None, {"fields": (("tenant", "name"), "is_active")}),
        ("What", {"fields": ("what", "formats")}),
        ("When", {"fields": ("when", ("day", "hour"))}),
        (
            "Where",
            {"fields": ("kind", "target", ("endpoint", "region"), ("new_access_key", "new_secret_key"))},
        ),
    )
    fieldsets = (*add_fieldsets, ("Deliveries", {"fields": ("last_deliveries",)}))
    readonly_fields = ("last_deliveries",)
    changed_with = operated_with = Right.CLOSE

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return super().get_fieldsets(request, obj) if obj else self.add_fieldsets

    def get_form(self, request: HttpRequest, *args: Any, **options: Any) -> Any:
        form = super().get_form(request, *args, **options)
        form.is_everywhere = may_everywhere(request, Right.CLOSE)
        return form

    def get_queryset(self, request: HttpRequest) -> QuerySet[ReportSchedule]:
        return super().get_queryset(request).defer(*SECRETS)

    def save_model(self, request: HttpRequest, obj: ReportSchedule, form: Any, change: bool) -> None:
        save_schedule(obj, acting_user=request.user, by_tenant=not may_everywhere(request, Right.CLOSE))

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Its deliveries, which nobody deletes by themselves, go with it."""
        shown, counts, _, protected = super().get_deleted_objects(objs, request)
        return shown, counts, set(), protected

    def delete_model(self, request: HttpRequest, obj: ReportSchedule) -> None:
        remove_schedule(obj, acting_user=request.user)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[ReportSchedule]) -> None:
        for schedule in queryset:
            remove_schedule(schedule, acting_user=request.user)

    @display(description="Where")
    def shown_kind(self, schedule: ReportSchedule) -> str:
        return schedule.get_kind_display()

    @display(description="The last ones")
    def last_deliveries(self, schedule: ReportSchedule) -> SafeString:
        if not hasattr(schedule, "_last"):  # a page asks for the field several times
            rows = ReportDelivery.objects.filter(schedule=schedule.pk).order_by("-created_at")
            schedule._last = list(rows[:SHOWN])
        return render_to_string(
            "admin/table.html", {"table": table_of(schedule._last, zone=zone_of(schedule))}
        )

    @dialog_action(
        "Deliver now…",
        "outgoing_mail",
        title="Have a month delivered now?",
        text="Its files are made in the background and go to this schedule's place, beside its own occasions.",
        submit="Deliver it",
        form=NowForm,
        offered=lambda schedule: schedule.is_active,
    )
    def deliver_now(self, request: HttpRequest, form: NowForm, schedule: ReportSchedule) -> str:
        delivery = ask_now(schedule, month=form.cleaned_data["month"])
        return f"{delivery.month} is on its way: this page tells what became of it."


@admin.register(ReportDelivery)
class ReportDeliveryAdmin(ReadOnlyAdmin):
    """Each delivery of a report: what went where, and what is still to be sent."""

    list_display = (
        *("created_at", "schedule_name", "tenant", "month", "shown_state", "attempts"),
        *("delivered_at", "place", "last_error"),
    )
    list_filter = (("tenant", SeenRowsFilter), ("state", ChoicesCheckboxFilter))
    search_fields = ("tenant__slug", "schedule__name", "month")
    actions_detail = ("try_again",)
    fieldsets = (
        (None, {"fields": (("schedule", "tenant"), ("month", "occasion"), ("shown_state", "attempts"))}),
        ("Times", {"fields": (("created_at", "next_try_at"), "delivered_at")}),
        ("Files", {"fields": ("shown_files", "place", "last_error")}),
    )
    readonly_fields = ("shown_state", "shown_files")
    operated_with = Right.CLOSE

    def get_queryset(self, request: HttpRequest) -> QuerySet[ReportDelivery]:
        return (
            super()
            .get_queryset(request)
            .select_related("tenant", "schedule")
            .defer(*(f"schedule__{one}" for one in SECRETS))
        )

    @display(description="Schedule", ordering="schedule__name")
    def schedule_name(self, delivery: ReportDelivery) -> str:
        return delivery.schedule.name

    @display(
        description="State",
        label={"waiting": "info", "pending": "warning", "delivered": "success", "dead": "danger"},
    )
    def shown_state(self, delivery: ReportDelivery) -> str:
        return delivery.state

    @display(description="Files")
    def shown_files(self, delivery: ReportDelivery) -> SafeString:
        rows = [[one["name"], filesizeformat(one["bytes"]), one["sha256"]] for one in delivery.files]
        table = {"headers": ["File", "Size", "sha256"], "rows": rows, "empty": "None was sent yet."}
        return render_to_string("admin/table.html", {"table": table})

    @dialog_action(
        "Try again",
        "replay",
        title="Try this delivery again?",
        text="Its files go to the schedule's place as it is now, under the same names. The others are tried by themselves.",
        submit="Try again",
        offered=lambda delivery: delivery.state == ReportDelivery.State.DEAD,
    )
    def try_again(self, request: HttpRequest, form: BaseDialogForm, delivery: ReportDelivery) -> str:
        return "It goes out again." if retry(delivery) else "It was not given up."


def table_of(deliveries: list[ReportDelivery], *, zone: str) -> dict[str, Any]:
    """Deliveries as a page shows them."""
    rows = [
        [
            cells.moment(one.created_at, zone=zone),
            one.month,
            one.get_state_display(),
            cells.moment(one.delivered_at, zone=zone) if one.delivered_at else NOTHING,
            ", ".join(file["name"] for file in one.files) or NOTHING,
            one.last_error or one.place or NOTHING,
        ]
        for one in deliveries
    ]
    return {
        "headers": ["Due", "Month", "State", "Delivered", "Files", "Where, or what was wrong"],
        "rows": rows,
        "empty": "None yet.",
    }
