"""How people come to a tenant: by invitation.

Invariant: an invitation is good for seven days and once, and only its hash is stored. Whoever has the link has read the
mail, so the address is proved. To an account that exists it gives a membership, never a session.
"""

from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from secrets import token_urlsafe
from typing import Any, Final

from allauth.account.internal.userkit import filter_users_by_email
from allauth.account.models import EmailAddress
from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.mail import send_mail
from django.core.validators import validate_email
from django.db import transaction
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.timezone import now

from tenants.models import Invitation, Membership, Tenant
from tenants.people.authors import record_author

VALID_DAYS: Final = 7
MOST_OPEN: Final = 200  # in one tenant


class NoInvitation(Exception):
    """The link is unknown, used, withdrawn or too old."""


@dataclass(frozen=True)
class Arrival:
    """Somebody who accepted: their account, and whether it is new."""

    user: User
    is_new: bool
    tenant: Tenant


@transaction.atomic
def invite(tenant: Tenant, *, email: str, role: str, person: str = "", acting_user: Any) -> Invitation:
    """Send somebody a link into a tenant; an earlier one to the same address ends. Raises ValidationError."""
    address = email.strip().lower()
    validate_email(address)
    if role not in Membership.Role.values:
        raise ValidationError({"role": "No such role."})
    if person and Membership.objects.filter(tenant=tenant, person=person).exists():
        raise ValidationError({"person": f"Somebody else is {person} already."})
    Tenant.objects.select_for_update().get(pk=tenant.pk)
    for earlier in open_ones(tenant).filter(email=address):
        withdraw(earlier, acting_user=acting_user)
    if open_ones(tenant).count() >= MOST_OPEN:
        raise ValidationError(f"{MOST_OPEN} invitations are open: withdraw some first.")
    token = token_urlsafe(32)
    invitation = Invitation(
        tenant=tenant,
        email=address,
        role=role,
        person=person,
        token_hash=_hash(token),
        invited_by=acting_user,
        expires_at=now() + timedelta(days=VALID_DAYS),
    )
    record_author(invitation, acting_user=acting_user, reason="")
    invitation.save()
    transaction.on_commit(lambda: _send(invitation, token))
    return invitation


def withdraw(invitation: Invitation, *, acting_user: Any) -> None:
    """End an invitation that is open."""
    invitation.revoked_at = now()
    record_author(invitation, acting_user=acting_user, reason="")
    invitation.save(update_fields=["revoked_at"])


def open_ones(tenant: Tenant) -> Any:
    """The invitations of a tenant that wait, expired ones included: each address has one."""
    return Invitation.objects.filter(tenant=tenant, accepted_at=None, revoked_at=None)


def find(token: str) -> Invitation:
    """The open invitation of a link. Raises NoInvitation."""
    found = Invitation.objects.select_related("tenant").filter(token_hash=_hash(token)).first()
    if found is None or found.state != "open":
        raise NoInvitation
    return found


@transaction.atomic
def accept(token: str) -> Arrival:
    """Make the reader of the link a member. Raises NoInvitation."""
    invitation = find(token)
    taken = Invitation.objects.filter(pk=invitation.pk, accepted_at=None, revoked_at=None)
    if not taken.update(accepted_at=now()):
        raise NoInvitation
    invitation.accepted_at = now()
    users = filter_users_by_email(invitation.email, is_active=True, prefer_verified=True)
    user = users[0] if users else account_of(invitation.email)
    join(user, invitation.tenant, role=invitation.role, person=invitation.person)
    record_author(invitation, acting_user=user, reason="accepted")
    invitation.save(update_fields=["accepted_at"])
    return Arrival(user=user, is_new=not users, tenant=invitation.tenant)


def account_of(email: str) -> User:
    """A new account, whose address is proved, and without a password: its person gets codes, or sets one."""
    user = User(username=email[:150], email=email)
    user.set_unusable_password()
    user.save()
    EmailAddress.objects.create(user=user, email=email, verified=True, primary=True)
    return user


def join(user: User, tenant: Tenant, *, role: str, person: str = "") -> Membership:
    """Make somebody a member, or give a member the role; an owner stays one. A user id that is taken stays."""
    is_free = (
        person and not Membership.objects.filter(tenant=tenant, person=person).exclude(user=user).exists()
    )
    membership = Membership.objects.filter(tenant=tenant, user=user).first() or Membership(
        tenant=tenant, user=user
    )
    if membership.role != Membership.Role.OWNER:  # an invitation takes nothing away
        membership.role = Membership.Role(role)
    membership.person = person if is_free else membership.person
    record_author(membership, acting_user=user, reason="invited")
    membership.save()
    return membership


def _send(invitation: Invitation, token: str) -> None:
    context = {
        "invitation": invitation,
        "url": f"{settings.SITE_URL}{reverse('invitation', args=(token,))}",
        "days": VALID_DAYS,
    }
    send_mail(
        f"[Purser] You are invited to {invitation.tenant.name}",
        render_to_string("email/invitation.txt", context),
        settings.DEFAULT_FROM_EMAIL,
        [invitation.email],
    )


def _hash(token: str) -> bytes:
    return sha256(token.encode()).digest()
