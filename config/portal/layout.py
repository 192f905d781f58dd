"""What surrounds every page of the portal: the navigation by role, the choice of the tenant, and how a page is rendered.

Invariant: a link is shown only to roles that may open it. A page is its template and a context; it needs no script.
"""

from dataclasses import dataclass
from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from config.portal.access import DEVELOPERS, EVERYBODY, OWNERS, READERS, Visitor
from config.site.look import FAVICON, UNFOLD


@dataclass(frozen=True)
class Item:
    """A link of the navigation. `view` is the name of its page; it is current on every page whose address begins with it."""

    title: str
    icon: str
    view: str
    roles: frozenset[str] = EVERYBODY


NAVIGATION: Final = (
    Item("Home", "dashboard", "home"),
    Item("Requests", "swap_horiz", "requests", DEVELOPERS),
    Item("Budgets", "savings", "budgets"),
    Item("API keys", "key", "keys", DEVELOPERS),
    Item("Connect", "cable", "connect", DEVELOPERS),
    Item("Sessions", "account_tree", "sessions"),
    Item("Spend", "monitoring", "spend", READERS),
    Item("Teams", "groups", "teams", READERS),
    Item("Months", "request_quote", "months", READERS),
    Item("Alerts", "notifications", "alerts", READERS),
    Item("People", "badge", "people", OWNERS),
    Item("Changes", "policy", "changes", OWNERS),
    Item("Policy", "tune", "policy", OWNERS),
)


def address(visitor: Visitor, view: str, **parts: Any) -> str:
    """The address of a page of this visitor's tenant."""
    return reverse(f"portal:{view}", kwargs={"tenant": visitor.tenant.slug, **parts})


def show(
    request: HttpRequest,
    visitor: Visitor,
    template: str,
    context: dict[str, Any],
    *,
    title: str,
    status: int = 200,
) -> HttpResponse:
    """Render a page with all that surrounds it."""
    home = address(visitor, "home")
    links = []
    for item in NAVIGATION:
        if visitor.role in item.roles:
            link = address(visitor, item.view)
            is_current = request.path == link or (link != home and request.path.startswith(link))
            links.append({"title": item.title, "icon": item.icon, "link": link, "is_current": is_current})
    surrounding = {
        "visitor": visitor,
        "tenant": visitor.tenant,
        "navigation": links,
        "home": home,
        "other_tenants": visitor.others,
        "title": title,
        "favicon": FAVICON,
        "shades": UNFOLD["COLORS"]["primary"],
    }
    return render(request, f"portal/{template}", {**surrounding, **context}, status=status)
