"""How people come from their company's identity provider (OpenID Connect), and which account they get.

Invariant: a provider vouches only for verified addresses in its own domains. A tenant's provider opens no account of staff or
of another tenant's people. The ID token's signature is checked, and what the provider says besides must be of the same
person. Nobody else signs up.
"""

from typing import Any, Final

from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.helpers import render_authentication_error
from allauth.socialaccount.internal import jwtkit
from allauth.socialaccount.models import SocialApp
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView, OAuth2LoginView
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect

from tenants.models import IdentityProvider, Membership, Tenant
from tenants.people import audit
from tenants.people.inviting import join

KIND: Final = "openid_connect"
MOST_PROVIDERS: Final = 50


class Arrivals(DefaultSocialAccountAdapter):  # type: ignore[misc]
    """What django-allauth asks about people who come from identity providers."""

    def list_apps(self, request: Any, provider: Any = None, client_id: Any = None) -> list[SocialApp]:
        if "\0" in f"{provider or ''}{client_id or ''}":  # which no text of the database has
            return []
        rows = IdentityProvider.objects.filter(is_active=True)
        if provider is not None and provider != KIND:
            rows = rows.filter(slug=provider)
        if client_id is not None:
            rows = rows.filter(client_id=client_id)
        return [_app_of(row) for row in rows[:MOST_PROVIDERS]]

    def pre_social_login(self, request: HttpRequest, sociallogin: Any) -> None:
        provider = provider_of(sociallogin)
        email = _vouched_for(provider, sociallogin)
        if email is None:
            refuse(
                request,
                sociallogin,
                "Your company's account has no verified address in a domain that it may vouch for.",
            )
        if sociallogin.is_existing and not _may_open(provider, sociallogin.user):
            refuse(request, sociallogin, "This account signs in another way.")

    def authenticate_by_email(self, sociallogin: Any) -> Any:
        provider = provider_of(sociallogin)
        if _vouched_for(provider, sociallogin) is None:
            return None
        found = super().authenticate_by_email(sociallogin)
        return found if found is not None and _may_open(provider, found[0]) else None

    def is_open_for_signup(self, request: HttpRequest, sociallogin: Any) -> bool:
        return tenant_for(provider_of(sociallogin), claims_of(sociallogin)) is not None

    def populate_user(self, request: HttpRequest, sociallogin: Any, data: Any) -> Any:
        return super().populate_user(request, sociallogin, {**data, "username": data.get("email") or ""})

    def save_user(self, request: HttpRequest, sociallogin: Any, form: Any = None) -> Any:
        user = super().save_user(request, sociallogin, form)
        provider, claims = provider_of(sociallogin), claims_of(sociallogin)
        tenant = tenant_for(provider, claims)
        if tenant is not None:
            join(user, tenant, role=role_for(provider, claims))
        return user


class CheckedProvider(OpenIDConnectOAuth2Adapter):  # type: ignore[misc]
    """The conversation with a provider, with every check that the standard has."""

    @property
    def openid_config(self) -> dict[str, Any]:
        config: dict[str, Any] = super().openid_config
        expected = self.get_provider().app.settings["server_url"]
        if str(config.get("issuer", "")).rstrip("/") != expected.rstrip("/"):
            raise OAuth2Error("the discovery document names another issuer")
        return config

    def _decode_id_token(self, app: SocialApp, id_token: str) -> dict[str, Any]:
        decoded: dict[str, Any] = jwtkit.verify_and_decode(
            credential=id_token,
            keys_url=self.openid_config["jwks_uri"],
            issuer=self.openid_config["issuer"],
            audience=app.client_id,
            lookup_kid=jwtkit.lookup_kid_jwk,
        )
        return decoded

    def complete_login(self, request: HttpRequest, app: SocialApp, token: Any, **options: Any) -> Any:
        if not options["response"].get("id_token"):
            raise OAuth2Error("there is no ID token")
        login = super().complete_login(request, app, token, **options)
        said = login.account.extra_data
        if said.get("userinfo") and said["userinfo"].get("sub") != said["id_token"].get("sub"):
            raise OAuth2Error("the ID token and the profile are of two people")
        return login


def begin(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Send a person to their identity provider."""
    return _conversation(OAuth2LoginView, request, provider_id)


def finish(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Take a person back from their identity provider."""
    return _conversation(OAuth2CallbackView, request, provider_id)


def provider_of(sociallogin: Any) -> IdentityProvider:
    """The row of the provider that somebody comes from."""
    return IdentityProvider.objects.select_related("tenant").get(slug=sociallogin.provider.app.provider_id)


def claims_of(sociallogin: Any) -> dict[str, Any]:
    """What the provider says of the person: the ID token, and the profile beside it."""
    said = sociallogin.account.extra_data
    return {**(said.get("userinfo") or {}), **(said.get("id_token") or {})}


def tenant_for(provider: IdentityProvider, claims: dict[str, Any]) -> Tenant | None:
    """Where a new person belongs; None: nowhere, so they need an invitation."""
    if provider.tenant is not None or not provider.tenant_claim:
        return provider.tenant
    return Tenant.objects.filter(slug=str(claims.get(provider.tenant_claim, ""))).first()


def role_for(provider: IdentityProvider, claims: dict[str, Any]) -> str:
    """The first role that the claim's values give, else the provider's."""
    values = claims.get(provider.role_claim) if provider.role_claim else None
    for value in values if isinstance(values, list) else [values]:
        if isinstance(value, str) and value in provider.roles:
            return str(provider.roles[value])
    return provider.role


def refuse(request: HttpRequest, sociallogin: Any, reason: str) -> None:
    """Lead back to the sign-in page, with the reason; and write it down."""
    email = next((one.email for one in sociallogin.email_addresses), "")
    audit.record("failed to sign in", request=request, name=email, object_name=email, reason=reason)
    messages.error(request, reason)
    raise ImmediateHttpResponse(redirect("account_login"))


def _conversation(view: Any, request: HttpRequest, provider_id: str) -> HttpResponse:
    adapter = CheckedProvider(request, provider_id)
    try:
        provider = adapter.get_provider()
    except SocialApp.DoesNotExist:
        raise Http404 from None
    try:
        answer: HttpResponse = view.adapter_view(adapter)(request)
    except (OAuth2Error, KeyError, TypeError, ValueError, OSError) as error:
        # a provider that cannot be reached, or answers otherwise than the standard says
        answer = render_authentication_error(request, provider, exception=error)
    return answer


def _app_of(row: IdentityProvider) -> SocialApp:
    return SocialApp(
        provider=KIND,
        provider_id=row.slug,
        name=row.name,
        client_id=row.client_id,
        secret=row.client_secret,
        settings={"server_url": row.issuer, "oauth_pkce_enabled": True, "email_authentication": True},
    )


def _vouched_for(provider: IdentityProvider, sociallogin: Any) -> str | None:
    """The verified address that the provider may vouch for."""
    domains = {domain.lower() for domain in provider.domains}
    for address in sociallogin.email_addresses:
        if address.verified and address.email.rpartition("@")[2].lower() in domains:
            return str(address.email)
    return None


def _may_open(provider: IdentityProvider, user: Any) -> bool:
    """Whether a provider may open this account: a tenant's only those of people who belong to it alone."""
    if provider.tenant_id is None:
        return True
    if user.is_staff or user.is_superuser:
        return False
    return not Membership.objects.filter(user=user).exclude(tenant=provider.tenant_id).exists()
