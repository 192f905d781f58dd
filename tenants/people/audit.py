"""The audit log: every change with who, what it was before and after, when, from where and why.

Invariant: a change of a table with a history, or of one whose model says `is_audited`, gets its entry in the same transaction,
whoever makes it: admin, portal, API or command. Texts and values are cut, so that no entry is large; secrets are never written.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.db import models
from django.http import HttpRequest
from django.utils.timezone import now
from simple_history.models import HistoricalRecords

from tenants.models import AuditEntry, Tenant
from tenants.secrets import EncryptedTextField
from tenants.signing_in.browsers import address_of

LONGEST_VALUE: Final = 500
MOST_FIELDS: Final = 40
KEPT_DAYS: Final = 400
PRUNED_AT_ONCE: Final = 10_000
MOST_SHOWN: Final = 100
HIDDEN: Final = "•••"
SECRET_FIELDS: Final = (EncryptedTextField, models.BinaryField)
SECRET_NAMES: Final = ("secret", "password", "api_key", "token")

Changes = dict[str, list[Any]]
_command: ContextVar[str] = ContextVar("command", default="")


def record(
    verb: str,
    *,
    about: models.Model | None = None,
    tenant_id: int | None = None,
    person: Any = None,
    name: str = "",
    request: HttpRequest | None = None,
    changes: Changes | None = None,
    reason: str = "",
    object_name: str = "",
) -> AuditEntry:
    """Write an entry. Without a person it is the current request's, else the running command's, else the product's own."""
    request = request or request_here()
    if person is None and request is not None:
        person = getattr(request, "user", None)
    if person is not None and not person.is_authenticated:
        person = None
    if tenant_id is None and about is not None:
        tenant_id = tenant_of(about)
    return AuditEntry.objects.create(
        verb=verb[:60],
        tenant_id=tenant_id,
        person_id=None if person is None else person.pk,
        name=(name or (_command.get() if person is None else person.get_username()))[:150],
        address="" if request is None else address_of(request)[:45],
        object_type="" if about is None else about._meta.label_lower[:60],
        object_id="" if about is None else str(about.pk)[:64],
        object_name=(object_name or ("" if about is None else _name_of(about)))[:200],
        changes=dict(list((changes or {}).items())[:MOST_FIELDS]),
        reason=(reason or "")[:200],
    )


def entries_of(
    tenant: Tenant, *, before: int | None = None, searched: str = "", most: int = MOST_SHOWN
) -> list[AuditEntry]:
    """A page of a tenant's entries, newest first; `before` is the last id of the page before."""
    rows = AuditEntry.objects.filter(tenant=tenant).order_by("-pk")
    if before is not None:
        rows = rows.filter(pk__lt=before)
    if searched:
        rows = rows.filter(models.Q(name__icontains=searched) | models.Q(object_name__icontains=searched))
    return list(rows[: min(most, MOST_SHOWN)])


def prune() -> int:
    """Delete entries whose time is over, the oldest first, so many at once."""
    old = AuditEntry.objects.filter(at__lt=now() - timedelta(days=KEPT_DAYS + 1)).order_by("at")
    ids = list(old.values_list("pk", flat=True)[:PRUNED_AT_ONCE])
    return AuditEntry.objects.filter(pk__in=ids).delete()[0]


@contextmanager
def acting_as(name: str) -> Iterator[None]:
    """Enter what is changed inside under this name, where no person is known."""
    token = _command.set(name)
    try:
        yield
    finally:
        _command.reset(token)


def is_watched(model: type[models.Model] | models.Model) -> bool:
    """Whether changes of the table enter the log by themselves."""
    return bool(getattr(model, "is_audited", False)) or hasattr(
        model._meta, "simple_history_manager_attribute"
    )


def changed_in_bulk(row: models.Model, *, person: Any = None, reason: str = "", **new: Any) -> None:
    """Enter a change of one row that was made by a query, which no signal tells of; `row` has the values before."""
    before = {name: row.__dict__.get(name) for name in new}
    record("changed", about=row, person=person, changes=_of(row, before, new), reason=reason)


def request_here() -> HttpRequest | None:
    """The request that this thread answers, if any."""
    return getattr(HistoricalRecords.context, "request", None)


def difference(
    row: models.Model, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None
) -> Changes:
    """Of each field that differs, its value before and after; None where there is no row."""
    found: Changes = {}
    for field in row._meta.concrete_fields:
        old, new = (
            None if side is None else _typed(field, side.get(field.attname)) for side in (before, after)
        )
        if old == new or field.primary_key:
            continue
        found[field.name] = [_shown(field, old), _shown(field, new)]
    return found


def _of(row: models.Model, before: Mapping[str, Any], after: Mapping[str, Any]) -> Changes:
    unchanged = values_of(row)
    return difference(row, {**unchanged, **before}, {**unchanged, **after})


def values_of(row: models.Model) -> dict[str, Any]:
    """A row's values as they are in memory."""
    return {field.attname: row.__dict__.get(field.attname) for field in row._meta.concrete_fields}


def answers_of(cleaned: Mapping[str, Any]) -> Changes:
    """What somebody entered in a dialog, as changes from nothing."""
    return {
        name: [None, HIDDEN if _is_secret(name) else _bounded(value)]
        for name, value in list(cleaned.items())[:MOST_FIELDS]
        if value not in (None, "", False) and name != "reason"
    }


def tenant_of(row: models.Model) -> int | None:
    """The tenant that a row belongs to, if any."""
    if isinstance(row, Tenant):
        return row.pk
    for owner in (row, getattr(row, "budget", None)):
        if (tenant_id := getattr(owner, "tenant_id", None)) is not None:
            return int(tenant_id)
    return None


def _name_of(row: models.Model) -> str:
    try:
        return str(row)
    except (AttributeError, TypeError, ValueError):  # of a row whose values have not been read back yet
        return f"{row._meta.verbose_name} {row.pk}"


def _typed(field: Any, value: Any) -> Any:
    """The value as the database gives it back: a row may have been made with a text or an int for a Decimal."""
    try:
        return bytes(value) if isinstance(value, memoryview) else field.to_python(value)
    except (TypeError, ValueError, ValidationError):
        return value


def _shown(field: Any, value: Any) -> Any:
    if isinstance(field, SECRET_FIELDS) or _is_secret(field.name):
        return None if value in (None, "", b"") else HIDDEN
    return _bounded(value)


def _is_secret(name: str) -> bool:
    return any(part in name for part in SECRET_NAMES)


def _bounded(value: Any) -> Any:
    """The value as JSON, cut; what is no JSON is written as text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    if isinstance(value, date):
        return value.isoformat()
    text = str(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"
