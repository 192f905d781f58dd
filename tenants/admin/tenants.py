"""Admin pages of tenants and their end users.

Invariant: a tenant's status changes only through the functions of `tenancy`, so that every change has an author.
"""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from unfold.contrib.filters.admin import ChoicesCheckboxFilter
from unfold.decorators import display
from unfold.forms import BaseDialogForm
from unfold.widgets import (
    UnfoldAdminSelect2Widget,
    UnfoldAdminTextInputWidget,
)

from tenants.admin.access import RecordedAdmin, tenants_of
from tenants.admin.choices import SeenRowsFilter
from tenants.admin.columns import figure_column
from tenants.admin.confirming import EFFECTS_ON_TENANTS
from tenants.admin.dialogs import dialog_action
from tenants.admin.limits import FIELDS as LIMIT_FIELDS
from tenants.admin.limits import RateLimitFields, limits_in_words, with_limits_read_only
from tenants.admin.tags import UserForm
from tenants.models import EndUser, Tenant
from tenants.people.rights import Right, may_everywhere
from tenants.tenancy import (
    SuspendedByOperator,
    TenantClosed,
    pause_tenant,
    resume_tenant,
    suspend_tenant,
)
from tenants.validation import timezones

REFUSALS = (SuspendedByOperator, TenantClosed)


class ReasonForm(BaseDialogForm):
    """Asks why, for the history."""

    reason = forms.CharField(
        max_length=100,
        required=False,
        widget=UnfoldAdminTextInputWidget(),
        help_text="Shown in the history.",
    )


class StopForm(ReasonForm):
    """Says what a tenant does just now, which would be refused, and asks why."""

    form_before_template = "admin/switch_effect.html"

    def get_before_template_context(self, request: HttpRequest, object_id: Any = None) -> dict[str, Any]:
        tenant = tenants_of(request).filter(pk=object_id).first()
        return {"lines": [line for effect in EFFECTS_ON_TENANTS for line in effect(tenant)] if tenant else []}


class OwnersTenantForm(forms.ModelForm[Tenant]):
    """What an owner changes of a tenant. Its policy has a page of its own."""

    timezone = forms.ChoiceField(
        widget=UnfoldAdminSelect2Widget(), label="Time zone", help_text="Its days and months begin here."
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "timezone" in self.fields:
            self.fields["timezone"].choices = [(name, name) for name in sorted(timezones())]


class TenantForm(RateLimitFields, OwnersTenantForm):
    """What an operator changes: the rate limits too."""


class TenantAdmin(RecordedAdmin):
    """Tenants: their settings and limits, and whether they are served."""

    form = TenantForm
    tenant_path = "pk"
    list_display = ("slug", "name", "shown_status", "timezone", "live_keys", "created_at")
    list_filter = (("status", ChoicesCheckboxFilter),)
    search_fields = ("slug", "name")
    ordering = ("slug",)
    readonly_fields = ("status", "created_at", "shown_limits")
    actions_detail = ("pause", "suspend", "resume")
    fieldsets = (
        (
            None,
            {"fields": (("slug", "name"), ("timezone", "status"), ("created_at", "requires_second_factor"))},
        ),
        ("Rate limits of the whole tenant", {"fields": (LIMIT_FIELDS,)}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Tenant]:
        live = Count("keys", filter=Q(keys__revoked_at=None))
        return super().get_queryset(request).annotate(live_key_count=live)

    def get_readonly_fields(self, request: HttpRequest, obj: Tenant | None = None) -> tuple[str, ...]:
        # Exports and configuration files use the slug: it never changes.
        fixed = super().get_readonly_fields(request, obj)
        return (*fixed, "slug") if obj else fixed

    def get_fieldsets(self, request: HttpRequest, obj: Tenant | None = None) -> Any:
        # the limits are set by the platform; owners may limit their keys
        fieldsets = super().get_fieldsets(request, obj)
        return (
            fieldsets
            if may_everywhere(request, Right.PLATFORM) or obj is None
            else with_limits_read_only(fieldsets)
        )

    def get_form(self, request: HttpRequest, obj: Tenant | None = None, **options: Any) -> Any:
        usual = TenantForm if may_everywhere(request, Right.PLATFORM) else OwnersTenantForm
        return super().get_form(request, obj, **{"form": usual, **options})

    @display(description="Rate limits")
    def shown_limits(self, tenant: Tenant) -> str:
        return limits_in_words(tenant.rate_limits) or "no limit"

    def has_suspend_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may_everywhere(request, Right.PLATFORM)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return may_everywhere(request, Right.PLATFORM)

    def has_delete_permission(self, request: HttpRequest, obj: Tenant | None = None) -> bool:
        return False  # a tenant is closed, never deleted: its ledger stays

    @display(
        description="Status",
        ordering="status",
        label={"active": "success", "paused": "info", "suspended": "warning", "closed": "danger"},
    )
    def shown_status(self, tenant: Tenant) -> str:
        return tenant.status

    @figure_column("Live keys", ordering="live_key_count")
    def live_keys(self, tenant: Tenant) -> int:
        return tenant.live_key_count

    @dialog_action(
        "Pause",
        "pause_circle",
        title="Pause this tenant?",
        text="Its requests are refused within a second, until an owner resumes it. Calls under way finish.",
        submit="Pause",
        form=StopForm,
        offered=lambda tenant: tenant.status == Tenant.Status.ACTIVE,
        refusals=REFUSALS,
    )
    def pause(self, request: HttpRequest, form: ReasonForm, tenant: Tenant) -> str:
        changed = pause_tenant(tenant, acting_user=request.user, reason=form.cleaned_data["reason"])
        return f"{tenant} is paused." if changed else f"{tenant} was paused."

    @dialog_action(
        "Suspend",
        "block",
        title="Suspend this tenant?",
        text="Its requests are refused within a second, until an operator resumes it. Calls under way finish. Its people may only"
        " read meanwhile.",
        submit="Suspend",
        form=StopForm,
        permission="suspend",
        is_destructive=True,
        offered=lambda tenant: tenant.status in (Tenant.Status.ACTIVE, Tenant.Status.PAUSED),
        refusals=REFUSALS,
    )
    def suspend(self, request: HttpRequest, form: ReasonForm, tenant: Tenant) -> str:
        changed = suspend_tenant(tenant, acting_user=request.user, reason=form.cleaned_data["reason"])
        return f"{tenant} is suspended." if changed else f"{tenant} was suspended."

    @dialog_action(
        "Resume",
        "play_circle",
        title="Resume this tenant?",
        text="Its requests are served again within a second.",
        submit="Resume",
        form=ReasonForm,
        offered=lambda tenant: tenant.status in (Tenant.Status.PAUSED, Tenant.Status.SUSPENDED),
        refusals=REFUSALS,
    )
    def resume(self, request: HttpRequest, form: ReasonForm, tenant: Tenant) -> str:
        resume_tenant(tenant, acting_user=request.user, reason=form.cleaned_data["reason"])
        return f"{tenant} is active."


admin.site.register(Tenant, TenantAdmin)


@admin.register(EndUser)
class EndUserAdmin(RecordedAdmin):
    """The end users of a tenant, as in budgets and reports."""

    form = UserForm
    list_display = ("external_id", "display_name", "tenant", "cost_center", "team", "is_active")
    list_filter = (("tenant", SeenRowsFilter), "is_active")
    list_select_related = ("tenant",)
    search_fields = ("external_id", "display_name", "cost_center", "team")
    autocomplete_fields = ("tenant",)
    fields = ("tenant", "external_id", "display_name", "cost_center", "team", "tags", "is_active")
