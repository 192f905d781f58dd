"""The audit log's pages: who did what, when, from where and why.

Invariant: read only; a person sees the entries of tenants in which they may, and those of no tenant with a platform role.
"""

import json
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import FieldTextFilter, RangeDateTimeFilter
from unfold.decorators import display

from config.site import cells
from tenants.admin.access import ReadOnlyAdmin
from tenants.admin.choices import SeenRowsFilter
from tenants.models import AuditEntry
from tenants.people.rights import Right

MOST_NAMES = 4


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    """Everything that people did, newest first."""

    seen_with = Right.AUDIT
    list_display = ("at", "who", "verb", "what", "fields_changed", "tenant", "address", "reason")
    list_filter = (
        ("tenant", SeenRowsFilter),
        ("name", FieldTextFilter),
        ("verb", FieldTextFilter),
        ("object_type", FieldTextFilter),
        ("at", RangeDateTimeFilter),
    )
    list_select_related = ("tenant",)
    search_fields = ("name", "object_name", "object_id")
    search_help_text = "A person, or the name or id of what was changed"
    fieldsets = (
        (None, {"fields": (("at", "who"), ("verb", "what"), ("tenant", "address"), "reason")}),
        ("What changed", {"fields": ("shown_changes",)}),
    )
    readonly_fields = ("at", "who", "verb", "what", "tenant", "address", "reason", "shown_changes")

    @display(description="Who", ordering="name")
    def who(self, entry: AuditEntry) -> str:
        return entry.name or ("somebody" if entry.address else "the product")

    @display(description="What")
    def what(self, entry: AuditEntry) -> str:
        kind = entry.object_type.rpartition(".")[2]
        return f"{kind} {entry.object_name}".strip() or cells.NOTHING

    @display(description="Fields")
    def fields_changed(self, entry: AuditEntry) -> str:
        names = list(entry.changes)
        more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
        return (", ".join(names[:MOST_NAMES]) + more) or cells.NOTHING

    @display(description="Before and after")
    def shown_changes(self, entry: AuditEntry) -> SafeString | str:
        if not entry.changes:
            return cells.NOTHING
        rows = format_html_join(
            "",
            '<tr><td data-head="Field">{}</td><td data-head="Before">{}</td><td data-head="After">{}</td></tr>',
            ((name.replace("_", " "), *map(_value, sides)) for name, sides in entry.changes.items()),
        )
        return format_html(
            '<table class="p-table p-sides"><thead><tr><th scope="col">Field</th><th scope="col">Before</th>'
            '<th scope="col">After</th></tr></thead><tbody>{}</tbody></table>',
            rows,
        )

    def has_operate_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def _value(value: Any) -> str:
    if value in (None, "", [], {}):
        return cells.NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and all(isinstance(one, str | int) for one in value):
        return ", ".join(map(str, value))
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
