"""What is written into the audit log by itself: changes of tables with a history or `is_audited`, sign-ins, factors, passwords.

Invariant: connected once, when the app is ready. Nothing here decides or changes anything.
"""

from typing import Any

from allauth.account.signals import email_changed, password_changed, password_reset, password_set
from allauth.mfa.signals import authenticator_added, authenticator_removed
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.db.models.signals import post_delete, post_save, pre_save
from simple_history.signals import post_create_historical_record

from tenants.models import Membership
from tenants.people import audit

VERBS = {"+": "created", "~": "changed", "-": "deleted"}
HAPPENED = (
    (password_changed, "changed the password"),
    (password_set, "set a password"),
    (password_reset, "reset the password by e-mail"),
    (email_changed, "changed the e-mail address"),
    (authenticator_added, "added a second factor"),
    (authenticator_removed, "removed a second factor"),
)


def start() -> None:
    """Connect everything."""
    pre_save.connect(_keep_before, dispatch_uid="audit.before")
    post_create_historical_record.connect(_changed, dispatch_uid="audit.changed")
    post_save.connect(_saved, dispatch_uid="audit.saved")
    post_delete.connect(_deleted, dispatch_uid="audit.deleted")
    user_logged_in.connect(_signed_in, dispatch_uid="audit.in")
    user_logged_out.connect(_signed_out, dispatch_uid="audit.out")
    user_login_failed.connect(_failed, dispatch_uid="audit.failed")
    for signal, verb in HAPPENED:
        signal.connect(_teller(verb), weak=False, dispatch_uid=f"audit.{verb}")


def _keep_before(sender: Any, instance: Any, raw: bool = False, **rest: Any) -> None:
    if raw or not audit.is_watched(sender):
        return
    instance._before = None
    if instance.pk is not None and not instance._state.adding:
        fields = [field.attname for field in sender._meta.concrete_fields]
        instance._before = sender._base_manager.filter(pk=instance.pk).values(*fields).first()


def _changed(
    instance: Any, history_instance: Any, history_user: Any, history_change_reason: Any, **rest: Any
) -> None:
    _enter(instance, history_instance.history_type, person=history_user, reason=history_change_reason or "")


def _saved(sender: Any, instance: Any, created: bool, raw: bool = False, **rest: Any) -> None:
    if not raw and getattr(sender, "is_audited", False):
        _enter(instance, "+" if created else "~", person=getattr(instance, "_history_user", None))


def _deleted(sender: Any, instance: Any, **rest: Any) -> None:
    if getattr(sender, "is_audited", False):
        _enter(instance, "-", person=getattr(instance, "_history_user", None))


def _enter(instance: Any, kind: str, *, person: Any, reason: str = "") -> None:
    before = audit.values_of(instance) if kind == "-" else getattr(instance, "_before", None)
    after = None if kind == "-" else audit.values_of(instance)
    changes = audit.difference(instance, before, after)
    if kind == "~" and not changes:
        return
    name = "" if person is not None else getattr(instance, "_audit_name", "")
    audit.record(VERBS[kind], about=instance, person=person, name=name, changes=changes, reason=reason)


def _signed_in(request: Any, user: Any, **rest: Any) -> None:
    audit.record("signed in", about=user, person=user, request=request, tenant_id=_only_tenant(user))


def _signed_out(request: Any, user: Any, **rest: Any) -> None:
    if user is not None:
        audit.record("signed out", about=user, person=user, request=request, tenant_id=_only_tenant(user))


def _failed(credentials: dict[str, Any], request: Any = None, **rest: Any) -> None:
    """A wrong password. An attempt that had to wait was no attempt."""
    if request is None or getattr(request, "_seconds_to_wait", False):
        return
    tried = str(credentials.get("username") or credentials.get("email") or "")
    audit.record("failed to sign in", name=tried, request=request, object_name=tried)


def _teller(verb: str) -> Any:
    def tell(request: Any = None, user: Any = None, **rest: Any) -> None:
        if user is not None:
            audit.record(verb, about=user, request=request, tenant_id=_only_tenant(user))

    return tell


def _only_tenant(user: Any) -> int | None:
    """The tenant of a person who belongs to one and has no part in the platform."""
    if user.is_staff and user.is_superuser:
        return None
    found = list(Membership.objects.filter(user=user.pk).values_list("tenant_id", flat=True)[:2])
    return found[0] if len(found) == 1 else None
