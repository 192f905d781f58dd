"""Admin pages of the people who sign in, and of what they may do.

Invariant: only a superuser makes staff or gives platform roles; an operator changes memberships.
"""

from typing import Any

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken
from allauth.usersessions.models import UserSession
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import TabularInline
from unfold.contrib.filters.admin import ChoicesCheckboxFilter
from unfold.decorators import display
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from tenants.admin.access import OperatorAdmin, RecordedAdmin
from tenants.admin.choices import SeenRowsFilter
from tenants.models import Membership, PlatformRole
from tenants.people.rights import Right

# what people keep themselves is on their own pages; rights come from roles alone
admin.site.unregister(
    [User, Group, EmailAddress, Authenticator, SocialAccount, SocialApp, SocialToken, UserSession]
)


class PlatformRoleInline(TabularInline):
    """What the person may do in every tenant."""

    model = PlatformRole
    extra = 1
    max_num = 1

    def formfield_for_choice_field(self, *args: Any, **options: Any) -> Any:
        field = super().formfield_for_choice_field(*args, **options)
        field.widget.attrs["aria-label"] = "Platform role"  # the column's head is no label
        return field


@admin.register(User)
class UserAdmin(DjangoUserAdmin[User], OperatorAdmin):
    """People who sign in. Whoever has a platform role is staff, so may enter the admin."""

    seen_with = Right.PLATFORM
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    inlines = (PlatformRoleInline,)
    list_display = ("username", "email", "shown_role", "is_active", "is_staff", "last_login")
    list_filter = ("is_active", "is_staff", ("platform_role__role", ChoicesCheckboxFilter))
    list_select_related = ("platform_role",)
    filter_horizontal = ()
    fieldsets = (
        (None, {"fields": ("username", "password", ("first_name", "last_name"), "email")}),
        ("What they may do", {"fields": (("is_active", "is_staff", "is_superuser"),)}),
        ("When", {"fields": (("last_login", "date_joined"),)}),
    )
    readonly_fields = ("last_login", "date_joined")

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        return super().get_queryset(request).select_related("platform_role")

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None or self.has_operate_permission(request):
            return super().get_fieldsets(request, obj)
        named = ("username", ("first_name", "last_name"), "email")
        return ((None, {"fields": named}), *self.fieldsets[1:])  # without the hash of the password

    def has_operate_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_active and request.user.is_superuser)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        person = form.instance
        if not person.is_staff and PlatformRole.objects.filter(user=person).exists():
            person.is_staff = True
            person.save(update_fields=["is_staff"])

    @display(description="Platform role")
    def shown_role(self, person: User) -> str:
        role = getattr(person, "platform_role", None)
        return "superuser" if person.is_superuser else role.get_role_display() if role else "–"


@admin.register(Membership)
class MembershipAdmin(RecordedAdmin):
    """Who belongs to which tenant, and as what. Owners invite people from the portal."""

    changed_with = Right.PLATFORM
    operated_with = Right.PLATFORM
    list_display = ("user", "tenant", "role", "person")
    list_filter = (("tenant", SeenRowsFilter), ("role", ChoicesCheckboxFilter))
    list_select_related = ("user", "tenant")
    search_fields = ("user__username", "user__email", "tenant__slug", "person")
    autocomplete_fields = ("user", "tenant")
    fields = ("tenant", "user", "role", "person")
