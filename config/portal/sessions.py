"""The sessions of coding agents: which were at work, and one of them as a tree with what each agent cost.

Invariant: reads only; a member sees her own sessions, an owner and finance those of the tenant. Names come from tools and are
bounded and escaped like any other text.
"""

from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

from django.http import Http404, HttpRequest, HttpResponse
from django.utils.timezone import now

from billing.admin.trees import context_of, short, table_of
from billing.runs import trees
from billing.runs.envelopes import EnvelopeState, states_of
from billing.runs.latest import latest_work
from billing.runs.sharing import may_share, names_of
from config.portal.access import Visitor, page
from config.portal.layout import address, show
from config.site import cells
from tenants.policy import parse_policy

DAYS: Final = {"1": "24 hours", "7": "7 days", "30": "30 days"}
NOBODY: Final = "\x01"  # no user id: what a member without one sees


@page()
def show_sessions(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """`/portal/t/<slug>/sessions/?days=7`."""
    days = request.GET.get("days", "7") if request.GET.get("days") in DAYS else "7"
    user = person_shown(visitor)
    since = now() - timedelta(days=int(days))
    work = latest_work([visitor.tenant.pk], since=since, user=user)
    envelopes = [one for one in states_of(visitor.tenant, person=user) if one.is_open]
    at = address(visitor, "session")
    context = {
        "days": days,
        "spans": DAYS.items(),
        "sessions": table_of(work, at=at, zone=visitor.tenant.timezone, has_users=visitor.reads_all),
        "envelopes": _envelopes(envelopes, visitor),
        "may_open": bool(visitor.person) or visitor.may_configure,
        "open_address": address(visitor, "runs"),
        "may_share": may_share(parse_policy(visitor.tenant.policy).envelopes, decides=visitor.may_configure),
    }
    return show(request, visitor, "sessions.html", context, title="Sessions and runs")


@page()
def show_session(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """`/portal/t/<slug>/sessions/one/?session=…` or `?run=…`."""
    by: trees.By = "run" if request.GET.get("run") else "session"
    name = request.GET.get(by, "")[:200].replace("\x00", "")
    tree = trees.read_tree(visitor.tenant.pk, name, by=by, user=person_shown(visitor))
    if tree is None:
        raise Http404
    envelopes = states_of(visitor.tenant, person=person_shown(visitor), run=name, limit=10)
    context = {
        **context_of(tree, zone=visitor.tenant.timezone),
        "envelopes": _envelopes(envelopes, visitor) if envelopes else None,
        "back": address(visitor, "sessions"),
    }
    return show(request, visitor, "session.html", context, title=f"{by.capitalize()} {short(name)}")


def person_shown(visitor: Visitor) -> str:
    """Whose sessions a visitor sees; empty: everybody's."""
    return "" if visitor.reads_all else visitor.person or NOBODY


def _envelopes(states: Iterable[EnvelopeState], visitor: Visitor) -> dict[str, Any]:
    rows = [
        [
            cells.link(address(visitor, "run", id=one.id), short(one.run)),
            short(_whose(one)),
            cells.progress(one.used_percent, label="of the envelope is used or held"),
            one.spent,
            one.limit,
            max(one.remaining, Decimal(0)),
            cells.moment(one.expires_at, zone=visitor.tenant.timezone),
        ]
        for one in states
    ]
    heads = ["Run", "Whose", "Used", "Spent, USD", "Limit, USD", "Left, USD", "Ends"]
    return {"headers": heads, "rows": rows, "empty": "No envelope is open."}


def _whose(state: EnvelopeState) -> str:
    """Who draws from it."""
    owner = state.owner.removeprefix("user/") if state.owner.startswith("user/") else state.user or "a key"
    return ", ".join(filter(None, (owner, names_of(state.shared_with))))
