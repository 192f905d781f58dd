"""Actions on rows that are chosen in a list: what they would do is said on a page before they act.

Invariant: no action of a list acts at its first press; `effect` says what becomes of the chosen rows.
"""

from collections.abc import Callable
from typing import Any, Final

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

MOST_NAMED: Final = 20

Effect = Callable[[QuerySet[Any]], list[str]]
# further sentences about chosen keys, from rooms that know what was called with them
EFFECTS_ON_KEYS: Final[list[Effect]] = []
# and about a tenant that will not be served any more
EFFECTS_ON_TENANTS: Final[list[Callable[[Any], list[str]]]] = []


def list_action(
    label: str, *, effect: str | Effect, submit: str, is_destructive: bool = False
) -> Callable[[Callable[..., None]], Any]:
    """Make an action on chosen rows from a method of a `ModelAdmin`, with a page before it that says the effect."""

    def make(run: Callable[..., None]) -> Any:
        made: Any = admin.action(description=label, permissions=["operate"])(run)
        made.effect = (lambda rows: [effect]) if isinstance(effect, str) else effect
        made.submit, made.is_destructive = submit, is_destructive
        return made

    return make


def ask_first(pages: Any, request: HttpRequest, rows: QuerySet[Model]) -> HttpResponse | None:
    """The page that says what the chosen action would do; None where it was seen, or nothing is chosen."""
    chosen = pages.get_actions(request).get(request.POST.get("action", ""))
    if chosen is None or not hasattr(chosen[0], "effect") or "post" in request.POST:
        return None
    ids = request.POST.getlist("_selected_action")
    is_all = request.POST.get("select_across") == "1"
    if not ids and not is_all:
        return None
    affected = rows if is_all else rows.filter(pk__in=ids)
    count = affected.count()
    context = {
        **pages.admin_site.each_context(request),
        "title": f"{chosen[2]}?",
        "opts": pages.opts,
        "count": count,
        "names": [str(row) for row in affected[:MOST_NAMED]],
        "further": max(count - MOST_NAMED, 0),
        "lines": chosen[0].effect(affected),
        "submit": chosen[0].submit,
        "kind": "danger" if chosen[0].is_destructive else "primary",
        "sent": [
            ("action", request.POST["action"]),
            ("select_across", request.POST.get("select_across", "0")),
        ]
        + [("_selected_action", one) for one in ids],
    }
    return TemplateResponse(request, "admin/confirm_action.html", context)
