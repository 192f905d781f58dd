"""Pages of API keys: one's own, and for an owner all of the tenant's.

Invariant: a key of somebody else is a 404 for a member. A secret is in one answer, that of the request that made it: in no
address, no session and no message.
"""

from datetime import timedelta
from typing import Any, Final

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.timezone import now
from django.views.decorators.http import require_POST

from config.portal.access import Visitor, page
from config.portal.forms import OwnKeyForm, RotationForm, ServiceKeyForm, take_errors
from config.portal.layout import address, show
from config.portal.snippets import chat_models, snippets
from config.site import cells
from tenants.allocation import as_text
from tenants.keys.editing import KeyRevoked, TooManyRotations, issue_key, revoke_key, rotate_key, set_rights
from tenants.keys.own_keys import issue_own_key, live, own_keys, self_service_of
from tenants.models import ApiKey
from tenants.people.rights import Right
from tenants.principal import KeyRight

MOST_SHOWN: Final = 100
ADVICE: Final = (
    "This is the only time that the secret is shown. Copy it now; we keep only a fingerprint of it."
)


@page(Right.CALL)
def list_keys(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """One's own keys; for an owner also everybody's, found by name, user or public id."""
    allowed = self_service_of(visitor.tenant)
    own = own_keys(visitor.tenant, visitor.person)
    context: dict[str, Any] = {
        "own": _table(visitor, own, with_user=False),
        "left": max(allowed.keys - live(own).count(), 0),
        "allowed": allowed,
    }
    if visitor.may(Right.CONFIGURE):
        text = request.GET.get("q", "").strip()[:200].replace("\x00", "")
        everybody = ApiKey.objects.filter(tenant=visitor.tenant)
        if text:
            everybody = everybody.filter(Q(name__startswith=text) | Q(user=text) | Q(public_id=text))
        context |= {"everybody": _table(visitor, everybody, with_user=True), "text": text}
    return show(request, visitor, "keys.html", context, title="API keys")


@page(Right.CALL)
def add_own(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """Make a key of one's own: the answer has its secret, and the lines to use it."""
    allowed = self_service_of(visitor.tenant)
    names = [name for name, _ in chat_models(allowed.key_models)]
    form = OwnKeyForm(request.POST or None, models=names, most_days=allowed.key_days)
    if request.method == "POST" and form.is_valid():
        try:
            key, secret = issue_own_key(
                visitor.tenant, person=visitor.person, **form.cleaned_data, acting_user=visitor.user
            )
        except ValidationError as error:
            take_errors(form, error)
        else:
            return _secret(request, visitor, key, secret, title=f"Your key {key.name}")
    limits = allowed.key_rate_limits
    context = {"form": form, "verb": "Make the key", "back": address(visitor, "keys"), "limits": limits}
    return show(request, visitor, "form.html", context, title="A key of your own")


@page(Right.CONFIGURE)
def add_service(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """An owner makes a key for a service or a person."""
    form = ServiceKeyForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        days = form.cleaned_data.pop("days")
        try:
            key, secret = issue_key(
                visitor.tenant,
                **form.cleaned_data,
                expires_at=now() + timedelta(days=days) if days else None,
                acting_user=visitor.user,
            )
        except ValidationError as error:
            take_errors(form, error)
        else:
            return _secret(request, visitor, key, secret, title=f"Key {key.name}")
    context = {"form": form, "verb": "Make the key", "back": address(visitor, "keys")}
    return show(request, visitor, "form.html", context, title="A key for a service")


@page(Right.CALL)
def show_key(request: HttpRequest, visitor: Visitor, key_id: int) -> HttpResponse:
    """A key with its verbs."""
    key = _find(visitor, key_id)
    context = {
        "key": key,
        "facts": _facts(visitor, key),
        "rotation": RotationForm(),
        "is_live": _state(key) == "active",
        "may_read_reports": KeyRight.REPORTS in key.rights,
    }
    return show(request, visitor, "key.html", context, title=key.name)


@page(Right.CALL)
def rotate(request: HttpRequest, visitor: Visitor, key_id: int) -> HttpResponse:
    """Give a key a new secret: the answer has it."""
    key = _find(visitor, key_id)
    form = RotationForm(request.POST)
    if request.method != "POST" or not form.is_valid():
        return redirect(address(visitor, "key", key_id=key.pk))
    try:
        secret = rotate_key(key, grace=form.grace_time, acting_user=visitor.user)
    except KeyRevoked:
        messages.error(request, "The key is revoked, and stays so.")
        return redirect(address(visitor, "key", key_id=key.pk))
    except TooManyRotations as error:
        messages.error(request, str(error))
        return redirect(address(visitor, "key", key_id=key.pk))
    return _secret(request, visitor, key, secret, title=f"New secret of {key.name}")


@page(Right.CONFIGURE)
@require_POST
def change_rights(request: HttpRequest, visitor: Visitor, key_id: int) -> HttpResponse:
    """Let a person's key read the tenant's reports, or no more."""
    key = _find(visitor, key_id)
    wanted = [KeyRight.REPORTS.value] if request.POST.get("reports") == "yes" else []
    try:
        set_rights(key, rights=wanted, acting_user=visitor.user)
    except KeyRevoked:
        messages.error(request, "The key is revoked, and stays so.")
    else:
        messages.success(
            request, f"{key.name} {'may read' if wanted else 'reads no more'} the tenant's reports."
        )
    return redirect(address(visitor, "key", key_id=key.pk))


@page(Right.CALL)
@require_POST
def revoke(request: HttpRequest, visitor: Visitor, key_id: int) -> HttpResponse:
    """Refuse a key from now on."""
    key = _find(visitor, key_id)
    if revoke_key(key, reason="revoked in the portal", acting_user=visitor.user):
        messages.success(request, f"{key.name} is revoked: it is refused from now on.")
    return redirect(address(visitor, "keys"))


@page(Right.CALL)
def connect(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """The lines for every tool, with a placeholder for the key."""
    models = ("*",) if visitor.may(Right.CONFIGURE) else self_service_of(visitor.tenant).key_models
    context = {"snippets": snippets(request, models=models)}
    return show(request, visitor, "connect.html", context, title="Connect your tools")


def _find(visitor: Visitor, key_id: int) -> ApiKey:
    keys = (
        ApiKey.objects.filter(tenant=visitor.tenant)
        if visitor.may(Right.CONFIGURE)
        else own_keys(visitor.tenant, visitor.person)
    )
    return get_object_or_404(keys, pk=key_id)


def _secret(request: HttpRequest, visitor: Visitor, key: ApiKey, secret: str, *, title: str) -> HttpResponse:
    context = {
        "key": key,
        "secret": secret,
        "advice": ADVICE,
        "snippets": snippets(request, secret=secret, models=key.models),
        "back": address(visitor, "keys"),
    }
    return show(request, visitor, "secret.html", context, title=title)


def _table(visitor: Visitor, keys: QuerySet[ApiKey], *, with_user: bool) -> dict[str, Any]:
    zone = visitor.tenant.timezone
    found = list(keys.order_by("-created_at", "-pk")[: MOST_SHOWN + 1])
    rows = [
        [
            cells.link(address(visitor, "key", key_id=key.pk), key.name),
            *([key.user or "a service"] if with_user else []),
            _state(key),
            ", ".join(key.models[:3]) + (" …" if len(key.models) > 3 else "") or "none",
            cells.moment(key.expires_at, zone=zone) if key.expires_at else "never",
            cells.moment(key.created_at, zone=zone),
        ]
        for key in found[:MOST_SHOWN]
    ]
    heads = ["Name", *(["Whose"] if with_user else []), "State", "Models", "Ends", "Made"]
    more = f"The newest {MOST_SHOWN}; others are found by name." if len(found) > MOST_SHOWN else ""
    return {"headers": heads, "rows": rows, "more": more, "empty": "No key yet."}


def _state(key: ApiKey) -> str:
    if key.revoked_at:
        return "revoked"
    return "expired" if key.expires_at and key.expires_at <= now() else "active"


def _facts(visitor: Visitor, key: ApiKey) -> list[tuple[str, Any]]:
    zone = visitor.tenant.timezone
    limits = ", ".join(f"{value:,} {name}" for name, value in key.rate_limits.items())
    facts: list[tuple[str, Any]] = [
        ("Public id", key.public_id),
        ("Whose", key.user or "a service"),
        ("State", _state(key)),
        ("Models", ", ".join(key.models[:50]) or "none"),
        ("May also", ", ".join(key.rights) or ("all that the tenant may" if not key.user else "nothing")),
        ("Tags of its calls", as_text(key.tags) or cells.NOTHING),
        ("Rate limits", limits or "the tenant's only"),
        ("Ends", cells.moment(key.expires_at, zone=zone) if key.expires_at else "never"),
        ("Made", cells.moment(key.created_at, zone=zone)),
    ]
    if key.rotated_at:
        facts.append(("Last new secret", cells.moment(key.rotated_at, zone=zone)))
    if key.previous_expires_at and key.previous_expires_at > now():
        facts.append(("Former secret good until", cells.moment(key.previous_expires_at, zone=zone)))
    if key.revoked_at:
        facts.append(("Revoked", cells.moment(key.revoked_at, zone=zone)))
    return facts
