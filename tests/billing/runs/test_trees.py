"""A session's tree sums to the ledger to the last digit, whatever its agents say of each other."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection

from billing.ledger.rollups import rebuild_dirty
from billing.models import AgentHour, UsageSum
from billing.prices.plan_editing import set_rule
from billing.runs import trees
from tests.billing.shop import Shop, month_ago, open_shop

pytestmark = pytest.mark.django_db
OWN_SUM = """
SELECT count(DISTINCT request_id), sum(billed_cost), sum(list_cost) FILTER (WHERE is_first), sum(output_tokens) FROM (
    SELECT *, row_number() OVER (PARTITION BY request_id ORDER BY id) = 1 AS is_first FROM billing_usagerecord
    WHERE tenant_id = %s AND session = %s) AS rows
"""


def call(
    shop: Shop,
    at: datetime,
    tokens: int,
    *,
    request_id: UUID | None = None,
    attempt_no: int = 1,
    **trace: str,
) -> None:
    attempt_id = shop.open_attempt(at, request_id=request_id, attempt_no=attempt_no)
    from billing.models import Attempt

    attempt = Attempt.objects.get(pk=attempt_id)
    attempt.dims |= trace
    attempt.save(update_fields=["dims"])
    shop.call(at, {"input": 1_000 + tokens, "output": tokens}, attempt_id=attempt_id)


def read(shop: Shop, name: str, *, by: trees.By = "session", user: str = "") -> trees.Tree | None:
    return trees.read_tree(shop.tenant.pk, name, by=by, user=user)


def ids(agents: list[trees.Agent]) -> dict[str, Any]:
    return {agent.id: ids(agent.agents) for agent in agents}


def audited(shop: Shop, session: str) -> trees.Tree:
    """The tree, whose every sum is what the ledger says, asked in SQL of the test's own."""
    tree = read(shop, session)
    assert tree is not None
    with connection.cursor() as cursor:
        cursor.execute(OWN_SUM, [shop.tenant.pk, session])
        requests, billed, listed, output = cursor.fetchone()
    total = tree.total
    assert (total.requests, total.billed_cost, total.list_cost, total.output_tokens) == (
        requests,
        billed,
        listed,
        output,
    )
    assert sum((root.whole for root in tree.roots), tree.rest) == total
    assert sum((agent.own for agent in tree.in_order()), tree.rest) == total
    assert sum((one for agent in tree.in_order() for one in agent.models.values()), tree.rest) == total
    assert sum(tree.models.values(), trees.Sum()) == total
    assert sum(tree.hours.values(), trees.Sum()) == total
    return tree


def test_it_works() -> None:
    """A session, its agents and a sub-agent, before and after its day is summed, and half of each."""
    shop, at = open_shop(), month_ago()
    call(shop, at, 333, session="s1")
    call(shop, at + timedelta(hours=1), 77, session="s1", agent="a1", agent_type="Explore")
    call(shop, at + timedelta(hours=1), 7, session="s1", agent="b1", parent_agent="a1")
    call(shop, at, 999, session="another")
    tree = audited(shop, "s1")
    assert ids(list(tree.roots)) == {"": {"a1": {"b1": {}}}}
    (root,) = tree.roots
    assert root.agents[0].kind == "Explore"
    assert root.agents[0].whole.requests == 2
    assert len(tree.hours) == 2
    while rebuild_dirty():
        pass
    assert AgentHour.objects.filter(tenant=shop.tenant).count() == 4
    assert audited(shop, "s1") == tree
    call(shop, at + timedelta(days=1), 5, session="s1")  # a day that is not summed yet
    call(shop, at, 6, session="s1")  # one that was, and has changed
    assert audited(shop, "s1").total.requests == 5


@pytest.mark.parametrize("is_summed", [False, True])
def test_a_request_has_one_list_price_however_it_was_bought(is_summed: bool) -> None:
    """Hedged, at a plan with other prices than the list's, and one answered by a cache: as in the days' sums and the API."""
    shop, at = open_shop(), month_ago()
    since = at - timedelta(days=40)
    set_rule(
        shop.tenant, priority=1, kind="markup_pct", value=Decimal("12.5"), meter="output", valid_from=since
    )
    set_rule(shop.tenant, priority=2, kind="discount_pct", value=Decimal(20), valid_from=since)
    request_id = uuid4()
    for number in (1, 2):
        call(shop, at, 100, session="s1", request_id=request_id, attempt_no=number)
    call(shop, at, 10, session="s1", agent="a1")
    if is_summed:
        while rebuild_dirty():
            pass
    tree = audited(shop, "s1")
    assert tree.total.requests == 2
    list_prices = Decimal("0.00375") + Decimal("0.002625")  # of 1,100 and 100, and of 1,010 and 10 tokens
    assert tree.total.list_cost == list_prices
    assert tree.total.billed_cost == 2 * Decimal("0.003325") + Decimal("0.0021325")
    while rebuild_dirty():
        pass
    (day,) = UsageSum.objects.filter(tenant=shop.tenant, dimension="total")
    assert (day.list_cost, day.billed_cost) == (tree.total.list_cost, tree.total.billed_cost)


def test_orphans_circles_and_forged_parents_are_below_the_session_once() -> None:
    shop, at = open_shop(), month_ago()
    said = {"a": "b", "b": "c", "c": "a", "self": "self", "orphan": "nobody", "child": "orphan"}
    for agent, parent in said.items():
        call(shop, at, 10, session="s1", agent=agent, parent_agent=parent)
    call(shop, at, 10, session="s2", agent="nobody")  # of another session
    tree = audited(shop, "s1")
    (root,) = tree.roots
    shown = [agent.id for agent in tree.in_order()]
    assert sorted(shown) == sorted(["", *said])
    assert {agent.id for agent in root.agents} >= {"self", "orphan"}
    assert next(one for one in root.agents if one.id == "orphan").claimed_parent == "nobody"


def test_a_run_has_its_sessions_and_a_user_only_her_own() -> None:
    shop, at = open_shop(), month_ago()
    call(shop, at, 10, session="s1", run="TICKET-12")
    call(shop, at, 10, session="s2", run="TICKET-12", agent="a")
    call(shop, at, 10, run="TICKET-12")
    call(shop, at, 10, session="s1")
    tree = read(shop, "TICKET-12", by="run")
    assert tree is not None
    assert {root.session for root in tree.roots} == {"s1", "s2", ""}
    assert tree.total.requests == 3
    assert read(shop, "s1", user="alice") == read(shop, "s1")
    assert read(shop, "s1", user="bob") is None
    assert read(open_shop(), "s1") is None  # another tenant's
    assert read(shop, "") is None


def test_ten_thousand_agents_are_bounded_and_none_is_lost() -> None:
    shop, at = open_shop(), month_ago()
    hours = [
        AgentHour(
            tenant=shop.tenant,
            hour=at.replace(minute=0, second=0, microsecond=0),
            session="s1",
            agent=f"a{number}",
            parent_agent=f"a{number - 1}",
            model="m",
            requests=1,
            billed_cost=Decimal(number) / 1_000_000_000,
        )
        for number in range(10_000)
    ]
    AgentHour.objects.bulk_create(hours)
    tree = read(shop, "s1")
    assert tree is not None
    assert tree.agent_count == 10_000
    assert len(list(tree.in_order())) == trees.MOST_SHOWN + 1
    assert tree.total.billed_cost == sum(hour.billed_cost for hour in hours)
    assert sum((agent.own for agent in tree.in_order()), tree.rest) == tree.total
    assert max(agent.depth for agent in tree.in_order()) == trees.DEEPEST


def test_a_chain_of_any_length_is_put_together_in_a_straight_line() -> None:
    at = month_ago()
    total = {"session": None, "agent": None, "users": 1, "user_id": "u", "run": "", "agents": 5_000}
    one = {name: 1 for name in trees.SUMS} | {"first_hour": at, "last_hour": at, "agent_type": ""}
    one |= {"billed_cost": Decimal(1), "list_cost": Decimal(1)}
    rows = [{"part": "total", "place": 1, **one, **total}]
    for number in range(5_000):
        named = {"session": "s", "agent": f"a{number}", "parent_agent": f"a{number + 1}"}
        rows.append({"part": "agent", "place": number, **one, **named})
    rows.append({"part": "agent_model", "place": 1, **one, **named, "model": "m"})
    rows.append({"part": "model", "place": 1, **one, "model": "m"})
    rows.append({"part": "hour", "place": 1, **one, "hour": at})
    tree = trees.tree_of(rows, by="session", name="s")
    assert tree is not None
    assert tree.roots[0].whole.requests == 5_000
