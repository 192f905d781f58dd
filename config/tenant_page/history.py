"""What was changed of a tenant, its keys, users, budgets, raises and alert rules: when, by whom, from what to what, and why.

Invariant: reads the histories that every change writes; two queries for each table, whatever their length.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.db.models import Window
from django.db.models.functions import Lag
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.text import Truncator

from billing.models import AlertRule, Budget, BudgetRaise
from config.site import cells
from config.tenant_page.parts import PER_PAGE, Section, TabContent, page_number, row_link, when
from tenants.models import ApiKey, EndUser, Tenant

MOST_PAGES: Final = 20
MOST_CHANGES: Final = 12
MOST_CHARACTERS: Final = 80
KINDS: Final = {"+": "made", "~": "changed", "-": "deleted"}
# each recorded table, how its rows lead to their tenant, and the name of its pages
RECORDED: Final[tuple[tuple[Any, str, str], ...]] = (
    (Tenant, "id", "tenants_tenant"),
    (ApiKey, "tenant_id", "tenants_apikey"),
    (EndUser, "tenant_id", "tenants_enduser"),
    (Budget, "tenant_id", "billing_budget"),
    (BudgetRaise, "budget__tenant_id", "billing_budgetraise"),
    (AlertRule, "tenant_id", "billing_alertrule"),
)


@dataclass(frozen=True)
class Change:
    """One entry of a history, and the entry before it of the same thing."""

    entry: Any
    former: Any
    page: str


def content(request: HttpRequest, tenant: Tenant) -> TabContent:
    """The changes, newest first."""
    number = min(page_number(request), MOST_PAGES)
    wanted = number * PER_PAGE
    changes = sorted(
        (change for table in RECORDED for change in _changes(tenant, *table, limit=wanted + 1)),
        key=lambda change: (change.entry.history_date, change.entry.history_id),
        reverse=True,
    )
    shown = changes[wanted - PER_PAGE : wanted]
    has_more = len(changes) > wanted and number < MOST_PAGES
    return TabContent(
        sections=[
            Section(
                "History",
                {
                    "headers": ["When", "Who", "What", "Change", "Why"],
                    "rows": [_row(tenant, change) for change in shown],
                    "empty": "Nothing was changed yet.",
                    "more": ""
                    if has_more or number < MOST_PAGES
                    else "Older changes stand in the history of each thing.",
                },
            )
        ],
        next_page=f"?page={number + 1}" if has_more else "",
        former_page=f"?page={number - 1}" if number > 1 else "",
    )


def _changes(tenant: Tenant, table: Any, path: str, page: str, *, limit: int) -> Iterator[Change]:
    entries = table.history.filter(**{path: tenant.pk}).select_related("history_user")
    before = Window(Lag("history_id"), partition_by="id", order_by=("history_date", "history_id"))
    newest = list(entries.annotate(former_id=before).order_by("-history_date", "-history_id")[:limit])
    former = table.history.in_bulk(
        [one.former_id for one in newest if one.former_id], field_name="history_id"
    )
    for entry in newest:
        yield Change(entry, former.get(entry.former_id), page)


def _row(tenant: Tenant, change: Change) -> list[Any]:
    entry = change.entry
    kind = entry.instance_type._meta.verbose_name
    name = Truncator(_name(entry)).chars(MOST_CHARACTERS)
    return [
        when(entry.history_date, tenant),
        entry.history_user or "the product",
        format_html(
            '<span class="p-mixed">{} {}: {}</span>',
            kind.capitalize() if kind.islower() else kind,
            KINDS[entry.history_type],
            row_link(change.page, entry.id, name),
        ),
        _differences(change),
        entry.history_change_reason or cells.NOTHING,
    ]


def _name(entry: Any) -> str:
    # the instance of a key would be asked for again, because its history leaves out the hashes
    return str(entry.name if entry.instance_type is ApiKey else entry.instance)


def _differences(change: Change) -> SafeString | str:
    if change.former is None:
        return cells.NOTHING
    told = [
        line
        for one in change.entry.diff_against(change.former).changes
        for line in differences(one.field, one.old, one.new)
    ]
    if not told:
        return "nothing"
    shown = format_html_join(
        "",
        "<div>{}: <del>{}</del> → <ins>{}</ins></div>",
        ((name.replace("_", " "), _short(old), _short(new)) for name, old, new in told[:MOST_CHANGES]),
    )
    more = len(told) - MOST_CHANGES
    return format_html('<div class="p-changes">{}{}</div>', shown, f"and {more} more" if more > 0 else "")


def differences(name: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    """What differs between two values, by the path to it: of objects each field by itself."""
    if isinstance(old, Mapping) or isinstance(new, Mapping):
        befores, afters = (value if isinstance(value, Mapping) else {} for value in (old, new))
        for key in sorted({*befores, *afters}, key=str):
            yield from differences(f"{name}.{key}", befores.get(key), afters.get(key))
    elif old != new:
        yield name, old, new


def _short(value: Any) -> str:
    if value in (None, "", []):
        return cells.NOTHING
    if hasattr(value, "normalize"):
        value = f"{value.normalize():f}"
    return Truncator(", ".join(map(str, value)) if isinstance(value, list) else str(value)).chars(
        MOST_CHARACTERS
    )
