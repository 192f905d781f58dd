"""Admin pages of API keys.

Invariant: a key changes only through the functions of `keys.editing`. Its secret is shown only in the response that
made it. Its hash is never shown.
"""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.timezone import now
from django.views.decorators.http import require_POST
from unfold.decorators import display
from unfold.forms import BaseDialogForm
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminIntegerFieldWidget,
)

from tenants.admin.access import (
    RecordedAdmin,
    finish,
    show_secret_once,
)
from tenants.admin.choices import SeenRowsFilter
from tenants.admin.confirming import EFFECTS_ON_KEYS, list_action
from tenants.admin.dialogs import dialog_action, list_of, page_of
from tenants.admin.limits import FIELDS as LIMIT_FIELDS
from tenants.admin.limits import RateLimitFields, limits_in_words, with_limits_read_only
from tenants.admin.tags import TagsForm
from tenants.admin.tenants import ReasonForm
from tenants.keys.editing import KeyRevoked, TooManyRotations, end_grace, issue_key, revoke_key, rotate_key
from tenants.keys.strings import matches, public_id_of
from tenants.models import ApiKey
from tenants.principal import KeyRight

RIGHTS = ((KeyRight.REPORTS.value, "read reports, statements and chargebacks"),)
LONGEST_SECRET = 500
COPY_IT_NOW = "Copy it now: it is stored as a hash only and cannot be shown again."


class RotateForm(BaseDialogForm):
    """Asks how long the former secret stays valid."""

    grace_hours = forms.IntegerField(
        min_value=0,
        max_value=24 * 90,
        initial=24,
        widget=UnfoldAdminIntegerFieldWidget(),
        help_text="Both secrets are valid for this long.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["grace_hours"].label = "Grace, hours"


class ApiKeyForm(RateLimitFields, TagsForm):
    """Checks that a key's name is unique among the active keys of its tenant, which a plain form cannot."""

    rights = forms.MultipleChoiceField(
        required=False,
        choices=RIGHTS,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="Of a key that is a person's: what it reads is the whole tenant's. A service's key has it anyway.",
    )

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


def is_live(key: ApiKey) -> bool:
    """Whether a key was not revoked."""
    return key.revoked_at is None


def has_two_secrets(key: ApiKey) -> bool:
    """Whether the former secret of a key is still valid."""
    return key.previous_expires_at is not None and key.previous_expires_at > now()


def effect_of_revoking(keys: QuerySet[ApiKey]) -> list[str]:
    """Sentences: what becomes of the keys, and what was called with them."""
    over = keys.exclude(revoked_at=None).count()
    said = ["Every worker refuses them within a second, with 401 revoked_api_key. This cannot be undone."]
    if over:
        said.append(f"{over:,} of them are revoked already, and stay so.")
    return said + [line for effect in EFFECTS_ON_KEYS for line in effect(keys)]


@require_POST
def find_key(request: HttpRequest, model_admin: Any) -> HttpResponse:
    """Lead to the key of a pasted secret. The secret comes by POST only, and is neither stored nor shown again."""
    secret = request.POST.get("secret", "").strip()
    keys = model_admin.get_queryset(request)
    key = keys.filter(public_id=public_id_of(secret)).first() if 0 < len(secret) <= LONGEST_SECRET else None
    if key is None:
        return finish(request, list_of(ApiKey), "No key of yours has this secret.", level=messages.ERROR)
    if matches(secret, bytes(key.secret_hash)):
        found = "This is its present secret: revoke or rotate it if it leaked."
    elif key.previous_secret_hash and matches(secret, bytes(key.previous_secret_hash)):
        found = "This is its former secret: end it if it leaked."
    else:
        found = "But this is none of its secrets: it was rotated away, or is mistyped."
    return finish(request, page_of(key), f"Found the key {key.name}. {found}", level=messages.INFO)


@admin.register(ApiKey)
class ApiKeyAdmin(RecordedAdmin):
    """Keys: issued with the secret shown once, rotated, revoked. Hashes are never shown."""

    form = ApiKeyForm
    list_display = ("name", "public_id", "tenant", "state", "user", "model_globs", "expires_at", "created_at")
    list_filter = (("tenant", SeenRowsFilter), ("revoked_at", admin.EmptyFieldListFilter))
    list_select_related = ("tenant",)
    search_fields = ("name", "public_id", "user")
    search_help_text = "A name, public id or user"
    list_before_template = "admin/find_key.html"
    custom_urls = (("find/", "tenants_apikey_find", find_key),)
    autocomplete_fields = ("tenant",)
    readonly_fields = (
        "public_id",
        "state",
        "revoked_at",
        "previous_expires_at",
        "created_at",
        "shown_limits",
    )
    actions = ("revoke_selected",)
    actions_detail = ("rotate", "end_former_secret", "revoke")
    fieldsets = (
        (None, {"fields": (("tenant", "name"), ("public_id", "state"))}),
        ("What it may do", {"fields": ("user", "models", "rights", "ip_allow_list")}),
        ("Whose cost its calls are", {"fields": ("tags",)}),
        ("Rate limits of this key", {"fields": (LIMIT_FIELDS,)}),
        ("Life", {"fields": ("expires_at", ("revoked_at", "previous_expires_at", "created_at"))}),
    )
    add_fieldsets = (
        (None, {"fields": (("tenant", "name"),)}),
        ("What it may do", {"fields": ("user", "models", "rights", "ip_allow_list", "expires_at")}),
        ("Whose cost its calls are", {"fields": ("tags",)}),
        ("Rate limits of this key", {"fields": (LIMIT_FIELDS,)}),
    )

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # a key is revoked, never deleted: the ledger names it

    def get_fieldsets(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        is_form = obj is None or self.has_change_permission(request, obj)
        return fieldsets if is_form else with_limits_read_only(fieldsets)

    @display(description="Rate limits")
    def shown_limits(self, key: ApiKey) -> str:
        return limits_in_words(key.rate_limits) or "only the tenant's"

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
            user=obj.user,
            tags=obj.tags,
            rights=obj.rights,
            expires_at=obj.expires_at,
            acting_user=request.user,
        )
        obj.pk, obj.public_id = issued.pk, issued.public_id
        obj._state.adding = False
        request._issued_secret = secret  # read by response_add, then gone

    def response_add(
        self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None
    ) -> HttpResponse:
        return show_secret_once(
            request,
            title=f"Key {obj.name} of {obj.tenant} is issued",
            secret=request._issued_secret,
            advice=COPY_IT_NOW,
            url=page_of(obj),
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
        return "rotating" if has_two_secrets(key) else "live"

    @display(description="Models")
    def model_globs(self, key: ApiKey) -> str:
        return ", ".join(key.models) or "none"

    @list_action(
        "Revoke the selected keys",
        effect=effect_of_revoking,
        submit="Revoke them for good",
        is_destructive=True,
    )
    def revoke_selected(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        revoked = sum(revoke_key(key, acting_user=request.user) for key in queryset)
        self.message_user(request, f"{revoked} keys revoked.")

    @dialog_action(
        "Revoke",
        "key_off",
        title="Revoke this key for good?",
        text="Every worker refuses it within a second. This cannot be undone.",
        submit="Revoke",
        form=ReasonForm,
        is_destructive=True,
        offered=is_live,
    )
    def revoke(self, request: HttpRequest, form: ReasonForm, key: ApiKey) -> str:
        revoke_key(key, reason=form.cleaned_data["reason"], acting_user=request.user)
        return f"Key {key} is revoked."

    @dialog_action(
        "Rotate",
        "autorenew",
        title="Give this key a new secret?",
        text="The former secret stays valid until the grace period ends.",
        submit="Rotate",
        form=RotateForm,
        refusals=(KeyRevoked, TooManyRotations, ValueError),
        offered=is_live,
    )
    def rotate(self, request: HttpRequest, form: RotateForm, key: ApiKey) -> HttpResponse:
        grace = timedelta(hours=form.cleaned_data["grace_hours"])
        secret = rotate_key(key, grace=grace, acting_user=request.user)
        return show_secret_once(
            request, title=f"New secret of {key.name}", secret=secret, advice=COPY_IT_NOW, url=page_of(key)
        )

    @dialog_action(
        "End former secret",
        "timer_off",
        title="End the former secret now?",
        text="Clients that still use it are refused within a second.",
        submit="End it",
        refusals=(KeyRevoked,),
        offered=lambda key: is_live(key) and has_two_secrets(key),
    )
    def end_former_secret(self, request: HttpRequest, form: BaseDialogForm, key: ApiKey) -> str:
        ended = end_grace(key, acting_user=request.user)
        return "The former secret is ended." if ended else "No former secret was good."
