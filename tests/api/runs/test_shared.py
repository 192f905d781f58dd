"""An envelope of a ticket that several people share: who is named draws from it, strangers of the tenant do not."""

import secrets
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest

from billing.budgets.raises import raise_budget
from billing.models import BudgetWindow, RunEnvelope
from billing.runs.envelopes import open_run, share_run
from billing.runs.sharing import Sharing
from tenants.models import Tenant
from tenants.policy import EnvelopePolicy
from tests.api.runs.test_envelopes import ask, held_by_one_call, policy
from tests.books import Books
from tests.world import Deployment, Member, World

TICKET = "TICKET-12"
SHARING = EnvelopePolicy(opens="run", shared_by="people", most_usd=50)


class Team:
    """alice, bob and carol of a tenant, each with a key of her own, and one that is nobody's."""

    def __init__(self, world: World, make_tenant: Callable[..., Member], **options: Any) -> None:
        keys = [
            {"name": name, "secret": f"of-{name}-{secrets.token_hex(20)}", "models": ["*"], "user": name}
            for name in ("alice", "bob", "carol")
        ]
        self.world = world
        self.member = make_tenant(policy=policy(**{"opens": "run", **options}), more_keys=keys)
        self.tenant = Tenant.objects.get(pk=self.member.id)
        self.callers = {
            key["name"]: Member(self.member.slug, key["secret"], self.member.id) for key in keys
        } | {"nobody": self.member}

    def share(self, *, usd: str = "1", others: str = "bob", person: str = "alice") -> RunEnvelope:
        sharing = Sharing.of(others, policy=SHARING, decides=True)
        id = open_run(
            self.tenant, person=person, run=TICKET, usd=Decimal(usd), policy=SHARING, sharing=sharing
        )
        return RunEnvelope.objects.select_related("budget").get(pk=id)

    def ask(self, name: str, **options: str) -> tuple[int, Any]:
        headers = {"x_purser_run": TICKET, **options}
        return ask(self.world, self.callers[name], headers.pop("model", "gpt-4o-mini"), **headers)

    def owners(self) -> Counter[str]:
        found = RunEnvelope.objects.filter(tenant=self.tenant)
        return Counter("/".join(filter(None, (one.owner.replace("/", " "), one.user))) for one in found)


@pytest.fixture
def team(world: World, make_tenant: Callable[..., Member]) -> Team:
    return Team(world, make_tenant)


def test_it_works(team: Team, books: Books) -> None:
    """alice's and bob's calls are in one envelope; carol's, and those of a key that only says that it is bob, are not."""
    shared = team.share()
    for name in ("alice", "bob", "bob", "carol"):
        assert team.ask(name)[0] == 200
    assert team.ask("nobody", **{"x-purser-user": "bob"})[0] == 200
    books.settled(team.member.id, count=5)
    spent = {
        name: sum(row.billed_cost for row in books.rows(team.member.id) if row.user_id == name)
        for name in ("alice", "bob", "carol")
    }
    window = BudgetWindow.objects.get(budget=shared.budget)
    drawn = [row for row in books.rows(team.member.id) if row.user_id in {"alice", "bob"}]
    assert window.held == 0
    own = BudgetWindow.objects.filter(tenant=team.tenant).exclude(budget=shared.budget)
    assert window.spent + sum(one.spent for one in own) == sum(
        row.billed_cost for row in books.rows(team.member.id)
    )
    assert len(own) == 2
    assert own.get(budget__envelope__owner="user/carol").spent == spent["carol"]
    assert len(drawn) == 4  # three in the shared one, and that of the key which named bob
    assert team.owners() == {
        "user alice": 1,
        "user carol": 1,
        f"key {RunEnvelope.objects.get(tenant=team.tenant, user='bob').owner[4:]}/bob": 1,
    }


def test_people_on_an_envelope_that_fits_k_calls_are_admitted_exactly_k_times(
    world: World, books: Books, make_tenant: Callable[..., Member], make_deployment: Callable[..., Deployment]
) -> None:
    fit, calls = 5, 24
    deployment = make_deployment()
    hold = held_by_one_call(world, make_tenant(policy=policy()), deployment)
    team = Team(world, make_tenant)
    shared = team.share(usd=f"{(hold * fit + hold / 2):.6f}", others="bob, carol")
    world.fault(fault="slow", match={"key": deployment.account_key}, delay_ms=4000, times=fit)
    with ThreadPoolExecutor(calls) as threads:
        told = list(
            threads.map(
                lambda number: team.ask(("alice", "bob", "carol")[number % 3], model=deployment.model),
                range(calls),
            )
        )
    assert Counter(status for status, _ in told) == {200: fit, 429: calls - fit}
    refused = next(answer for status, answer in told if status == 429)
    assert f"/portal/runs/{shared.pk}" in refused["error"]["message"]
    books.settled(team.member.id, count=fit)
    books.check_windows(team.member.id)
    assert team.owners() == {"user alice": 1}
    raise_budget(shared.budget, extra_amount=Decimal(1), ends_at=shared.expires_at, reason="go on")
    assert team.ask("carol", model=deployment.model)[0] == 200


def test_everybody_of_the_tenant_may_and_nobody_of_another(
    world: World, team: Team, make_tenant: Callable[..., Member]
) -> None:
    shared = team.share(others="*")
    stranger = Team(world, make_tenant)
    for name in ("bob", "carol", "nobody"):
        assert team.ask(name)[0] == 200
        assert stranger.ask(name)[0] == 200
    assert team.owners() == {"user alice": 1}
    assert len(stranger.owners()) == 3
    assert shared.tenant_id == team.tenant.pk


def test_who_has_an_envelope_of_her_own_goes_on_with_it(team: Team, books: Books) -> None:
    assert team.ask("bob")[0] == 200
    shared = team.share()
    for name in ("bob", "alice"):
        assert team.ask(name)[0] == 200
    books.settled(team.member.id, count=3)
    alices = sum(row.billed_cost for row in books.rows(team.member.id) if row.user_id == "alice")
    assert BudgetWindow.objects.get(budget=shared.budget).spent == alices
    assert team.owners() == {"user alice": 1, "user bob": 1}


def test_who_is_let_in_later_draws_from_it_at_once_and_sees_what_is_left(
    world: World, make_tenant: Callable[..., Member]
) -> None:
    team = Team(world, make_tenant, opens="asked")
    shared = team.share(usd="2")
    assert team.ask("carol")[0] == 200  # an envelope that nobody opened for her
    sharing = Sharing.of("carol", policy=SHARING, decides=True)
    assert sharing is not None
    share_run(shared, sharing=sharing, person="alice")
    status, answer = world.get(f"/v1/runs/{TICKET}", team.callers["carol"])
    assert (status, answer["envelope"]["id"], answer["envelope"]["limit_usd"]) == (200, shared.pk, "2")
    assert world.get(f"/v1/runs/{TICKET}", team.callers["nobody"])[1].get("envelope") is None
    shared.refresh_from_db()
    assert shared.shared_with == ["user/bob", "user/carol"]
