"""How sessions and runs are shown, in the admin and in the portal: as a list, and as a tree of agents.

Invariant: display only. Names come from tools: they are cut, printable, and escaped like any other text.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final
from urllib.parse import urlencode

from django.utils.html import format_html
from django.utils.safestring import SafeString

from billing.admin.figures import usd
from billing.runs import trees
from billing.runs.latest import MOST_SHOWN, Work
from config.site import cells, plots

MOST_HOURS: Final = 96
DEEPEST_SHOWN: Final = 8


def table_of(
    work: Iterable[Work], *, at: str, zone: str, has_users: bool, tenants: Mapping[int, str] | None = None
) -> dict[str, Any]:
    """Sessions and runs as a table, each with the link to its tree; `tenants` are their slugs, where there are several."""
    rows = [
        [
            *([tenants[one.tenant_id]] if tenants is not None else []),
            cells.link(f"{at}?{urlencode(_query(one, tenants))}", short(one.session or one.run)),
            short(one.run) if one.session else "run",
            *([_users(one.user, one.users)] if has_users else []),
            cells.moment(one.last_hour, zone=zone),
            max(one.agents - 1, 0),
            one.requests,
            one.cost_usd,
        ]
        for one in work
    ]
    heads = [
        *(["Tenant"] if tenants is not None else []),
        "Session",
        "Run",
        *(["User"] if has_users else []),
        "Last hour",
        "Sub-agents",
        "Requests",
        "USD",
    ]
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
            {"title": "Requests", "value": f"{total.requests:,}", "note": _agents(tree.agent_count)},
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


def _query(work: Work, tenants: Mapping[int, str] | None) -> dict[str, str]:
    return work.query if tenants is None else {"tenant": tenants[work.tenant_id], **work.query}


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


def _agents(count: int) -> str:
    return "of one agent" if count == 1 else f"of {count:,} agents"


def _label(agent: trees.Agent) -> SafeString:
    """An agent, as far to the right as it is deep; where its parent is not known that is said."""
    name = short(
        agent.kind or agent.id or (f"Session {agent.session}" if agent.session else "Without a session"), 40
    )
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
        "is_empty": not any(one.billed_cost for _, one in hours),
        "columns": [
            {
                "percent": plots.column(one.billed_cost, largest),
                "text": f"{hour:%Y-%m-%d %H:00} UTC: {usd(one.billed_cost)}",
                "mark": f"{hour:%b %-d, %H:00}" if number % step == step - 1 else "",
            }
            for number, (hour, one) in enumerate(hours)
        ],
    }
