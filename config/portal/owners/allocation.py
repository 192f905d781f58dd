"""Whose cost the calls of a key and of a user are: pages for owners.

Invariant: only keys and users of the visitor's tenant; what is booked keeps the tags that it was booked with.
"""

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect

from config.portal.access import Visitor, page
from config.portal.forms import take_errors
from config.portal.layout import address, show
from tenants.allocation import COST_CENTER
from tenants.keys.allocating import allocate_key, allocate_user
from tenants.models import ApiKey, EndUser
from tenants.people.rights import Right
from tenants.policy import parse_policy
from tenants.tag_fields import TagsField

EFFECT = "It counts from the next call on. What was booked keeps the tags that it was booked with."


class KeyTagsForm(forms.Form):
    """The tags of a key's calls."""

    tags = TagsField(label="Tags")


class UserForm(forms.Form):
    """A user's cost centre, team and tags."""

    user = forms.CharField(max_length=200, help_text="As your calls name them in x-purser-user.")
    cost_center = forms.CharField(max_length=100, required=False, label="Cost centre")
    team = forms.ChoiceField(required=False, help_text="Teams and their tags are part of the policy.")
    tags = TagsField(label="Tags")

    def __init__(self, *args: object, teams: list[str], **options: object) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type]
        self.fields["team"].choices = [("", "none"), *((name, name) for name in teams)]  # type: ignore[attr-defined]

    def clean_tags(self) -> dict[str, str]:
        tags: dict[str, str] = self.cleaned_data["tags"]
        if COST_CENTER in tags:
            raise ValidationError("The cost centre has a field of its own.")
        return tags


@page(Right.CONFIGURE)
def change_key(request: HttpRequest, visitor: Visitor, key_id: int) -> HttpResponse:
    """`/portal/t/<slug>/keys/<id>/tags/`."""
    key = get_object_or_404(ApiKey, tenant=visitor.tenant, pk=key_id)
    form = KeyTagsForm(request.POST or None, initial={"tags": key.tags})
    if request.method == "POST" and form.is_valid():
        try:
            changed = allocate_key(key, tags=form.cleaned_data["tags"], acting_user=visitor.user)
        except ValidationError as error:
            take_errors(form, error)
        else:
            messages.success(request, "Changed." if changed else "Nothing changed.")
            return redirect(address(visitor, "key", key_id=key.pk))
    context = {
        "form": form,
        "verb": "Change the tags",
        "effect": EFFECT,
        "back": address(visitor, "key", key_id=key.pk),
    }
    return show(request, visitor, "form.html", context, title=f"Tags of {key.name}")


@page(Right.CONFIGURE)
def change_user(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """`/portal/t/<slug>/teams/user/?user=alice`."""
    asked = request.GET.get("user", "").strip()[:200].replace("\x00", "")
    user = EndUser.objects.filter(tenant=visitor.tenant, external_id=asked).first() if asked else None
    initial = {"user": asked}
    if user is not None:
        initial |= {"cost_center": user.cost_center, "team": user.team, "tags": user.tags}
    teams = sorted(parse_policy(visitor.tenant.policy).allocation.teams)
    form = UserForm(request.POST or None, initial=initial, teams=teams)
    if request.method == "POST" and form.is_valid():
        cleaned = form.cleaned_data
        try:
            changed = allocate_user(visitor.tenant, cleaned.pop("user"), **cleaned, acting_user=visitor.user)
        except ValidationError as error:
            take_errors(form, error)
        else:
            messages.success(request, "Changed." if changed else "Nothing changed.")
            return redirect(address(visitor, "teams"))
    context = {"form": form, "verb": "Save", "effect": EFFECT, "back": address(visitor, "teams")}
    return show(request, visitor, "form.html", context, title="Whose cost a user's calls are")
