"""What people changed in the tenant: the audit log's entries of it, for owners.

Invariant: only entries of the visitor's tenant, a page of them at a time.
"""

from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from django.utils.http import urlencode

from config.portal.access import Visitor, page
from config.portal.layout import show
from config.site import cells
from tenants.models import AuditEntry
from tenants.people.audit import entries_of
from tenants.people.rights import Right

A_PAGE: Final = 50
LONGEST_SEARCH: Final = 100


@page(Right.AUDIT)
def list_changes(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """Newest first; found by a person or by what was changed."""
    searched = request.GET.get("q", "").strip()[:LONGEST_SEARCH]
    before = request.GET.get("before", "")
    last = int(before) if before.isdecimal() and len(before) < 18 else None
    entries = entries_of(visitor.tenant, before=last, searched=searched, most=A_PAGE)
    rows = [
        [
            cells.moment(entry.at, zone=visitor.tenant.timezone),
            entry.name or "the product",
            f"{entry.verb} {entry.object_type.rpartition('.')[2]} {entry.object_name}".strip(),
            _changes(entry),
            entry.address or cells.NOTHING,
            entry.reason or cells.NOTHING,
        ]
        for entry in entries
    ]
    older = urlencode({"q": searched, "before": str(entries[-1].pk)}) if len(entries) == A_PAGE else ""
    context: dict[str, Any] = {
        "changes": {"headers": ["When", "Who", "What", "Before → after", "From", "Why"], "rows": rows},
        "searched": searched,
        "older": older,
    }
    return show(request, visitor, "changes.html", context, title="Changes")


def _changes(entry: AuditEntry) -> str:
    """The first fields with their values, short; the rest is counted."""
    shown = [
        f"{name.replace('_', ' ')}: {_short(before)} → {_short(after)}"
        for name, (before, after) in list(entry.changes.items())[:3]
    ]
    more = len(entry.changes) - len(shown)
    return "; ".join([*shown, *([f"{more} more"] if more else [])]) or cells.NOTHING


def _short(value: Any) -> str:
    text = cells.NOTHING if value in (None, "") else str(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
