"""Pages of alerts: what happened, who took care of it, whom it reached, and by which rules and channels.

Invariant: events and deliveries are only read; they change through `alerts.acknowledge` and `alerts.retry`.
A channel's secret is written, never shown.
"""

from datetime import timedelta
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.timezone import now
from unfold.admin import TabularInline
from unfold.contrib.filters.admin import ChoicesCheckboxFilter, RangeDateTimeFilter
from unfold.decorators import display
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from billing.admin.figures import plain, usd
from billing.alerts import incidents
from billing.alerts.incidents import acknowledge
from billing.alerts.outbox import retry
from billing.alerts.webhook import AddressNotAllowed, check_secret, check_url
from billing.models import AlertChannel, AlertDelivery, AlertEvent, AlertRule
from config.site import cells
from tenants.admin.access import ReadOnlyAdmin, RecordedAdmin, TenantScopedAdmin, TenantScopedForm
from tenants.admin.choices import SeenRowsFilter
from tenants.admin.columns import figure_column
from tenants.admin.dialogs import dialog_action
from tenants.people.rights import Right, may_everywhere


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
    """Whom the event reached."""

    model = AlertDelivery
    extra = 0
    can_delete = False
    fields = readonly_fields = ("channel", "status", "attempts", "next_try_at", "delivered_at", "last_error")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return True  # the event's own page has decided


@admin.register(AlertEvent)
class AlertEventAdmin(ReadOnlyAdmin):
    """Alerts, newest first; an open one waits for a person to acknowledge it."""

    operated_with = Right.ATTEND
    list_display = (
        "fired_at",
        "tenant",
        "metric",
        "message",
        "shown_value",
        "shown_threshold",
        "count",
        "state",
        "reached",
    )
    list_filter = (
        ("tenant", SeenRowsFilter),
        ("acknowledged_at", admin.EmptyFieldListFilter),
        ("fired_at", RangeDateTimeFilter),
        "metric",
    )
    list_select_related = ("tenant", "acknowledged_by")
    search_fields = ("message", "subject_key")
    ordering = ("-fired_at",)
    inlines = (DeliveryInline,)
    fieldsets = (
        (None, {"fields": ("message", ("tenant", "state"), ("shown_value", "shown_threshold"))}),
        ("What", {"fields": (("metric", "about"), ("rule", "budget"), ("window_key", "fired_at"))}),
        ("Who took care", {"fields": (("acknowledged_by", "acknowledged_at"),)}),
    )
    readonly_fields = ("state", "shown_value", "shown_threshold", "about")
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

    @display(description="About")
    def about(self, event: AlertEvent) -> SafeString | str:
        """What the alert is about: the worst request as a link to its receipt."""
        request_id = str(event.facts.get("request_id") or event.subject_key)
        try:
            url = reverse("admin:llm_requestlog_change", args=(UUID(request_id),))
        except ValueError:
            return event.subject_key or cells.NOTHING
        return cells.link(url, f"request {request_id}")

    @figure_column("Value", ordering="value")
    def shown_value(self, event: AlertEvent) -> str:
        return _figure(event.metric, event.value)

    @figure_column("Threshold", ordering="threshold")
    def shown_threshold(self, event: AlertEvent) -> str:
        return _figure(event.metric, event.threshold)

    @display(description="Reached")
    def reached(self, event: Any) -> str:
        return f"{event.delivered_count} of {event.delivery_count}" if event.delivery_count else "no channel"

    @admin.action(description="Acknowledge the selected alerts", permissions=["operate"])
    def acknowledge_selected(self, request: HttpRequest, queryset: QuerySet[AlertEvent]) -> None:
        done = sum(acknowledge(event, acting_user=request.user) for event in queryset)
        self.message_user(request, f"{done} alerts acknowledged.")

    @dialog_action(
        "Acknowledge",
        "task_alt",
        title="Acknowledge this alert?",
        text="Your name will be shown next to it.",
        submit="Acknowledge",
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


def _figure(metric: str, amount: Any) -> str:
    match metric:
        case "request_cost" | "day_spend":
            return usd(amount)
        case "budget_percent" | "batch_failed_percent":
            return f"{plain(amount)} %"
        case _:
            return plain(amount)


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


class AlertChannelForm(TenantScopedForm):
    """A channel whose target fits its kind; its secret can be replaced, and is never shown."""

    is_operator = False

    new_secret = forms.CharField(
        required=False,
        strip=True,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        help_text="Signs the webhooks (HMAC-SHA256). Empty keeps the one that is stored.",
    )

    class Meta:
        model = AlertChannel
        fields = ("tenant", "name", "kind", "target", "is_active")

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean() or {}
        kind, target = cleaned.get("kind"), cleaned.get("target")
        if kind == AlertChannel.Kind.EMAIL and target:
            try:
                validate_email(target)
            except ValidationError as error:
                raise ValidationError({"target": error.messages}) from error
        if kind in (AlertChannel.Kind.WEBHOOK, AlertChannel.Kind.SLACK) and target:
            try:
                check_url(target)
            except AddressNotAllowed as error:
                raise ValidationError({"target": str(error)}) from error
        if kind == AlertChannel.Kind.WEBHOOK:
            if not (cleaned.get("new_secret") or self.instance.secret):
                raise ValidationError({"new_secret": "A webhook needs a secret to be signed with."})
            try:
                check_secret(cleaned.get("new_secret") or "")
            except ValueError as error:
                raise ValidationError({"new_secret": str(error)}) from error
        return cleaned

    def clean_tenant(self) -> Any:
        """A channel without a tenant gets what concerns the whole installation: only an operator may make one."""
        tenant = self.cleaned_data["tenant"]
        if tenant is None and not self.is_operator:
            raise ValidationError("A channel belongs to a tenant.")
        return tenant


@admin.register(AlertChannel)
class AlertChannelAdmin(TenantScopedAdmin):
    """Where alerts go."""

    form = AlertChannelForm
    list_display = ("name", "tenant", "shown_kind", "target", "is_active")
    list_filter = (("tenant", SeenRowsFilter), ("kind", ChoicesCheckboxFilter), "is_active")
    list_select_related = ("tenant",)
    search_fields = ("name", "target", "tenant__slug")
    autocomplete_fields = ("tenant",)
    fieldsets = ((None, {"fields": (("tenant", "name"), ("kind", "is_active"), "target", "new_secret")}),)

    def get_form(self, request: HttpRequest, *args: Any, **options: Any) -> Any:
        form = super().get_form(request, *args, **options)
        form.is_operator = may_everywhere(request, Right.PLATFORM)
        return form

    def save_model(self, request: HttpRequest, obj: AlertChannel, form: Any, change: bool) -> None:
        if form.cleaned_data["new_secret"]:
            obj.secret = form.cleaned_data["new_secret"]
        super().save_model(request, obj, form, change)

    @display(description="Kind", label={"webhook": "info", "e-mail": "success"})
    def shown_kind(self, channel: AlertChannel) -> str:
        return channel.get_kind_display()


class AlertRuleForm(TenantScopedForm):
    """A rule notifies only channels of its own tenant."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.initial["threshold"] = plain(self.instance.threshold)

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean() or {}
        tenant = cleaned.get("tenant") or (self.instance.tenant if self.instance.pk else None)
        strangers = [str(channel) for channel in cleaned.get("channels", ()) if channel.tenant != tenant]
        if tenant and strangers:
            raise ValidationError({"channels": f"Not channels of {tenant}: {', '.join(strangers)}"})
        return cleaned


@admin.register(AlertRule)
class AlertRuleAdmin(RecordedAdmin):
    """When to notify which channels. The alerts of a rule without channels are shown in the admin only."""

    form = AlertRuleForm
    list_display = ("metric", "tenant", "shown_threshold", "shown_channels", "is_active")
    list_filter = (("tenant", SeenRowsFilter), ("metric", ChoicesCheckboxFilter), "is_active")
    list_select_related = ("tenant",)
    search_fields = ("metric", "tenant__slug")
    autocomplete_fields = ("tenant", "channels")
    fieldsets = ((None, {"fields": (("tenant", "is_active"), ("metric", "threshold"), "channels")}),)

    def get_queryset(self, request: HttpRequest) -> QuerySet[AlertRule]:
        return super().get_queryset(request).prefetch_related("channels")

    @figure_column("Threshold", ordering="threshold")
    def shown_threshold(self, rule: AlertRule) -> str:
        return _figure(rule.metric, rule.threshold)

    @display(description="Channels")
    def shown_channels(self, rule: AlertRule) -> str:
        return ", ".join(channel.name for channel in rule.channels.all()) or "none: shown here only"
