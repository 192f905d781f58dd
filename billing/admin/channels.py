"""Pages of what alerts are sent by: channels and rules.

Invariant: a channel's secret is written, never shown; a rule notifies only channels of its own tenant.
"""

from typing import Any, Final

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.timezone import now
from unfold.contrib.filters.admin import ChoicesCheckboxFilter
from unfold.decorators import display
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminPasswordWidget

from billing.admin.alerts import figure
from billing.admin.figures import plain
from billing.alerts.metrics import sentence_of
from billing.alerts.previews import preview
from billing.alerts.sending import send_test
from billing.alerts.webhook import AddressNotAllowed, check_secret, check_url
from billing.models import AlertChannel, AlertRule
from tenants.admin.access import RecordedAdmin, TenantScopedAdmin, TenantScopedForm, finish
from tenants.admin.choices import SeenRowsFilter
from tenants.admin.columns import figure_column
from tenants.admin.dialogs import DialogResult, dialog_action, page_of
from tenants.admin.previews import PreviewsChanges
from tenants.people.rights import Right, may_everywhere

DAYS_NAMED: Final = 10


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
    actions_detail = ("send_test",)

    def get_form(self, request: HttpRequest, *args: Any, **options: Any) -> Any:
        form = super().get_form(request, *args, **options)
        form.is_operator = may_everywhere(request, Right.PLATFORM)
        return form

    def save_model(self, request: HttpRequest, obj: AlertChannel, form: Any, change: bool) -> None:
        if form.cleaned_data["new_secret"]:
            obj.secret = form.cleaned_data["new_secret"]
        super().save_model(request, obj, form, change)

    @dialog_action(
        "Send a test",
        "send",
        title="Send a test to this channel?",
        text="One notice goes out now, and you see whether it arrived. No alert is opened.",
        submit="Send",
    )
    def send_test(self, request: HttpRequest, form: BaseDialogForm, channel: AlertChannel) -> DialogResult:
        if problem := send_test(channel):
            return finish(request, page_of(channel), f"It did not arrive: {problem}", level=messages.ERROR)
        return "It arrived."

    @display(
        description="Kind",
        label={"signed webhook": "info", "Slack-compatible webhook": "warning", "e-mail": "success"},
    )
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
class AlertRuleAdmin(PreviewsChanges, RecordedAdmin):
    """When to notify which channels. The alerts of a rule without channels are shown in the admin only."""

    form = AlertRuleForm
    list_display = ("metric", "tenant", "shown_threshold", "shown_channels", "is_active")
    list_filter = (("tenant", SeenRowsFilter), ("metric", ChoicesCheckboxFilter), "is_active")
    list_select_related = ("tenant",)
    search_fields = ("metric", "tenant__slug")
    autocomplete_fields = ("tenant", "channels")
    add_fieldsets = ((None, {"fields": (("tenant", "is_active"), ("metric", "threshold"), "channels")}),)
    fieldsets = (*add_fieldsets, ("What it says", {"fields": ("sentence", "last_days")}))
    readonly_fields = ("sentence", "last_days")

    def get_fieldsets(self, request: HttpRequest, obj: AlertRule | None = None) -> Any:
        return super().get_fieldsets(request, obj) if obj else self.add_fieldsets

    def needs_preview(self, form: Any, former: AlertRule | None) -> bool:
        return bool({"tenant", "metric", "threshold"} & set(form.changed_data)) and form.instance.is_active

    def preview_of(self, row: AlertRule, former: AlertRule | None) -> dict[str, Any]:
        kinds = [("With the change", row)] + ([("As it is now", former)] if former else [])
        table = {
            "caption": "What it would have told in the last 30 days",
            "headers": ["", "In words", "In the last 30 days"],
            "rows": [[name, sentence_of(rule.metric, rule.threshold), past_of(rule)] for name, rule in kinds],
        }
        return {
            "change": f"{former} becomes {row}" if former else str(row),
            "meaning": past_of(row),
            "tables": [table],
            "note": f"Days of {row.tenant.timezone}. Alerts that were open already, and mutes, are not counted.",
            "verb": "Save this rule",
        }

    @display(description="In words")
    def sentence(self, rule: AlertRule) -> str:
        return sentence_of(rule.metric, rule.threshold)

    @display(description="In the last 30 days")
    def last_days(self, rule: AlertRule) -> str:
        return past_of(rule)

    def get_queryset(self, request: HttpRequest) -> QuerySet[AlertRule]:
        return super().get_queryset(request).prefetch_related("channels")

    @figure_column("Threshold", ordering="threshold")
    def shown_threshold(self, rule: AlertRule) -> str:
        return figure(rule.metric, rule.threshold)

    @display(description="Channels")
    def shown_channels(self, rule: AlertRule) -> str:
        return ", ".join(channel.name for channel in rule.channels.all()) or "none: shown here only"


def past_of(rule: AlertRule) -> str:
    """What a rule would have told in the last thirty days, as sentences."""
    seen = preview(rule.tenant, rule.metric, rule.threshold, at=now())
    if not seen.is_known:
        return seen.note
    if not seen.times:
        return f"It would have told nobody. {seen.note}".strip()
    often = f"{seen.times:,} times" if seen.times > 1 else "once"
    named = [f"{day:%-d %b}{f' ({times})' if times > 1 else ''}" for day, times in seen.days[:DAYS_NAMED]]
    more = f" and {len(seen.days) - DAYS_NAMED} days before" if len(seen.days) > DAYS_NAMED else ""
    return f"It would have told {often}: {', '.join(named)}{more}. {seen.note}".strip()
