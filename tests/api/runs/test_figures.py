"""What a key may read of sessions and runs, and what clients hear before an envelope is empty."""

import secrets
import urllib.request
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from billing.budgets.raises import raise_budget
from billing.models import RunEnvelope
from tests.api.runs.test_envelopes import SESSION, ask, policy
from tests.books import Books
from tests.world import Member, World

UNIFIED = "anthropic-ratelimit-unified"


def line(world: World, member: Member, query: str = "") -> str:
    request = urllib.request.Request(
        f"{world.stack.base_url}/v1/runs/current{query}", headers={"authorization": f"Bearer {member.key}"}
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        assert response.headers["content-type"].startswith("text/plain")
        return str(response.read().decode())


def message(world: World, member: Member, session: str) -> Any:
    return world.anthropic(member).messages.with_raw_response.create(
        model="claude-haiku-4-5",
        max_tokens=1_000,
        messages=[{"role": "user", "content": "Hi"}],
        extra_headers={SESSION: session},
        stream=True,
    )


def test_it_works(world: World, books: Books, make_tenant: Callable[..., Member]) -> None:
    """A run's tree by HTTP: as much as the ledger has, with its envelope; and the line for a status line."""
    member = make_tenant(policy=policy(usd=4))
    for agent, parent in (("", ""), ("a1", ""), ("b1", "a1")):
        named = {"x-claude-code-agent-id": agent, "x-claude-code-parent-agent-id": parent}
        ask(
            world,
            member,
            **{SESSION: "s-1"},
            x_purser_run="TICKET/12",
            **{k: v for k, v in named.items() if v},
        )
    books.settled(member.id, count=3)
    status, run = world.get(f"/v1/runs/{quote('TICKET/12', safe='')}", member)
    assert status == 200
    cost = sum(row.billed_cost for row in books.rows(member.id))
    assert (Decimal(run["total"]["cost_usd"]), run["total"]["requests"]) == (cost, 3)
    assert [(one["id"], one["depth"]) for one in run["agents"]] == [(None, 0), ("a1", 1), ("b1", 2)]
    assert sum(Decimal(one["own"]["cost_usd"]) for one in run["agents"]) == cost
    assert Decimal(run["envelope"]["spent_usd"]) == cost
    assert run["envelope"]["limit_usd"] == "4"
    status, session = world.get("/v1/sessions/s-1", member)
    assert (status, session["total"], session["run"]) == (200, run["total"], "TICKET/12")
    assert (
        line(world, member) == line(world, member, "?run=TICKET/12") == "TICKET/12: 4.00 of 4.00 USD left\n"
    )
    assert line(world, member, "?run=another") == "no budget\n"
    assert world.get(f"/v1/runs/current?run={'x' * 201}", member)[0] == 400


def test_what_is_not_ones_own_does_not_exist(world: World, make_tenant: Callable[..., Member]) -> None:
    secret = {name: f"of-{name}-{secrets.token_hex(20)}" for name in ("alice", "bob")}
    keys = [{"name": name, "secret": secret[name], "models": ["*"], "user": name} for name in secret]
    member, stranger = make_tenant(policy=policy(), more_keys=keys), make_tenant(policy=policy())
    alice, bob = (Member(member.slug, secret[name], member.id) for name in secret)
    assert ask(world, alice, **{SESSION: "s-1"})[0] == 200
    assert world.get("/v1/sessions/s-1", alice)[0] == 200
    assert world.get("/v1/sessions/s-1", member)[0] == 200  # nobody's key reads all, as in /v1/usage
    for other in (bob, stranger):
        assert world.get("/v1/sessions/s-1", other)[0] == 404
        assert world.get(f"/v1/sessions/{'x' * 500}", other)[0] == 404
        assert "s-1" not in line(world, other, "?session=s-1")


def test_a_name_cannot_write_on_a_terminal(world: World, make_tenant: Callable[..., Member]) -> None:
    member = make_tenant(policy=policy(usd=4))
    overridden = "a\u202eb"  # what follows is written from right to left
    assert ask(world, member, **{SESSION: overridden.encode().decode("latin-1")})[0] == 200
    assert line(world, member) == "a?b: 4.00 of 4.00 USD left\n"


def test_anthropics_clients_hear_early_and_hear_the_end_of_it(
    world: World, make_tenant: Callable[..., Member]
) -> None:
    """At 75 and 95 percent, spent and held; not before, not on a refusal, and not after a raise."""
    member = make_tenant(policy=policy(usd=100))
    calm = message(world, member, "s-1").headers
    assert (calm[f"{UNIFIED}-status"], f"{UNIFIED}-overage-surpassed-threshold" in calm) == ("allowed", False)
    from billing.models import Attempt

    held = Attempt.objects.filter(tenant=member.id).latest("occurred_at").hold_usd
    for factor, threshold in (("1.25", "0.75"), ("1.01", "0.95")):
        member = make_tenant(policy=policy(usd=float(held * Decimal(factor))))
        told = message(world, member, "s-1").headers
        assert told[f"{UNIFIED}-status"] == told[f"{UNIFIED}-overage-status"] == "allowed_warning"
        assert told[f"{UNIFIED}-overage-surpassed-threshold"] == threshold
        assert 0.75 <= float(told[f"{UNIFIED}-overage-utilization"]) <= 1
        assert int(told[f"{UNIFIED}-reset"]) > 1_700_000_000
    envelope = RunEnvelope.objects.get(tenant=member.id)
    raise_budget(envelope.budget, extra_amount=Decimal(10), ends_at=envelope.expires_at, reason="go on")
    assert message(world, member, "s-1").headers[f"{UNIFIED}-status"] == "allowed"
    empty = make_tenant(policy=policy(usd=0.000001))
    status, answer = world.request(
        "POST",
        "/v1/messages",
        {"model": "claude-haiku-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]},
        member=empty,
        headers={SESSION: "s-1"},
    )
    assert status == 429
    assert "envelope of run 's-1'" in answer["error"]["message"]
    plain = ask(world, make_tenant(), model="gpt-4o-mini")
    assert plain[0] == 200
