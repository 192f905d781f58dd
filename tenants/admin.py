"""The admin of tenants, their end users, their keys, and the people who look after them.

Invariant: keys and statuses change only through the verbs of `keys_admin` and `tenancy`, so every change has
an author; a secret is shown in the answer that made it and nowhere else.
"""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.timezone import now
from unfold.admin import ModelAdmin, TabularInline
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesCheckboxFilter
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.forms import AdminPasswordChangeForm, BaseDialogForm, UserChangeForm, UserCreationForm
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from tenants.admin_access import (
    IndentedJSON,
    RecordedAdmin,
    TenantScopedAdmin,
    finish,
    owned,
    show_secret_once,
)
from tenants.keys_admin import KeyRevoked, end_grace, issue_key, revoke_key, rotate_key
from tenants.models import ApiKey, EndUser, Membership, Tenant
from tenants.tenancy import TenantClosed, resume_tenant, suspend_tenant
from tenants.validation import validate_policy

COPY_IT_NOW = "Copy it now: it is stored as a hash only and cannot be shown again."


class ReasonForm(BaseDialogForm):
    """Asks why, for the history."""

    reason = forms.CharField(
        max_length=100,
        required=False,
        widget=UnfoldAdminTextInputWidget(),
        help_text="Stands in the history.",
    )


class RotateForm(BaseDialogForm):
    """Asks how long the former secret stays good."""

    grace_hours = forms.IntegerField(
        min_value=0,
        max_value=24 * 90,
        initial=24,
        widget=UnfoldAdminIntegerFieldWidget(),
        help_text="For so long both secrets are good.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["grace_hours"].label = "Grace, hours"


class MembershipInline(TabularInline):
    """Who looks after the tenant."""

    model = Membership
    extra = 0
    autocomplete_fields = ("user",)
    tab = True


class TenantForm(forms.ModelForm[Tenant]):
    """A tenant whose policy is written over several lines."""

    policy = forms.JSONField(
        required=False,
        encoder=IndentedJSON,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 12, "class": "font-mono"}),
        validators=[validate_policy],
        help_text="Only what differs from the defaults.",
    )

    def clean_policy(self) -> dict[str, Any]:
        return self.cleaned_data["policy"] or {}


class TenantAdmin(RecordedAdmin):
    """Tenants: their policy and limits, and whether they are served."""

    form = TenantForm
    tenant_path = "pk"
    list_display = ("slug", "name", "shown_status", "timezone", "live_keys", "created_at")
    list_filter = (("status", ChoicesCheckboxFilter),)
    search_fields = ("slug", "name")
    readonly_fields = ("status", "created_at")
    inlines = (MembershipInline,)
    actions_detail = ("suspend", "resume")
    fieldsets = (
        (None, {"fields": (("slug", "name"), ("timezone", "status"), "created_at")}),
        ("Policy", {"fields": ("policy", "rate_limits")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Tenant]:
        live = Count("keys", filter=Q(keys__revoked_at=None))
        return super().get_queryset(request).annotate(live_key_count=live)

    def get_readonly_fields(self, request: HttpRequest, obj: Tenant | None = None) -> tuple[str, ...]:
        # The slug stands in exports and configuration files: it does not change once given.
        return (*self.readonly_fields, "slug") if obj else self.readonly_fields

    def get_inlines(self, request: HttpRequest, obj: Tenant | None) -> tuple[Any, ...]:
        # Only a superuser says who may look after a tenant.
        return self.inlines if request.user.is_superuser else ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_superuser)

    def has_delete_permission(self, request: HttpRequest, obj: Tenant | None = None) -> bool:
        return False  # a tenant is closed, never deleted: its ledger stays

    @display(
        description="Status",
        ordering="status",
        label={"active": "success", "suspended": "warning", "closed": "danger"},
    )
    def shown_status(self, tenant: Tenant) -> str:
        return tenant.status

    @display(description="Live keys", ordering="live_key_count")
    def live_keys(self, tenant: Tenant) -> int:
        return tenant.live_key_count  # type: ignore[attr-defined]

    @action(
        permissions=["operate"],
        description="Suspend",
        icon="pause_circle",
        variant=ActionVariant.DANGER,
        dialog={
            "title": "Suspend this tenant?",
            "description": "Its requests are refused within a second. Calls under way finish.",
            "form_class": ReasonForm,
            "form_submit_text": "Suspend",
        },
    )
    def suspend(self, request: HttpRequest, form: ReasonForm, object_id: int) -> HttpResponse:
        tenant = owned(self, request, object_id)
        changed = suspend_tenant(tenant, acting_user=request.user, reason=form.cleaned_data["reason"])
        return finish(
            request, self._url(tenant), f"{tenant} is suspended." if changed else f"{tenant} was suspended."
        )

    @action(
        permissions=["operate"],
        description="Resume",
        icon="play_circle",
        dialog={
            "title": "Resume this tenant?",
            "description": "Its requests are served again within a second.",
            "form_class": ReasonForm,
            "form_submit_text": "Resume",
        },
    )
    def resume(self, request: HttpRequest, form: ReasonForm, object_id: int) -> HttpResponse:
        tenant = owned(self, request, object_id)
        try:
            resume_tenant(tenant, acting_user=request.user, reason=form.cleaned_data["reason"])
        except TenantClosed as error:
            return finish(request, self._url(tenant), f"{error}: it stays closed.", level=messages.ERROR)
        return finish(request, self._url(tenant), f"{tenant} is active.")

    def _url(self, tenant: Tenant) -> str:
        return reverse("admin:tenants_tenant_change", args=(tenant.pk,))


admin.site.register(Tenant, TenantAdmin)


@admin.register(EndUser)
class EndUserAdmin(RecordedAdmin):
    """The people and services of a tenant, as budgets and reports know them."""

    list_display = ("external_id", "display_name", "tenant", "cost_center", "is_active")
    list_filter = (("tenant", AutocompleteSelectFilter), "is_active")
    list_select_related = ("tenant",)
    search_fields = ("external_id", "display_name", "cost_center")
    autocomplete_fields = ("tenant",)


class ApiKeyForm(forms.ModelForm[ApiKey]):
    """A key's name is unique among the live keys of its tenant, which the form alone cannot see."""

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean() or {}
        tenant, name = cleaned.get("tenant") or self.instance.tenant_id, cleaned.get("name")
        if tenant and name and self.instance.revoked_at is None:
            namesakes = ApiKey.objects.filter(tenant=tenant, name=name, revoked_at=None).exclude(
                pk=self.instance.pk
            )
            if namesakes.exists():
                raise ValidationError({"name": f"A live key of this tenant is already called {name!r}."})
        return cleaned


@admin.register(ApiKey)
class ApiKeyAdmin(RecordedAdmin):
    """Keys: issued with the secret shown once, rotated, revoked. Hashes are never shown."""

    form = ApiKeyForm
    list_display = ("name", "public_id", "tenant", "state", "model_globs", "expires_at", "created_at")
    list_filter = (("tenant", AutocompleteSelectFilter), ("revoked_at", admin.EmptyFieldListFilter))
    list_select_related = ("tenant",)
    search_fields = ("name", "public_id")
    autocomplete_fields = ("tenant",)
    readonly_fields = ("public_id", "state", "revoked_at", "previous_expires_at", "created_at")
    actions = ("revoke_selected",)
    actions_detail = ("rotate", "end_former_secret", "revoke")
    fieldsets = (
        (None, {"fields": (("tenant", "name"), ("public_id", "state"))}),
        ("What it may do", {"fields": ("models", "ip_allow_list", "rate_limits")}),
        ("Life", {"fields": ("expires_at", ("revoked_at", "previous_expires_at", "created_at"))}),
    )
    add_fieldsets = (
        (None, {"fields": (("tenant", "name"),)}),
        ("What it may do", {"fields": ("models", "ip_allow_list", "rate_limits", "expires_at")}),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> tuple[str, ...]:
        return (*self.readonly_fields, "tenant") if obj else self.readonly_fields

    def has_delete_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return False  # a key is revoked, never deleted: the ledger names it

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        is_revoked = isinstance(obj, ApiKey) and obj.revoked_at is not None
        return not is_revoked and super().has_change_permission(request, obj)

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        issued, secret = issue_key(
            obj.tenant,
            name=obj.name,
            models=obj.models,
            ip_allow_list=obj.ip_allow_list,
            rate_limits=obj.rate_limits,
            expires_at=obj.expires_at,
            acting_user=request.user,
        )
        obj.pk, obj.public_id = issued.pk, issued.public_id
        obj._state.adding = False
        request._issued_secret = secret  # type: ignore[attr-defined]  # read by response_add, then gone

    def response_add(
        self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None
    ) -> HttpResponse:
        return show_secret_once(
            request,
            title=f"Key {obj.name} of {obj.tenant} is issued",
            secret=request._issued_secret,  # type: ignore[attr-defined]
            advice=COPY_IT_NOW,
            url=self._url(obj),
        )

    @display(
        description="State",
        label={"live": "success", "expired": "warning", "rotating": "info", "revoked": "danger"},
    )
    def state(self, key: ApiKey) -> str:
        if key.revoked_at is not None:
            return "revoked"
        if key.expires_at is not None and key.expires_at <= now():
            return "expired"
        return (
            "rotating" if key.previous_expires_at is not None and key.previous_expires_at > now() else "live"
        )

    @display(description="Models")
    def model_globs(self, key: ApiKey) -> str:
        return ", ".join(key.models) or "none"

    @admin.action(description="Revoke the selected keys", permissions=["operate"])
    def revoke_selected(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        keys = [key for key in queryset if self.has_operate_permission(request, key)]
        revoked = sum(revoke_key(key, acting_user=request.user) for key in keys)
        self.message_user(request, f"{revoked} keys revoked.")

    @action(
        permissions=["operate"],
        description="Revoke",
        icon="key_off",
        variant=ActionVariant.DANGER,
        dialog={
            "title": "Revoke this key for good?",
            "description": "Every worker refuses it within a second. This cannot be undone.",
            "form_class": ReasonForm,
            "form_submit_text": "Revoke",
        },
    )
    def revoke(self, request: HttpRequest, form: ReasonForm, object_id: int) -> HttpResponse:
        key = owned(self, request, object_id)
        revoke_key(key, reason=form.cleaned_data["reason"], acting_user=request.user)
        return finish(request, self._url(key), f"Key {key} is revoked.")

    @action(
        permissions=["operate"],
        description="Rotate",
        icon="autorenew",
        dialog={
            "title": "Give this key a new secret?",
            "description": "The former secret stays good until the grace is over.",
            "form_class": RotateForm,
            "form_submit_text": "Rotate",
        },
    )
    def rotate(self, request: HttpRequest, form: RotateForm, object_id: int) -> HttpResponse:
        key = owned(self, request, object_id)
        grace = timedelta(hours=form.cleaned_data["grace_hours"])
        try:
            secret = rotate_key(key, grace=grace, acting_user=request.user)
        except (KeyRevoked, ValueError) as error:
            return finish(request, self._url(key), str(error), level=messages.ERROR)
        return show_secret_once(
            request,
            title=f"New secret of {key.name}",
            secret=secret,
            advice=COPY_IT_NOW,
            url=self._url(key),
        )

    @action(
        permissions=["operate"],
        description="End former secret",
        icon="timer_off",
        dialog={
            "title": "End the former secret now?",
            "description": "Clients that still use it are refused within a second.",
            "form_class": BaseDialogForm,
            "form_submit_text": "End it",
        },
    )
    def end_former_secret(self, request: HttpRequest, form: BaseDialogForm, object_id: int) -> HttpResponse:
        key = owned(self, request, object_id)
        try:
            ended = end_grace(key, acting_user=request.user)
        except KeyRevoked as error:
            return finish(request, self._url(key), str(error), level=messages.ERROR)
        return finish(
            request, self._url(key), "The former secret is ended." if ended else "No former secret was good."
        )

    def _url(self, key: ApiKey) -> str:
        return reverse("admin:tenants_apikey_change", args=(key.pk,))


@admin.register(Membership)
class MembershipAdmin(TenantScopedAdmin):
    """Who may look after which tenant. Only superusers change it: it is what all access hangs on."""

    list_display = ("user", "tenant", "role")
    list_filter = (("tenant", AutocompleteSelectFilter), ("role", ChoicesCheckboxFilter))
    list_select_related = ("user", "tenant")
    search_fields = ("user__username", "user__email", "tenant__slug")
    autocomplete_fields = ("user", "tenant")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_superuser)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_superuser)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_superuser)


admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class UserAdmin(DjangoUserAdmin, ModelAdmin):
    """The people of the admin."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("username", "email", "is_active", "is_staff", "is_superuser", "last_login")


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, ModelAdmin):
    """Sets of Django permissions, for the tables that belong to no tenant."""
