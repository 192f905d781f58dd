"""Admin pages of how people come: invitations and identity providers.

Invariant: an invitation is made by `people.inviting`, which sends its link; the link is on no page.
"""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from unfold.contrib.filters.admin import ChoicesCheckboxFilter
from unfold.decorators import display
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminPasswordWidget

from tenants.admin.access import HistoryPages, RecordedAdmin, TenantScopedAdmin, TenantScopedForm, Unedited
from tenants.admin.choices import SeenRowsFilter
from tenants.admin.dialogs import dialog_action
from tenants.models import IdentityProvider, Invitation
from tenants.people.inviting import invite, withdraw
from tenants.people.rights import Right


@admin.register(Invitation)
class InvitationAdmin(HistoryPages, Unedited, TenantScopedAdmin):
    """People who were invited, and what became of it."""

    changed_with = operated_with = Right.PEOPLE
    list_display = (
        "email",
        "tenant",
        "role",
        "person",
        "shown_state",
        "invited_by",
        "created_at",
        "expires_at",
    )
    list_filter = (("tenant", SeenRowsFilter), ("role", ChoicesCheckboxFilter))
    list_select_related = ("tenant", "invited_by")
    search_fields = ("email", "person")
    autocomplete_fields = ("tenant",)
    fieldsets = (
        (None, {"fields": (("tenant", "email"), ("role", "person"))}),
        ("Sent", {"fields": (("invited_by", "created_at"), ("expires_at", "shown_state"))}),
    )
    add_fieldsets = fieldsets[:1]
    readonly_fields = ("invited_by", "created_at", "expires_at", "shown_state")
    actions_detail = ("withdraw",)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fieldsets if obj else self.add_fieldsets

    def has_add_permission(self, request: HttpRequest) -> bool:
        return TenantScopedAdmin.has_add_permission(self, request)

    def save_model(self, request: HttpRequest, obj: Invitation, form: Any, change: bool) -> None:
        sent = invite(obj.tenant, email=obj.email, role=obj.role, person=obj.person, acting_user=request.user)
        obj.__dict__.update({name: value for name, value in sent.__dict__.items() if name != "_state"})
        obj._state.adding = False

    @display(
        description="State",
        label={"open": "info", "accepted": "success", "withdrawn": "warning", "expired": "warning"},
    )
    def shown_state(self, invitation: Invitation) -> str:
        return invitation.state

    @dialog_action(
        "Withdraw",
        "link_off",
        title="Withdraw this invitation?",
        text="Its link does not work any more. A new one can be sent.",
        submit="Withdraw",
        is_destructive=True,
        offered=lambda invitation: invitation.state == "open",
        refusals=(ValidationError,),
    )
    def withdraw(self, request: HttpRequest, form: BaseDialogForm, invitation: Invitation) -> str:
        if invitation.state != "open":
            return f"It is {invitation.state}."
        withdraw(invitation, acting_user=request.user)
        return f"The link of {invitation.email} is withdrawn."


class IdentityProviderForm(TenantScopedForm):
    """The client's secret is entered, and shown no more."""

    new_secret = forms.CharField(
        required=False,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        label="Client secret",
        help_text="Empty keeps the present one.",
    )

    class Meta:
        model = IdentityProvider
        exclude = ("client_secret",)


@admin.register(IdentityProvider)
class IdentityProviderAdmin(RecordedAdmin):
    """Companies' own sign-in, by OpenID Connect."""

    changed_with = operated_with = Right.PLATFORM
    form = IdentityProviderForm
    list_display = ("name", "tenant", "issuer", "shown_domains", "role", "is_active")
    list_filter = (("tenant", SeenRowsFilter), "is_active")
    list_select_related = ("tenant",)
    search_fields = ("name", "issuer")
    autocomplete_fields = ("tenant",)
    prepopulated_fields = {"slug": ("name",)}
    fieldsets = (
        (None, {"fields": (("name", "slug"), "is_active")}),
        ("The provider", {"fields": ("issuer", ("client_id", "new_secret"))}),
        ("Its people", {"fields": ("domains", ("tenant", "tenant_claim"), "role", "role_claim", "roles")}),
    )

    def save_model(self, request: HttpRequest, obj: IdentityProvider, form: Any, change: bool) -> None:
        if form.cleaned_data["new_secret"]:
            obj.client_secret = form.cleaned_data["new_secret"]
        super().save_model(request, obj, form, change)

    @display(description="Domains")
    def shown_domains(self, provider: IdentityProvider) -> str:
        return ", ".join(provider.domains[:5])
