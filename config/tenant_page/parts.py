"""What the tabs are made of: cards, sections with a table, and short lists that go on at a next page.

Invariant: display only; a list is never longer than its page.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from urllib.parse import urlencode

from django.http import HttpRequest
from django.urls import reverse
from django.utils.safestring import SafeString

from config.site import cells
from tenants.models import Tenant

PER_PAGE: Final = 50
LAST_PAGE: Final = 2_000
NOBODY: Final = "(none)"


@dataclass(frozen=True)
class Link:
    """A way on. `is_dialog`: it opens over the page; `kind` of `.p-button`."""

    label: str
    url: str
    is_dialog: bool = False
    kind: str = ""


@dataclass(frozen=True)
class Section:
    """A table under a title, and the ways on from it. `chart` is one of `config.site.plots`."""

    title: str
    table: dict[str, Any] | None = None
    links: Sequence[Link] = ()
    note: str = ""
    chart: dict[str, Any] | None = None
    is_wide: bool = True


@dataclass
class TabContent:
    """What a tab shows, from top to bottom."""

    sections: list[Section]
    cards: list[dict[str, Any]] = field(default_factory=list)
    links: Sequence[Link] = ()
    next_page: str = ""
    former_page: str = ""


def page_number(request: HttpRequest) -> int:
    """The page that an address asks for, from 1."""
    text = request.GET.get("page", "1")
    return max(1, min(int(text), LAST_PAGE)) if text.isdecimal() and len(text) < 8 else 1


def paged(request: HttpRequest, rows: Any) -> tuple[list[Any], dict[str, Any]]:
    """The rows of the page that is asked for, and the addresses of the pages beside it. One row more is read, none counted."""
    number = page_number(request)
    first = (number - 1) * PER_PAGE
    found = list(rows[first : first + PER_PAGE + 1])
    ways: dict[str, Any] = {"former_page": f"?page={number - 1}"} if number > 1 else {}
    if len(found) > PER_PAGE and number < LAST_PAGE:
        ways["next_page"] = f"?page={number + 1}"
    return found[:PER_PAGE], ways


def tab_url(tenant: Tenant, tab: str, **query: str) -> str:
    """The address of a tab."""
    url = reverse(f"admin:tenants_tenant_{tab}", args=(tenant.pk,))
    return f"{url}?{urlencode(query)}" if query else url


def list_url(name: str, **query: Any) -> str:
    """The address of a list of the admin, narrowed."""
    url = reverse(f"admin:{name}_changelist")
    return f"{url}?{urlencode(query)}" if query else url


def row_link(name: str, pk: Any, text: Any) -> SafeString:
    """A link to the page of a row of the admin."""
    return cells.link(reverse(f"admin:{name}_change", args=(pk,)), text)


def requests_link(tenant: Tenant, text: Any, **choice: str) -> SafeString:
    """A link to the tenant's requests, narrowed."""
    return cells.link(list_url("llm_requestlog", tenant=tenant.slug, **choice), text)


def first_of_month(today: date) -> date:
    """The first day of the month of a day."""
    return today.replace(day=1)


def month_before(today: date) -> tuple[date, date]:
    """The first and the last day of the month before that of a day."""
    last = first_of_month(today) - timedelta(days=1)
    return first_of_month(last), last


def change(now: Decimal | int, before: Decimal | int) -> str:
    """How much more or less it is than before, in percent; of nothing before, nothing is said."""
    if not before:
        return ""
    percent = (Decimal(now) - Decimal(before)) * 100 / Decimal(before)
    return f"{percent:+.0f} %"


def when(at: datetime | None, tenant: Tenant) -> SafeString | str:
    """A moment with the tenant's time beside it."""
    return cells.moment(at, zone=tenant.timezone) if at else cells.NOTHING
