"""The pages of planning, a tab each with an address of its own.

Invariant: only tenants that this person may see; each tab is a fixed number of statements over sums, and its lists are bounded.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.timezone import now

from config.planning import ahead, budgets, unit_costs, unused
from config.planning.parts import Chosen, Part
from config.site.filter_bar import Field, FilterBar
from tenants.admin.access import tenants_of
from tenants.people.rights import Right, may_everywhere

MOST_TENANTS: Final = 100  # in the pick list; of more a slug is typed
TABS: Final[Mapping[str, tuple[str, Callable[[Chosen], list[Part]]]]] = {
    "budgets": ("Budgets", budgets.parts),
    "units": ("Unit costs", unit_costs.parts),
    "ahead": ("Changes ahead", ahead.parts),
    "unused": ("Unused", unused.parts),
}


def planning_page(request: HttpRequest) -> HttpResponse:
    """Show the tab that the address names, of all tenants or of one."""
    seen = tenants_of(request)
    offered = list(seen.order_by("slug")[: MOST_TENANTS + 1])
    is_operator = may_everywhere(request, Right.SEE)
    if not offered and not is_operator:
        raise PermissionDenied
    bar = FilterBar.read(_fields(offered), request.GET, kept=("tab",))
    tab = request.GET.get("tab", "")
    tab = tab if tab in TABS else next(iter(TABS))
    slug = bar.chosen("tenant")
    tenant = next((one for one in offered if one.slug == slug), None)
    if slug and tenant is None:
        tenant = seen.filter(slug=slug).first()
    ids = [tenant.pk] if tenant else [] if slug else list(seen.values_list("pk", flat=True))
    chosen = Chosen(
        tenant or (offered[0] if len(offered) == 1 and not slug else None),
        ids,
        is_operator,
        now(),
    )
    tabs = [
        {"label": label, "url": f"?{bar.query(tab=name)}", "is_open": name == tab}
        for name, (label, _) in TABS.items()
    ]
    context = {
        **admin.site.each_context(request), "title": "Planning", "bar": bar, "tabs": tabs, "parts": TABS[tab][1](chosen),
    }  # fmt: skip
    return TemplateResponse(request, "admin/planning.html", context)


def _fields(offered: list[Any]) -> tuple[Field, ...]:
    if len(offered) > MOST_TENANTS:
        return (Field("tenant", "Tenant", hint="its slug; empty: all tenants"),)
    choices = [("", "all tenants"), *((one.slug, f"{one.name} ({one.slug})") for one in offered)]
    return (Field("tenant", "Tenant", choices=choices),)
