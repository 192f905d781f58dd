"""Invitations: an owner sends somebody a link into the tenant, and takes back one that waits.

Invariant: the link is in the mail alone; no page shows it.
"""

from typing import Any, Final

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_POST

from config.portal.access import Visitor, page
from config.portal.forms import InvitationForm, take_errors
from config.portal.layout import address, show
from tenants.people.inviting import VALID_DAYS, invite, open_ones, withdraw
from tenants.people.rights import Right

MOST_SHOWN: Final = 200


@page(Right.PEOPLE)
def send(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """A form with address, role and user id."""
    form = InvitationForm(request.POST or None, initial={"role": "member"})
    if request.method == "POST" and form.is_valid():
        try:
            sent = invite(visitor.tenant, **form.cleaned_data, acting_user=visitor.user)
        except ValidationError as error:
            take_errors(form, error)
        else:
            messages.success(request, f"A link is on its way to {sent.email}.")
            return redirect(address(visitor, "people"))
    context = {
        "form": form,
        "verb": "Send the link",
        "back": address(visitor, "people"),
        "effect": f"Who opens the link in the mail joins {visitor.tenant.name}. It is good for {VALID_DAYS} days, once.",
    }
    return show(request, visitor, "form.html", context, title="Invite somebody")


@page(Right.PEOPLE)
@require_POST
def cancel(request: HttpRequest, visitor: Visitor, invitation_id: int) -> HttpResponse:
    """Take an invitation back."""
    found = get_object_or_404(open_ones(visitor.tenant), pk=invitation_id)
    withdraw(found, acting_user=visitor.user)
    messages.success(request, f"The link of {found.email} does not work any more.")
    return redirect(address(visitor, "people"))


def waiting(visitor: Visitor) -> list[dict[str, Any]]:
    """The invitations that nobody has accepted yet, with the address that takes each back."""
    rows = open_ones(visitor.tenant).select_related("invited_by")[:MOST_SHOWN]
    return [
        {"invitation": one, "cancel": address(visitor, "cancel_invitation", invitation_id=one.pk)}
        for one in rows
    ]
