"""An envelope: a hard budget of one run, which its sub-agents share and nobody else can open, find or empty."""

import asyncio
import json
import secrets
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import openai
import pytest
from django.utils.timezone import now

from billing.budgets.raises import raise_budget
from billing.models import Attempt, Budget, BudgetWindow, RunEnvelope
from tests.books import Books, eventually
from tests.world import Deployment, Member, World

SESSION = "x-claude-code-session-id"
NO_CACHE = {"exact": False, "semantic": "off"}


def policy(**envelopes: Any) -> dict[str, Any]:
    return {"cache": NO_CACHE, "envelopes": {"opens": "session", "usd": 1, **envelopes}}


def ask(world: World, member: Member, model: str = "gpt-4o-mini", **headers: str) -> tuple[int, Any]:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 100}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return world.request("POST", "/v1/chat/completions", body, member=member, headers=named)


def envelopes(member: Member) -> list[RunEnvelope]:
    return list(RunEnvelope.objects.filter(tenant=member.id).select_related("budget").order_by("opened_at"))


def held_by_one_call(world: World, member: Member, deployment: Deployment) -> Decimal:
    """What a call of these tests holds, asked of a call that has no envelope."""
    status, answer = ask(world, member, deployment.model)
    assert status == 200
    return Attempt.objects.get(request_id=answer["purser"]["request_id"]).hold_usd


def test_it_works(world: World, books: Books, make_tenant: Callable[..., Member]) -> None:
    """A session's first call opens its envelope, its agents draw from it, and the receipt and the ledger say so."""
    member = make_tenant(policy=policy())
    for agent in ("", "a1", "a2"):
        headers = {SESSION: "s-1", **({"x-claude-code-agent-id": agent} if agent else {})}
        assert ask(world, member, **headers)[0] == 200
    (envelope,) = envelopes(member)
    assert (envelope.run, envelope.opened_by, envelope.budget.limit_amount) == ("s-1", "session", 1)
    books.settled(member.id, count=3)
    rows = books.rows(member.id)
    assert {(row.session, row.agent) for row in rows} == {("s-1", ""), ("s-1", "a1"), ("s-1", "a2")}
    window = BudgetWindow.objects.get(budget=envelope.budget)
    assert (window.spent, window.held) == (sum(row.billed_cost for row in rows), 0)
    _, answer = ask(world, member, **{SESSION: "s-1"})
    status, receipt = world.get(f"/v1/requests/{answer['purser']['request_id']}", member)
    assert status == 200
    assert {"step": "envelope", "budget_id": envelope.pk}.items() <= next(
        step for step in receipt["steps"] if step["step"] == "envelope"
    ).items()
    assert Budget.objects.filter(tenant=member.id).count() == 0  # it is no budget that somebody set


def test_fifty_sub_agents_on_an_envelope_that_fits_k_calls_admit_exactly_k(
    world: World, books: Books, make_tenant: Callable[..., Member], make_deployment: Callable[..., Deployment]
) -> None:
    """In two processes, at the same time, while nothing is settled."""
    fit, agents = 7, 50
    member, deployment = make_tenant(policy=policy()), make_deployment()
    hold = held_by_one_call(world, member, deployment)
    usd = float(hold * fit + hold / 2)
    member = make_tenant(policy=policy(usd=usd))
    world.fault(fault="slow", match={"key": deployment.account_key}, delay_ms=4000, times=fit)

    async def storm() -> list[int]:
        async with world.async_openai(member) as client:

            async def one(number: int) -> int:
                headers = {SESSION: "s-1", "x-claude-code-agent-id": f"a{number}"}
                answer = await client.chat.completions.with_raw_response.create(
                    model=deployment.model,
                    messages=[{"role": "user", "content": "Hello"}],
                    max_tokens=100,
                    extra_headers=headers,
                )
                return int(answer.status_code)

            told = await asyncio.gather(*(one(number) for number in range(agents)), return_exceptions=True)
        return [one if isinstance(one, int) else getattr(one, "status_code", 0) for one in told]

    assert Counter(asyncio.run(storm())) == {200: fit, 429: agents - fit}
    assert len(envelopes(member)) == 1
    books.settled(member.id, count=fit)
    assert len({row.agent for row in books.rows(member.id)}) == fit
    books.check_windows(member.id)


def test_a_full_one_is_named_with_the_page_that_raises_it_and_goes_on_at_once(
    world: World, make_tenant: Callable[..., Member]
) -> None:
    member = make_tenant(policy=policy(usd=0.00001))
    status, answer = ask(world, member, **{SESSION: "s-1"})
    (envelope,) = envelopes(member)
    error = answer["error"]
    assert (status, error["code"]) == (429, "budget_exceeded")
    assert "envelope of run 's-1' of 0.00001 USD" in error["message"]
    assert f"/portal/runs/{envelope.pk}" in error["message"]
    raise_budget(envelope.budget, extra_amount=Decimal(1), ends_at=envelope.expires_at, reason="go on")
    assert ask(world, member, **{SESSION: "s-1"})[0] == 200
    assert ask(world, member, **{SESSION: "s-2"})[0] == 429  # another session has its own


def test_nobody_draws_from_or_opens_another_ones(world: World, make_tenant: Callable[..., Member]) -> None:
    """Not by the same session id, not by another's name, not from another tenant."""
    keys = [
        {"name": "alice-1", "secret": "of-alice-1", "models": ["*"], "user": "alice"},
        {"name": "alice-2", "secret": "of-alice-2", "models": ["*"], "user": "alice"},
        {"name": "bob", "secret": "of-bob", "models": ["*"], "user": "bob"},
    ]
    keys = [{**key, "secret": f"{key['secret']}-{secrets.token_hex(20)}"} for key in keys]
    member = make_tenant(policy=policy(users={"alice": 2}, keys={"main": 3}), more_keys=keys)
    stranger = make_tenant(policy=policy())

    def by(key: dict[str, str] | None, **headers: str) -> None:
        caller = Member(member.slug, key["secret"] if key else member.key, member.id)
        assert ask(world, caller, **{SESSION: "s-1", **headers})[0] == 200

    by(keys[0])
    by(keys[1])  # her other key: the same run
    by(keys[2], **{"x-purser-user": "alice"})  # bob's key is bob's, whoever he says he is
    by(None, **{"x-purser-user": "alice"})
    by(None, **{"x-purser-user": "bob"})
    assert ask(world, stranger, **{SESSION: "s-1"})[0] == 200
    owners = Counter(
        (one.owner.split("/")[0], one.user, one.budget.limit_amount) for one in envelopes(member)
    )
    assert owners == {
        ("user", "", Decimal(2)): 1,
        ("user", "", Decimal(1)): 1,
        ("key", "alice", Decimal(3)): 1,
        ("key", "bob", Decimal(3)): 1,
    }
    assert {one.owner for one in envelopes(member)} >= {"user/alice", "user/bob"}
    assert len(envelopes(stranger)) == 1


def test_a_header_asks_for_an_amount_within_what_the_policy_allows(
    world: World, make_tenant: Callable[..., Member]
) -> None:
    member = make_tenant(policy=policy(opens="asked", most_usd=20))
    assert ask(world, member, x_purser_run="TICKET-1")[0] == 200
    assert envelopes(member) == []  # nothing opens by itself
    status, answer = ask(world, member, x_purser_run="TICKET-1", x_purser_run_usd="20.01")
    assert (status, answer["error"]["param"]) == (400, "x-purser-run-usd")
    assert ask(world, member, x_purser_run_usd="2")[0] == 400  # of no run
    for odd in ("0", "-1", "1e3", "1,5", "NaN", "9" * 40, "1.001"):
        assert ask(world, member, x_purser_run="T", x_purser_run_usd=odd)[0] == 400
    assert envelopes(member) == []
    member = make_tenant(policy=policy(opens="asked", most_usd=20))
    assert ask(world, member, x_purser_run="TICKET-1", x_purser_run_usd="20")[0] == 200
    assert ask(world, member, x_purser_run="TICKET-1", x_purser_run_usd="5")[0] == 200  # as it was
    (envelope,) = envelopes(member)
    assert (envelope.run, envelope.opened_by, envelope.budget.limit_amount) == ("TICKET-1", "asked", 20)
    plain = make_tenant(policy={"cache": NO_CACHE})
    assert ask(world, plain, x_purser_run="TICKET-1")[0] == 200
    assert (
        ask(world, plain, x_purser_run="TICKET-1", x_purser_run_usd="5")[0] == 400
    )  # it would have no limit


def test_an_owner_has_so_many_at_one_time_and_they_end(
    world: World, make_tenant: Callable[..., Member]
) -> None:
    other = f"other-{secrets.token_hex(20)}"
    member = make_tenant(
        policy=policy(most_open=3), more_keys=[{"name": "other", "secret": other, "models": ["*"]}]
    )
    told = [ask(world, member, **{SESSION: f"s-{number}"}) for number in range(5)]
    assert [status for status, _ in told] == [200, 200, 200, 403, 403]
    assert told[-1][1]["error"]["code"] == "quota_exceeded"
    assert ask(world, member, **{SESSION: "s-0"})[0] == 200  # one that it has
    assert ask(world, Member(member.slug, other, member.id), **{SESSION: "s-9"})[0] == 200
    RunEnvelope.objects.filter(tenant=member.id, run="s-1").update(expires_at=now() - timedelta(seconds=1))
    assert ask(world, member, **{SESSION: "s-5"})[0] == 200
    assert RunEnvelope.objects.filter(tenant=member.id, run="s-1", is_open=True).count() == 0


@pytest.mark.usefixtures("celery")
def test_a_deferred_call_is_held_in_the_envelope_of_its_run(
    world: World, books: Books, make_tenant: Callable[..., Member]
) -> None:
    member = make_tenant(policy=policy(opens="run"))
    status, job = ask(world, member, x_purser_run="TICKET-1", x_purser_urgency="deferred")
    assert status == 202
    (envelope,) = envelopes(member)
    attempt = eventually(lambda: Attempt.objects.filter(tenant=member.id).first())
    window = eventually(lambda: BudgetWindow.objects.filter(budget=envelope.budget).first())
    assert window.pk in attempt.window_ids
    done = eventually(
        lambda: world.get(f"/v1/jobs/{job['id']}", member)[1],
        until=lambda job: job["status"] == "completed",
        patience_seconds=60,
    )
    assert done["response"]
    row = books.rows(member.id)[0]
    window.refresh_from_db()
    assert (row.run, window.spent, window.held) == ("TICKET-1", row.billed_cost, 0)


@pytest.mark.usefixtures("celery")
def test_a_batch_is_held_in_the_envelope_of_its_run(
    world: World, books: Books, make_tenant: Callable[..., Member]
) -> None:
    member = make_tenant(policy=policy(opens="run"))
    client = world.openai(member)
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 50}
    lines = [
        {"custom_id": f"line-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
        for number in range(3)
    ]
    content = "\n".join(json.dumps(line) for line in lines).encode()
    file = client.files.create(file=("lines.jsonl", content), purpose="batch")

    def order(**headers: str) -> Any:
        return client.batches.create(
            input_file_id=file.id,
            endpoint="/v1/chat/completions",
            completion_window="24h",
            extra_headers={name.replace("_", "-"): value for name, value in headers.items()},
        )

    batch = order(x_purser_run="TICKET-9")
    (envelope,) = envelopes(member)
    eventually(
        lambda: client.batches.retrieve(batch.id).status, until="completed".__eq__, patience_seconds=90
    )
    rows = eventually(lambda: books.rows(member.id), until=lambda rows: len(rows) == 3)
    assert {row.run for row in rows} == {"TICKET-9"}
    window = BudgetWindow.objects.get(budget=envelope.budget)
    assert (window.spent, window.held) == (sum(row.billed_cost for row in rows), 0)
    poor = make_tenant(policy=policy(opens="run", usd=0.0000001))
    client = world.openai(poor)
    file = client.files.create(file=("lines.jsonl", content), purpose="batch")
    with pytest.raises(openai.RateLimitError, match="envelope of run 'TICKET-10'"):
        order(x_purser_run="TICKET-10")
