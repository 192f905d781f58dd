"""A session or a run as a tree of agents, with what each cost: read from the sums by hour, and from the ledger where a day has
changed since it was summed.

Invariant: the total is the ledger's to the last digit at the moment of the query, whatever is shown of it: of more agents,
models or hours than MOST_SHOWN, the dearest are shown and the rest is one sum. What agents say of their parents is not
believed: every agent shown is in the tree once, below its parent where that leads to the session, else below the session.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Literal

from django.db import connection

from billing.ledger.agent_hours import HOUR, KEYS, SUMS
from billing.ledger.measures import ledger

By = Literal["session", "run"]
MOST_SHOWN: Final = 500
DEEPEST: Final = 50  # levels; agents further down are shown at that depth

_KEYS: Final = ", ".join(KEYS)
_OF_LEDGER: Final = """r.tenant_id = %(tenant)s AND r.{by} = %(name)s AND r.{by} > ''
  AND (r.occurred_at AT TIME ZONE 'UTC')::date IN (SELECT day FROM marked)
  AND (%(user)s = '' OR r.user_id = %(user)s)"""
# A mark and what it is about are seen together, so no row is read twice or not at all.
ROWS: Final = f"""
WITH marked AS MATERIALIZED (SELECT DISTINCT day FROM billing_rollupdirty WHERE tenant_id = %(tenant)s),
rows AS MATERIALIZED (
    SELECT h.hour, {", ".join(f"h.{name}" for name in (*KEYS, *SUMS))} FROM billing_agenthour AS h
    WHERE h.tenant_id = %(tenant)s AND h.{{by}} = %(name)s AND h.{{by}} > ''
      AND (h.hour AT TIME ZONE 'UTC')::date NOT IN (SELECT day FROM marked)
      AND (%(user)s = '' OR h.user_id = %(user)s)
    UNION ALL
    SELECT {HOUR}, {", ".join(f"r.{name}" for name in KEYS)}, {", ".join(SUMS.values())}
    FROM {ledger(_OF_LEDGER)} WHERE {_OF_LEDGER} GROUP BY {HOUR}, {", ".join(f"r.{name}" for name in KEYS)}
)
SELECT * FROM (
    SELECT CASE GROUPING(session, agent, model, hour)
               WHEN 15 THEN 'total' WHEN 3 THEN 'agent' WHEN 1 THEN 'agent_model' WHEN 13 THEN 'model' ELSE 'hour' END AS part,
           session, agent, model, hour, min(parent_agent) AS parent_agent, max(agent_type) AS agent_type,
           min(user_id) AS user_id, count(DISTINCT user_id) AS users, max(run) AS run,
           min(hour) AS first_hour, max(hour) AS last_hour, count(DISTINCT (session, agent)) AS agents,
           {", ".join(f"coalesce(sum({name}), 0) AS {name}" for name in SUMS)},
           row_number() OVER (PARTITION BY GROUPING(session, agent, model, hour)
                              ORDER BY sum(billed_cost) DESC, session, agent, model, hour) AS place
    FROM rows GROUP BY GROUPING SETS ((), (session, agent), (session, agent, model), (model), (hour))
) AS parts WHERE place <= {MOST_SHOWN}
"""


@dataclass(frozen=True, slots=True)
class Sum:
    """What was asked and what it cost."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    list_cost: Decimal = Decimal(0)
    billed_cost: Decimal = Decimal(0)

    def __add__(self, other: "Sum") -> "Sum":
        return Sum(*(getattr(self, name) + getattr(other, name) for name in SUMS))

    def __sub__(self, other: "Sum") -> "Sum":
        return Sum(*(getattr(self, name) - getattr(other, name) for name in SUMS))


@dataclass(slots=True)
class Agent:
    """One agent of a session. `own` is what it spent itself, `whole` with all that are below it."""

    id: str  # empty: the session itself
    session: str
    kind: str
    first_hour: datetime
    last_hour: datetime
    own: Sum
    whole: Sum = field(default_factory=Sum)
    models: dict[str, Sum] = field(default_factory=dict)
    agents: "list[Agent]" = field(default_factory=list)
    claimed_parent: str = ""  # that it names and that is not in the tree, or would be below it
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Tree:
    """A session or a run. `rest` is what the agents that are not shown spent; the roots are its sessions."""

    by: By
    name: str
    user: str  # empty where there are several, or none
    run: str
    first_hour: datetime
    last_hour: datetime
    agent_count: int
    total: Sum
    rest: Sum
    roots: tuple[Agent, ...]
    models: dict[str, Sum]
    hours: dict[datetime, Sum]

    def in_order(self) -> "Iterable[Agent]":
        """Every agent after the one above it, the dearest first."""
        waiting = list(reversed(self.roots))
        while waiting:
            agent = waiting.pop()
            yield agent
            waiting.extend(reversed(agent.agents))


def statement(by: By) -> str:
    """The query of a tree, for `tenant`, `name`, and `user` (empty: everybody's)."""
    return ROWS.format(by=by)


def read_tree(tenant_id: int, name: str, *, by: By, user: str = "") -> Tree | None:
    """The tree of a tenant's session or run, for a page; None where there is nothing of it."""
    with connection.cursor() as cursor:
        cursor.execute(statement(by), {"tenant": tenant_id, "name": name, "user": user})
        names = [column[0] for column in cursor.description or ()]
        return tree_of((dict(zip(names, row, strict=True)) for row in cursor.fetchall()), by=by, name=name)


def tree_of(rows: Iterable[Mapping[str, Any]], *, by: By, name: str) -> Tree | None:
    """The tree of what the query found; None where it found nothing."""
    parts: dict[str, list[Mapping[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: row["place"]):
        parts.setdefault(row["part"], []).append(row)
    total = next(iter(parts.get("total", ())), None)
    if total is None or total["first_hour"] is None:
        return None
    agents = {(row["session"], row["agent"]): _agent(row) for row in parts["agent"]}
    for row in parts["agent_model"]:
        if (agent := agents.get((row["session"], row["agent"]))) is not None:
            agent.models[row["model"]] = _sum(row)
    parents = {(row["session"], row["agent"]): row["parent_agent"] for row in parts["agent"]}
    return Tree(
        by=by,
        name=name,
        user=total["user_id"] if total["users"] == 1 else "",
        run=total["run"],
        first_hour=total["first_hour"],
        last_hour=total["last_hour"],
        agent_count=total["agents"],
        total=_sum(total),
        rest=_sum(total) - sum((agent.own for agent in agents.values()), Sum()),
        roots=_grown(agents, parents),
        models={row["model"]: _sum(row) for row in parts["model"]},
        hours=dict(sorted((row["hour"], _sum(row)) for row in parts["hour"])),
    )


def _grown(agents: dict[tuple[str, str], Agent], parents: Mapping[tuple[str, str], str]) -> tuple[Agent, ...]:
    """The sessions, with each agent below its parent; one whose parents lead nowhere, or in a circle, is below the session."""
    roots: dict[str, Agent] = {}
    for (session, _), agent in agents.items():
        root = roots.get(session)
        if root is None:
            root = roots[session] = agents.get((session, "")) or Agent(
                "", session, "", agent.first_hour, agent.last_hour, Sum()
            )
        root.first_hour = min(root.first_hour, agent.first_hour)
        root.last_hour = max(root.last_hour, agent.last_hour)
    placed: set[tuple[str, str]] = set()
    for key in agents:
        if key[1]:
            _place(key, agents, parents, roots[key[0]], placed)
    for root in roots.values():
        _sum_up(root)
    return tuple(sorted(roots.values(), key=lambda root: root.whole.billed_cost, reverse=True))


def _place(
    key: tuple[str, str],
    agents: dict[tuple[str, str], Agent],
    parents: Mapping[tuple[str, str], str],
    root: Agent,
    placed: set[tuple[str, str]],
) -> None:
    """Put an agent below its parent, and that below its own, as far as they are not in the tree yet."""
    chain: list[tuple[str, str]] = []
    on_the_way: set[tuple[str, str]] = set()
    while key not in placed and key in agents and key[1] and key not in on_the_way:
        chain.append(key)
        on_the_way.add(key)
        key = key[0], parents[key]
    top = agents[key] if key in placed else root
    if key not in placed and key[1]:  # nobody knows it, or it is below the one that names it
        agents[chain[-1]].claimed_parent = key[1]
    for link in reversed(chain):
        agent = agents[link]
        agent.depth = min(top.depth + 1, DEEPEST)
        top.agents.append(agent)
        placed.add(link)
        top = agent


def _sum_up(root: Agent) -> None:
    """What each spent with all below it: from the leaves up, without recursion."""
    order: list[Agent] = []
    waiting = [root]
    while waiting:
        agent = waiting.pop()
        order.append(agent)
        waiting.extend(agent.agents)
    for agent in reversed(order):
        agent.whole = sum((one.whole for one in agent.agents), agent.own)
        agent.agents.sort(key=lambda one: one.whole.billed_cost, reverse=True)


def _agent(row: Mapping[str, Any]) -> Agent:
    return Agent(
        row["agent"], row["session"], row["agent_type"], row["first_hour"], row["last_hour"], _sum(row)
    )


def _sum(row: Mapping[str, Any]) -> Sum:
    return Sum(
        int(row["requests"]),
        int(row["input_tokens"]),
        int(row["output_tokens"]),
        row["list_cost"],
        row["billed_cost"],
    )
