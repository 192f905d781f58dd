"""Pages of alerts: what happened, who took care of it, and whom it reached.

Invariant: alerts and deliveries are only read; they change through the verbs of `billing.incidents` and `outbox.retry`.
"""

from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

from django import forms
from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.timezone import now
from unfold.admin import TabularInline
from unfold.contrib.filters.admin import ChoicesCheckboxFilter, RangeDateTimeFilter
from unfold.decorators import display
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from billing import incidents
from billing.admin.figures import usd
from billing.alerts.metrics import METRICS, facts_of, sentence_of, with_unit
from billing.alerts.outbox import retry
from billing.incidents import acknowledge
from billing.models import AlertDelivery, AlertEvent, AlertStep
from config.site import cells
from tenants.admin.access import ReadOnlyAdmin
from tenants.admin.choices import SeenRowsFilter
from tenants.admin.columns import figure_column
from tenants.admin.confirming import list_action
from tenants.admin.dialogs import dialog_action
from tenants.people.rights import Right


class ResolveForm(BaseDialogForm):
    """What was done about it."""

    reason = forms.CharField(
        max_length=300, required=False, label="What was done", widget=UnfoldAdminTextInputWidget()
    )


class MuteForm(BaseDialogForm):
    """For how long nothing is sent."""

    hours = forms.TypedChoiceField(
        choices=[(1, "1 hour"), (8, "8 hours"), (24, "1 day"), (168, "7 days"), (720, "30 days")],
        coerce=int,
        label="For",
        initial=24,
        widget=UnfoldAdminSelectWidget(),
    )


class DeliveryInline(TabularInline):
    """Whom the alert reached, by which notice."""

    model = AlertDelivery
    verbose_name_plural = "Whom it reached"
    person_or_channel: ClassVar[str] = "channel"
    extra = 0
    can_delete = False
    fields = readonly_fields = (
        "channel",
        "notice",
        "status",
        "attempts",
        "next_try_at",
        "delivered_at",
        "last_error",
    )

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return True  # the event's own page has decided

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).select_related(self.person_or_channel)


class StepInline(DeliveryInline):
    """Who did what with the alert, newest first."""

    model = AlertStep
    person_or_channel = "by"
    verbose_name_plural = "History"
    fields = readonly_fields = ("at", "verb", "by", "text")


class StateFilter(admin.SimpleListFilter):
    """Alerts by what became of them."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state, state.capitalize()) for state in incidents.STATES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[AlertEvent]) -> QuerySet[AlertEvent]:
        state = self.value()
        return queryset.filter(incidents.in_state(state)) if state in incidents.STATES else queryset


class MetricFilter(admin.SimpleListFilter):
    """Alerts by what is watched, whether a rule says so or a default."""

    title = "what"
    parameter_name = "metric"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return sorted(((name, facts.title) for name, facts in METRICS.items()), key=lambda one: one[1])

    def queryset(self, request: HttpRequest, queryset: QuerySet[AlertEvent]) -> QuerySet[AlertEvent]:
        return queryset.filter(metric=self.value()) if self.value() else queryset


@admin.register(AlertEvent)
class AlertEventAdmin(ReadOnlyAdmin):
    """Alerts, newest first; an open one waits for a person to acknowledge it."""

    operated_with = Right.ATTEND
    list_display = (
        "fired_at",
        "tenant",
        "what",
        "message",
        "shown_value",
        "count",
        "state",
        "reached",
    )
    list_filter = (
        ("tenant", SeenRowsFilter),
        StateFilter,
        MetricFilter,
        ("rule", SeenRowsFilter),
        ("fired_at", RangeDateTimeFilter),
    )
    list_select_related = ("tenant", "acknowledged_by")
    search_fields = ("message", "subject_key")
    ordering = ("-fired_at",)
    inlines = (StepInline, DeliveryInline)
    fieldsets = (
        (None, {"fields": ("message", ("tenant", "state"), ("shown_value", "shown_threshold"), "why")}),
        ("About", {"fields": (("what", "about"), ("rule", "budget"))}),
        ("When", {"fields": (("fired_at", "last_at"), ("count", "ends_at"), ("resolved_at", "muted_until"))}),
        ("Who took care", {"fields": (("acknowledged_by", "acknowledged_at"),)}),
    )
    readonly_fields = ("state", "what", "shown_value", "shown_threshold", "about", "why")
    actions = ("acknowledge_selected",)
    actions_detail = ("acknowledge", "resolve", "mute", "unmute")

    def get_queryset(self, request: HttpRequest) -> QuerySet[AlertEvent]:
        delivered = Count("deliveries", filter=Q(deliveries__status=AlertDelivery.Status.DELIVERED))
        return (
            super()
            .get_queryset(request)
            .annotate(delivered_count=delivered, delivery_count=Count("deliveries"))
        )

    @display(
        description="State",
        label={"open": "danger", "muted": "warning", "acknowledged": "info", "resolved": "success"},
    )
    def state(self, event: AlertEvent) -> str:
        return event.state

    @display(description="What", ordering="metric")
    def what(self, event: AlertEvent) -> str:
        return facts_of(event.metric).title

    @display(description="About")
    def about(self, event: AlertEvent) -> SafeString | str:
        """What the alert is about: the worst request as a link to its receipt."""
        request_id = str(event.facts.get("request_id") or event.subject_key)
        try:
            url = reverse("admin:llm_requestlog_change", args=(UUID(request_id),))
        except ValueError:
            return event.subject_key or cells.NOTHING
        return cells.link(url, f"request {request_id}")

    @display(description="Why")
    def why(self, event: AlertEvent) -> str:
        return sentence_of(event.metric, event.threshold) or cells.NOTHING

    @figure_column("Value", ordering="value")
    def shown_value(self, event: AlertEvent) -> str:
        return figure(event.metric, event.value)

    @figure_column("Threshold", ordering="threshold")
    def shown_threshold(self, event: AlertEvent) -> str:
        return figure(event.metric, event.threshold)

    @display(description="Reached")
    def reached(self, event: Any) -> str:
        return f"{event.delivered_count} of {event.delivery_count}" if event.delivery_count else "no channel"

    @list_action(
        "Acknowledge the selected alerts",
        effect="Your name is shown next to each that nobody acknowledged yet. They stay open until they end or are resolved.",
        submit="Acknowledge them",
    )
    def acknowledge_selected(self, request: HttpRequest, queryset: QuerySet[AlertEvent]) -> None:
        done = sum(acknowledge(event, acting_user=request.user) for event in queryset)
        self.message_user(request, f"{done} alerts acknowledged.")

    @dialog_action(
        "Acknowledge",
        "task_alt",
        title="Acknowledge this alert?",
        text="Your name will be shown next to it.",
        submit="Acknowledge",
        offered=lambda event: event.acknowledged_at is None and event.resolved_at is None,
    )
    def acknowledge(self, request: HttpRequest, form: BaseDialogForm, event: AlertEvent) -> str:
        done = acknowledge(event, acting_user=request.user)
        return "Acknowledged." if done else "It was acknowledged already, or is over."

    @dialog_action(
        "Resolve",
        "check_circle",
        title="Resolve this alert?",
        text="It is shown as over, with your name. While its condition goes on, it is not opened again.",
        submit="Resolve",
        form=ResolveForm,
        offered=lambda event: event.resolved_at is None,
    )
    def resolve(self, request: HttpRequest, form: BaseDialogForm, event: AlertEvent) -> str:
        done = incidents.resolve(event, acting_user=request.user, text=form.cleaned_data["reason"])
        return "Resolved." if done else "It is over already."

    @dialog_action(
        "Mute",
        "notifications_off",
        title="Mute this alert?",
        text="Nothing is sent about this rule and subject for that long, also if it ends and comes again. It stays in the list.",
        submit="Mute",
        form=MuteForm,
        offered=lambda event: event.state in ("open", "acknowledged"),
    )
    def mute(self, request: HttpRequest, form: BaseDialogForm, event: AlertEvent) -> str:
        until = now() + timedelta(hours=form.cleaned_data["hours"])
        done = incidents.mute(event, until=until, acting_user=request.user)
        return f"Muted until {until:%Y-%m-%d %H:%M} UTC." if done else "It is over already."

    @dialog_action(
        "Unmute",
        "notifications_active",
        title="Send notices again?",
        text="Channels hear again of this alert.",
        submit="Unmute",
        offered=lambda event: event.state == "muted",
    )
    def unmute(self, request: HttpRequest, form: BaseDialogForm, event: AlertEvent) -> str:
        return (
            "Notices are sent again."
            if incidents.unmute(event, acting_user=request.user)
            else "It is not muted."
        )


def figure(metric: str, amount: Any) -> str:
    """An amount of a metric with its unit."""
    return usd(amount) if facts_of(metric).unit == "usd" else with_unit(metric, amount)


@admin.register(AlertDelivery)
class AlertDeliveryAdmin(ReadOnlyAdmin):
    """The outbox: what was sent where, and what is still to be sent."""

    tenant_path = "event__tenant"
    list_display = (
        "event",
        "channel",
        "shown_status",
        "attempts",
        "next_try_at",
        "delivered_at",
        "last_error",
    )
    list_filter = (("status", ChoicesCheckboxFilter), ("channel", SeenRowsFilter))
    list_select_related = ("event__tenant", "channel")
    search_fields = ("event__message", "channel__name")
    actions_detail = ("try_again",)

    @display(
        description="Status",
        label={"pending": "warning", "delivered": "success", "dead": "danger"},
    )
    def shown_status(self, delivery: AlertDelivery) -> str:
        return delivery.status

    @dialog_action(
        "Try again",
        "replay",
        title="Try this delivery again?",
        text="Only a dead one is; the others are tried by themselves.",
        submit="Try again",
    )
    def try_again(self, request: HttpRequest, form: BaseDialogForm, delivery: AlertDelivery) -> str:
        return "It goes out again." if retry(delivery) else "It is not dead."
