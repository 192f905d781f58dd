"""More rows of anything need no more queries, on every page of the portal."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from urllib.parse import urlencode

from django.contrib.auth.models import User
from django.test import Client
from django.utils.timezone import now

from billing.budgets.raise_requests import request_raise
from billing.models import (
    AgentHour,
    AlertEvent,
    BillingPeriod,
    Budget,
    BudgetRaise,
    UsageDaily,
    UsageSum,
)
from billing.runs import envelopes
from tenants.keys.editing import issue_key
from tenants.models import EndUser, Membership
from tenants.people.inviting import invite
from tenants.policy import parse_policy
from tests.config.portal.conftest import House
from tests.config.portal.test_budgets import spend
from tests.config.portal.test_query_counts import counted
from tests.config.portal.test_requests import log
from tests.config.portal.test_walls import addresses, rows_of

FEWEST_GROWN = 14  # pages with a list


def test_it_works(house: House) -> None:
    """Every list is longer the second time, for an owner, for finance and for a member."""
    house.acme.policy = {"envelopes": {"opens": "run", "usd": 1, "most_open": 50}}
    house.acme.save()
    pages = addresses(house.acme.slug, rows_of(house, house.acme, "alice")) | run_of(house)
    pages["spend_file"] += "?span=7"
    fill(house, 1)
    clients = [house.client(person) for person in (house.alice, house.fay, house.bob)]
    few = [counted(client, pages) for client in clients]
    lengths = [length_of(clients[0], address) for address in pages.values()]
    for number in range(2, 6):
        fill(house, number)
    grown = [length_of(clients[0], address) for address in pages.values()]
    longer = sum(after > before for before, after in zip(lengths, grown, strict=True))
    assert longer >= FEWEST_GROWN
    for client, before in zip(clients, few, strict=True):
        after = counted(client, pages)
        assert {page: count for page, count in after.items() if count > before[page]} == {}


def length_of(client: Client, address: str) -> int:
    """How many bytes a page or a file has."""
    answer = client.get(address)
    return int(answer.headers.get("Content-Length", 0)) if answer.streaming else len(answer.content)


def run_of(house: House) -> dict[str, str]:
    """The pages of a run of alice and of her session."""
    policy = parse_policy(house.acme.policy).envelopes
    id = envelopes.open_run(house.acme, person="alice", run="ticket", usd=Decimal(1), policy=policy)
    query = urlencode({"session": "session of alice"})
    return {"run": house.at(f"runs/{id}/"), "session": house.at(f"sessions/one/?{query}")}


def fill(house: House, number: int) -> None:
    """One more row of whatever a page lists."""
    acme, today, name = house.acme, now().astimezone(UTC).date(), f"number-{number}"
    sums = {"requests": 1, "list_cost": Decimal(2), "billed_cost": Decimal(1)}
    first = datetime(today.year, today.month, 1, tzinfo=UTC)
    running, _ = BillingPeriod.objects.get_or_create(
        tenant=acme, label=f"{first:%Y-%m}",
        defaults={"starts_at": first, "ends_at": (first + timedelta(days=32)).replace(day=1)},
    )  # fmt: skip
    BillingPeriod.objects.create(
        tenant=acme, label=f"{2000 + number}-01", starts_at=datetime(2000 + number, 1, 1, tzinfo=UTC),
        ends_at=datetime(2000 + number, 2, 1, tzinfo=UTC),
    )  # fmt: skip
    EndUser.objects.create(tenant=acme, external_id=name, cost_center=f"team-{number}")
    for team in (f"team-{number}", ""):
        UsageDaily.objects.create(
            tenant=acme,
            day=today,
            user_id=name,
            cost_center=team,
            model=name,
            period_id=running.pk,
            records=1,
            **sums,
        )
    for dimension in ("user", "model", "feature", "key"):
        value = str(number) if dimension == "key" else name
        UsageSum.objects.create(
            tenant=acme, day=today, dimension=dimension, value=value, hits=0, adjusted_cost=0, **sums
        )
    user = User.objects.create(username=f"{name}-{acme.slug}")
    Membership.objects.create(user=user, tenant=acme, role="member", person=name)
    invite(acme, email=f"{name}@acme.example", role="member", acting_user=house.alice)
    for person in ("alice", "bob"):
        issue_key(acme, name=f"{name} of {person}", user=person)
        log(acme, user=person)
    AlertEvent.objects.create(
        tenant=acme, metric="request_cost", value=2, threshold=1, subject_key=name, message=f"dear {number}"
    )
    budgets(house, number)
    work(house, number)


def budgets(house: House, number: int) -> None:
    """A budget of a team and of a feature, one that is raised, and a wish for more."""
    acme, until = house.acme, now() + timedelta(days=1)
    for scope, value in (("cost_center", f"team-{number}"), ("feature", f"feature-{number}")):
        budget = Budget.objects.create(
            tenant=acme, scope=scope, value=value, unit="usd", period="month", limit_amount=Decimal(5)
        )
        spend(budget, value, "1.5")
    alices = Budget.objects.get(tenant=acme, scope="user", value="alice")
    for raised in (budget, alices):
        BudgetRaise.objects.create(
            budget=raised, extra_amount=1, starts_at=now(), ends_at=until, reason=f"launch {number}"
        )
        request_raise(
            raised, extra_amount=Decimal(1), ends_at=until, reason=f"launch {number}", acting_user=house.bob
        )


def work(house: House, number: int) -> None:
    """One more session and run, and one more agent, model and hour of the known session."""
    hour = now().replace(minute=0, second=0, microsecond=0)
    policy = parse_policy(house.acme.policy).envelopes
    for person in ("alice", "bob"):
        envelopes.open_run(house.acme, person=person, run=f"ticket-{number}", usd=Decimal(1), policy=policy)
        for session, agent in ((f"session-{number}", ""), (f"session of {person}", f"agent-{number}")):
            AgentHour.objects.create(
                tenant=house.acme, hour=hour - timedelta(hours=number), session=session, agent=agent, user_id=person,
                model=f"model-{number}", requests=1, billed_cost=Decimal("0.25"),
            )  # fmt: skip
