"""What surrounds every page of the portal: the navigation by rights, the choice of the tenant, and how a page is rendered.

Invariant: a link is shown only to who may open it. A page is its template and a context; it needs no script.
"""

from dataclasses import dataclass
from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from config.portal.access import Visitor
from config.site.look import FAVICON, UNFOLD
from tenants.people.rights import Right


@dataclass(frozen=True)
class Item:
    """A link of the navigation. `view` is the name of its page; it is current on every page whose address begins with it."""

    title: str
    icon: str
    view: str
    rights: tuple[Right, ...] = (Right.OWN,)  # one of them opens it


NAVIGATION: Final = (
    Item("Home", "dashboard", "home"),
    Item("Requests", "swap_horiz", "requests", (Right.CALL, Right.SEE)),
    Item("Budgets", "savings", "budgets"),
    Item("API keys", "key", "keys", (Right.CALL,)),
    Item("Connect", "cable", "connect", (Right.CALL,)),
    Item("Sessions", "account_tree", "sessions"),
    Item("Spend", "monitoring", "spend", (Right.SEE,)),
    Item("Teams", "groups", "teams", (Right.SEE,)),
    Item("Months", "request_quote", "months", (Right.SEE,)),
    Item("Deliveries", "schedule_send", "deliveries", (Right.CLOSE,)),
    Item("Alerts", "notifications", "alerts", (Right.SEE,)),
    Item("People", "badge", "people", (Right.PEOPLE,)),
    Item("Changes", "policy", "changes", (Right.AUDIT,)),
    Item("Policy", "tune", "policy", (Right.CONFIGURE,)),
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
        if visitor.may(*item.rights):
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
