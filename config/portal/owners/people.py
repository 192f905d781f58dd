"""The tenant's people: roles and user ids, and who is taken out; for owners.

Invariant: only memberships of the visitor's tenant; the last owner stays.
"""

from typing import Any, Final

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_POST

from config.portal.access import Visitor, page
from config.portal.forms import MembershipForm, take_errors
from config.portal.layout import address, show
from config.portal.owners.invitations import waiting
from config.site import cells
from tenants.keys.own_keys import live, own_keys
from tenants.memberships import change_membership, end_membership
from tenants.models import Membership
from tenants.people.rights import Right

MOST_SHOWN: Final = 500


@page(Right.PEOPLE)
def list_people(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """Everybody with a role in the tenant."""
    people = (
        Membership.objects.filter(tenant=visitor.tenant)
        .select_related("user")
        .order_by("role", "user__username")
    )
    rows = [
        [
            cells.link(
                address(visitor, "person", membership_id=one.pk),
                one.user.get_full_name() or one.user.get_username(),
            ),
            one.user.email or cells.NOTHING,
            one.role,
            one.person or cells.NOTHING,
            cells.moment(one.user.last_login, zone=visitor.tenant.timezone)
            if one.user.last_login
            else "never",
        ]
        for one in people[:MOST_SHOWN]
    ]
    table = {"headers": ["Name", "E-mail", "Role", "User id", "Last signed in"], "rows": rows}
    return show(
        request,
        visitor,
        "people.html",
        {"people": table, "invite": address(visitor, "invite"), "waiting": waiting(visitor)},
        title="People",
    )


@page(Right.PEOPLE)
def show_person(request: HttpRequest, visitor: Visitor, membership_id: int) -> HttpResponse:
    """A person's role and user id, which an owner changes."""
    membership = _find(visitor, membership_id)
    form = MembershipForm(
        request.POST or None, initial={"role": membership.role, "person": membership.person}
    )
    if request.method == "POST" and form.is_valid():
        try:
            change_membership(membership, **form.cleaned_data, acting_user=visitor.user)
        except ValidationError as error:
            take_errors(form, error)
        else:
            messages.success(request, "Changed; it counts from the next page on.")
            return redirect(address(visitor, "people"))
    context = {
        "form": form,
        "membership": membership,
        "facts": _facts(visitor, membership),
        "back": address(visitor, "people"),
        "is_oneself": membership.user_id == visitor.user.pk,
    }
    return show(
        request,
        visitor,
        "person.html",
        context,
        title=membership.user.get_full_name() or membership.user.get_username(),
    )


@page(Right.PEOPLE)
@require_POST
def remove_person(request: HttpRequest, visitor: Visitor, membership_id: int) -> HttpResponse:
    """Take somebody out of the tenant."""
    membership = _find(visitor, membership_id)
    try:
        end_membership(membership, acting_user=visitor.user)
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
    else:
        messages.success(request, f"{membership.user} is no member any more.")
    is_oneself = membership.user_id == visitor.user.pk
    return redirect("portal:entrance") if is_oneself else redirect(address(visitor, "people"))


def _find(visitor: Visitor, membership_id: int) -> Membership:
    return get_object_or_404(
        Membership.objects.select_related("user"), tenant=visitor.tenant, pk=membership_id
    )


def _facts(visitor: Visitor, membership: Membership) -> list[tuple[str, Any]]:
    return [
        ("E-mail", membership.user.email or cells.NOTHING),
        ("Signs in as", membership.user.get_username()),
        ("Own keys", f"{live(own_keys(visitor.tenant, membership.person)).count():,} active"),
    ]
