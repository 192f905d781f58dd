"""What django-allauth asks us: who the client is, where a person goes after signing in, how secrets are kept.

Invariant: nobody signs up by themselves. Every session begins in `Accounts.login`, which records its start, from which its
length is counted.
"""

from smtplib import SMTPException
from typing import Any

import structlog
from allauth.account.adapter import DefaultAccountAdapter
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.timezone import now

from config.site.pages import SESSION_BEGAN
from tenants import secrets
from tenants.signing_in.browsers import address_of, remember
from tenants.signing_in.places import place_of

log = structlog.get_logger(__name__)


class Accounts(DefaultAccountAdapter):  # type: ignore[misc]
    """Accounts and their sessions."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def get_client_ip(self, request: HttpRequest) -> str:
        return address_of(request) or "0.0.0.0"  # noqa: S104 an address that is nobody's

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """Passwords are counted by `guesses`, which locks nobody out."""

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        try:
            super().send_mail(template_prefix, email, context)
        except (OSError, SMTPException) as error:
            # whoever asked sees the same page as if there were no such account
            log.warning("mail_not_sent", kind=template_prefix, detail=str(error))

    def login(self, request: HttpRequest, user: Any) -> None:
        super().login(request, user)
        request.session[SESSION_BEGAN] = int(now().timestamp())

    def post_login(self, request: HttpRequest, user: Any, **facts: Any) -> HttpResponse:
        response: HttpResponse = super().post_login(request, user, **facts)
        if isinstance(response, HttpResponseRedirect):
            response["Location"] = place_of(user, response.url)
        remember(response, user)
        return response

    def get_reauthentication_methods(self, user: Any) -> list[dict[str, Any]]:
        ways: list[dict[str, Any]] = super().get_reauthentication_methods(user)
        return [
            way | {"description": "Use a passkey"} if way["id"] == "mfa_reauthenticate:webauthn" else way
            for way in ways
        ]

    def get_login_redirect_url(self, request: HttpRequest) -> str:
        return place_of(request.user)


class SecondFactors(DefaultMFAAdapter):  # type: ignore[misc]
    """Second factors; the seed of a code is encrypted at rest, as every secret."""

    def encrypt(self, text: str) -> str:
        return secrets.encrypt(text)

    def decrypt(self, encrypted_text: str) -> str:
        return secrets.decrypt(encrypted_text)

    def generate_authenticator_name(self, user: Any, type: str) -> str:
        """What a new passkey is called until somebody names it."""
        number = Authenticator.objects.filter(user=user.pk, type=type).count() + 1
        return "Passkey" if number == 1 else f"Passkey {number}"
