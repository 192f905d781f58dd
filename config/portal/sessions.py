"""The sessions of coding agents: which were at work, and one of them as a tree with what each agent cost.

Invariant: reads only; a member sees her own sessions, an owner and finance those of the tenant. Names come from tools and are
bounded and escaped like any other text.
"""

from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final
from urllib.parse import urlencode

from django.http import Http404, HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timezone import now

from billing.admin.figures import usd
from billing.runs import trees
from billing.runs.envelopes import EnvelopeState, states_of
from billing.runs.latest import MOST_SHOWN, Work, latest_work
from config.portal.access import Visitor, page
from config.portal.layout import address, show
from config.site import cells

DAYS: Final = {"1": "24 hours", "7": "7 days", "30": "30 days"}
MOST_HOURS: Final = 96
DEEPEST_SHOWN: Final = 8
NOBODY: Final = "\x01"  # no user id: what a member without one sees


@page()
def show_sessions(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """`/portal/t/<slug>/sessions/?days=7`."""
    days = request.GET.get("days", "7") if request.GET.get("days") in DAYS else "7"
    user = person_shown(visitor)
    since = now() - timedelta(days=int(days))
    work = latest_work(visitor.tenant.pk, since=since, user=user)
    envelopes = [one for one in states_of(visitor.tenant, person=user) if one.is_open]
    at = address(visitor, "session")
    context = {
        "days": days,
        "spans": DAYS.items(),
        "sessions": table_of(work, at=at, zone=visitor.tenant.timezone, has_users=visitor.reads_all),
        "envelopes": _envelopes(envelopes, visitor),
        "may_open": bool(visitor.person) or visitor.is_owner,
        "open_address": address(visitor, "runs"),
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


def table_of(work: Iterable[Work], *, at: str, zone: str, has_users: bool) -> dict[str, Any]:
    """Sessions and runs as a table, each with the link to its tree."""
    rows = [
        [
            cells.link(f"{at}?{urlencode(one.query)}", short(one.session or one.run)),
            short(one.run) if one.session else "run",
            *([_users(one.user, one.users)] if has_users else []),
            cells.moment(one.last_hour, zone=zone),
            max(one.agents - 1, 0),
            one.requests,
            one.cost_usd,
        ]
        for one in work
    ]
    heads = ["Session", "Run", *(["User"] if has_users else []), "Last hour", "Sub-agents", "Requests", "USD"]
    more = f"The latest {MOST_SHOWN} are shown." if len(rows) == MOST_SHOWN else ""
    empty = "No session yet. Claude Code and Codex name theirs by themselves; others send x-purser-run."
    return {"headers": heads, "rows": rows, "empty": empty, "more": more}


def context_of(tree: trees.Tree, *, zone: str) -> dict[str, Any]:
    """What the page of a tree shows, in the portal and in the admin."""
    total = tree.total
    rows = [_agent(agent, zone=zone) for agent in tree.in_order()]
    rest = tree.agent_count - len(rows)
    if tree.rest != trees.Sum():
        others = f"{max(rest, 1):,} agents more"
        rows.append([others, "", tree.rest.requests, _tokens(tree.rest), tree.rest.billed_cost, "", ""])
    return {
        "tree": tree,
        "name": tree.name,
        "cards": [
            {
                "title": "Cost",
                "value": usd(total.billed_cost),
                "note": f"{usd(total.list_cost)} at list prices",
            },
            {"title": "Requests", "value": f"{total.requests:,}", "note": f"of {tree.agent_count:,} agents"},
            {"title": "Tokens in", "value": f"{total.input_tokens:,}", "note": "cached ones included"},
            {"title": "Tokens out", "value": f"{total.output_tokens:,}", "note": _users(tree.user, 1)},
        ],
        "agents": {
            "headers": ["Agent", "Models", "Requests", "Tokens", "Own USD", "With sub-agents", "First hour"],
            "rows": rows,
        },
        "models": {
            "headers": ["Model", "Requests", "Tokens in", "Tokens out", "USD"],
            "rows": [
                [short(model), one.requests, one.input_tokens, one.output_tokens, one.billed_cost]
                for model, one in tree.models.items()
            ],
        },
        "hours": _columns(tree),
    }


def short(name: str, most: int = 48) -> str:
    """A name as a tool gave it: printable, and not longer than a cell."""
    text = "".join(letter if letter.isprintable() else "?" for letter in name)
    return text if len(text) <= most else f"{text[: most - 13]}…{text[-12:]}"


def _agent(agent: trees.Agent, *, zone: str) -> list[Any]:
    return [
        _label(agent),
        ", ".join(short(model, 24) for model in list(agent.models)[:3])
        + ("…" if len(agent.models) > 3 else ""),
        agent.own.requests,
        _tokens(agent.own),
        agent.own.billed_cost,
        agent.whole.billed_cost,
        cells.moment(agent.first_hour, zone=zone),
    ]


def _label(agent: trees.Agent) -> SafeString:
    """An agent, as far to the right as it is deep; where its parent is not known that is said."""
    name = short(agent.kind or agent.id or agent.session or "without a session", 32)
    doubt = f"names {short(agent.claimed_parent, 20)} as its parent" if agent.claimed_parent else ""
    return format_html(
        '<span class="p-branch" style="--depth:{}" title="{}">{}{}</span>',
        min(agent.depth, DEEPEST_SHOWN),
        short(agent.id or agent.session, 200),
        name,
        format_html(' <span class="p-nil">{}</span>', doubt) if doubt else "",
    )


def _tokens(one: trees.Sum) -> int:
    return one.input_tokens + one.output_tokens


def _users(user: str, count: int) -> str:
    return f"{count:,} users" if count > 1 else (f"by {short(user, 32)}" if user else "by nobody named")


def _columns(tree: trees.Tree) -> dict[str, Any]:
    """The last hours with anything in them, as `portal/columns.html` draws them."""
    hours = list(tree.hours.items())[-MOST_HOURS:]
    largest = max((one.billed_cost for _, one in hours), default=Decimal(0))
    step = max(1, len(hours) // 6)
    return {
        "label": f"USD by hour (UTC): {usd(tree.total.billed_cost)} in {len(hours)} hours",
        "largest": usd(largest),
        "is_empty": not largest,
        "columns": [
            {
                "percent": f"{one.billed_cost * 100 / largest:.1f}" if largest else "0",
                "text": f"{hour:%Y-%m-%d %H:00} UTC: {usd(one.billed_cost)}",
                "mark": f"{hour:%b %-d, %H:00}" if number % step == step - 1 else "",
            }
            for number, (hour, one) in enumerate(hours)
        ],
    }


def _envelopes(states: Iterable[EnvelopeState], visitor: Visitor) -> dict[str, Any]:
    rows = [
        [
            cells.link(address(visitor, "run", id=one.id), short(one.run)),
            cells.progress(one.used_percent, label="of the envelope is used or held"),
            one.spent,
            one.limit,
            max(one.remaining, Decimal(0)),
            cells.moment(one.expires_at, zone=visitor.tenant.timezone),
        ]
        for one in states
    ]
    heads = ["Run", "Used", "Spent, USD", "Limit, USD", "Left, USD", "Ends"]
    return {"headers": heads, "rows": rows, "empty": "No envelope is open."}
