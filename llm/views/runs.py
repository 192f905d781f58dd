"""`/v1/sessions/{id}` and `/v1/runs/{run}`: what a session or a run spent, as a tree, and what its envelope has left.

Invariant: reads only, inside the tenant's connection. A key that is bound to a person sees that person's; envelopes are those
of the key's owner. Nothing here opens or raises one: an agent has the key, and would raise its own.
"""

from decimal import Decimal
from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from psycopg.rows import dict_row

from billing.budgets.balances import Balance, raise_url_of
from billing.ledger.holds import balances_in, balances_of
from billing.money import plain
from billing.runs import trees
from billing.runs.opening import Envelope, Owner
from billing.scopes import Dimensions
from llm.calls.headers import parse_headers
from llm.errors import InvalidRequest, NotFound
from llm.views import schemas
from llm.views.base import AsyncAPIView, json_response
from llm.views.documented import OF_A_LOOK_UP, operation, query
from tenants.rls import tenant_connection

LONGEST_NAME: Final = 200
LATEST: Final = """
SELECT e.budget_id, e.run, e.opened_by, e.opened_at, e.expires_at, e.is_open AND e.expires_at > now() AS is_open, b.limit_amount
FROM billing_runenvelope AS e JOIN billing_budget AS b ON b.id = e.budget_id
WHERE e.tenant_id = %(tenant)s AND b.tenant_id = %(tenant)s AND (%(run)s = '' OR e.run = %(run)s)
  AND (e.owner = %(owner)s OR (%(run)s <> '' AND e.shared_with && ARRAY['*', %(owner)s]::varchar[]))
ORDER BY e.is_open DESC, e.owner = %(owner)s DESC, e.opened_at DESC LIMIT 1
"""


class _Tree(AsyncAPIView):
    by: trees.By = "session"

    async def _answer(self, name: str) -> HttpResponse:
        tree = await self._tree(name)
        envelope = await self._envelope(name)
        if tree is None and envelope is None:
            raise NotFound(f"There is no {self.by} '{name[:LONGEST_NAME]}'.")
        told = _of_tree(tree) if tree else {"total": _sum(trees.Sum())}
        return json_response({"object": self.by, "id": name, **told, "envelope": envelope})

    async def _tree(self, name: str) -> trees.Tree | None:
        if len(name) > LONGEST_NAME or "\x00" in name:
            return None
        parameters = {"tenant": self.principal.tenant_id, "name": name, "user": self.principal.user}
        async with tenant_connection(self.principal.tenant_id) as connection:
            cursor = connection.cursor(row_factory=dict_row)
            await cursor.execute(trees.statement(self.by), parameters)
            return trees.tree_of(await cursor.fetchall(), by=self.by, name=name)

    async def _envelope(self, run: str) -> dict[str, Any] | None:
        row = await self._latest(run)
        if row is None:
            return None
        balance = await _balance_of(self.principal.tenant_id, row)
        return {
            "id": row["budget_id"],
            "run": row["run"],
            "opened_by": row["opened_by"],
            "opened_at": row["opened_at"],
            "expires_at": row["expires_at"],
            "is_open": row["is_open"],
            "limit_usd": plain(balance.limit),
            "spent_usd": plain(balance.spent),
            "held_usd": plain(balance.held),
            "remaining_usd": plain(balance.remaining),
            "raise_url": raise_url_of(balance),
        }

    async def _latest(self, run: str) -> dict[str, Any] | None:
        """The envelope from which the key's owner draws: of a run or session, or the newest own one where none is named."""
        if len(run) > LONGEST_NAME or "\x00" in run:
            return None
        owner = Owner.of(self.principal, user="")
        parameters = {"tenant": self.principal.tenant_id, "owner": owner.id, "run": run}
        async with tenant_connection(self.principal.tenant_id) as connection:
            cursor = connection.cursor(row_factory=dict_row)
            await cursor.execute(LATEST, parameters)
            return await cursor.fetchone()


class Session(_Tree):
    """`GET /v1/sessions/{id}`: the session that a coding agent names in its headers."""

    @operation(
        "getSession",
        "What a session of a coding agent spent, by agent, model and hour",
        tag="Figures",
        answers=schemas.RunAnswer,
        errors=OF_A_LOOK_UP,
    )
    async def get(self, request: HttpRequest, name: str) -> HttpResponse:
        return await self._answer(name)


class Run(_Tree):
    """`GET /v1/runs/{run}`: the run that `x-purser-run` names."""

    by: trees.By = "run"

    @operation(
        "getRun",
        "What a run spent, by session, agent, model and hour, and its envelope",
        tag="Figures",
        answers=schemas.RunAnswer,
        errors=OF_A_LOOK_UP,
    )
    async def get(self, request: HttpRequest, name: str) -> HttpResponse:
        return await self._answer(name)


class CurrentRun(_Tree):
    """`GET /v1/runs/current?session=…`: one line of plain text with what is left, for a status line."""

    @operation(
        "getCurrentRun",
        "One plain line of what is left, for a tool's status line",
        tag="Figures",
        parameters=(
            query("session", "The tool's session; without it and `run`, the newest envelope."),
            query("run", "The run or ticket."),
            query("user", "The end user whose budgets count, where the key is nobody's own."),
        ),
        answers=str,
        content_type="text/plain",
        errors=OF_A_LOOK_UP,
    )
    async def get(self, request: HttpRequest) -> HttpResponse:
        said = parse_headers(request.headers)
        named = request.GET.get("run", "") or said.run or request.GET.get("session", "") or said.session
        if len(named) > LONGEST_NAME or "\x00" in named:
            raise InvalidRequest(f"A run or session has at most {LONGEST_NAME} characters.", param="run")
        row = await self._latest(named)
        parts = []
        if row is not None and row["is_open"]:
            parts.append(_line(await _balance_of(self.principal.tenant_id, row), label=_short(row["run"])))
        user = self.principal.user or request.GET.get("user", "") or said.user
        parts += [_line(balance, label=_whose(balance)) for balance in await self._tightest(user)]
        line = " | ".join(parts) or "no budget"
        return HttpResponse(f"{line}\n", content_type="text/plain; charset=utf-8")

    async def _tightest(self, user: str) -> list[Balance]:
        """The fullest hard budget of the caller."""
        balances = await balances_of(
            self.principal.tenant_id,
            budgets=[budget for budget in self.snapshot.budgets if budget.mode == "hard"],
            dimensions=Dimensions(user=user[:LONGEST_NAME], key=self.principal.key_name),
            timezone=self.snapshot.tenant.timezone,
            at=self.received_at,
        )
        return sorted(balances, key=lambda balance: balance.used_percent, reverse=True)[:1]


async def _balance_of(tenant_id: int, row: dict[str, Any]) -> Balance:
    envelope = Envelope(row["budget_id"], row["run"], row["limit_amount"], row["expires_at"])
    (balance,) = await balances_in(tenant_id, (envelope.window,))
    return balance


def _line(balance: Balance, *, label: str) -> str:
    """For example "TICKET-12: 3.20 of 5.00 USD left"."""
    left = max(balance.remaining, Decimal(0))
    if balance.unit == "usd":
        return f"{label}: {left:,.2f} of {balance.limit:,.2f} USD left"
    return f"{label}: {int(left):,} of {int(balance.limit):,} {balance.unit_name} left"


def _whose(balance: Balance) -> str:
    subject = f" {_short(balance.subject)}" if balance.subject else ""
    period = {"day": "today", "week": "this week", "month": "this month", "total": "in all"}[balance.period]
    return f"{balance.scope.replace('_', ' ')}{subject}, {period}"


def _short(name: str) -> str:
    """A name on a line: its control characters would move a terminal's cursor."""
    plain_name = "".join(letter if letter.isprintable() else "?" for letter in name)
    return plain_name if len(plain_name) <= 24 else f"{plain_name[:8]}…{plain_name[-4:]}"


def _of_tree(tree: trees.Tree) -> dict[str, Any]:
    return {
        "user": tree.user or None,
        "run": tree.run or None,
        "first_hour": tree.first_hour,
        "last_hour": tree.last_hour,
        "total": _sum(tree.total),
        "agent_count": tree.agent_count,
        "agents": [_agent(agent) for agent in tree.in_order()],
        "others": _sum(tree.rest),
        "models": [{"model": model, **_sum(one)} for model, one in tree.models.items()],
        "hours": [{"hour": hour, **_sum(one)} for hour, one in tree.hours.items()],
    }


def _agent(agent: trees.Agent) -> dict[str, Any]:
    return {
        "session": agent.session or None,
        "id": agent.id or None,
        "type": agent.kind or None,
        "depth": agent.depth,
        "claimed_parent": agent.claimed_parent or None,
        "first_hour": agent.first_hour,
        "last_hour": agent.last_hour,
        "own": _sum(agent.own),
        "with_sub_agents": _sum(agent.whole),
        "models": [{"model": model, **_sum(one)} for model, one in agent.models.items()],
    }


def _sum(one: trees.Sum) -> dict[str, Any]:
    return {
        "requests": one.requests,
        "input_tokens": one.input_tokens,
        "output_tokens": one.output_tokens,
        "cost_usd": plain(one.billed_cost),
        "list_cost_usd": plain(one.list_cost),
    }
