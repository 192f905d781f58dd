"""The portal in a real browser: a tenant whose people are committed, and how one of them signs in.

Invariant: no ORM while a page is open, because Playwright owns the event loop.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.contrib.auth.models import User
from openai import RateLimitError

from billing.ledger.rollups import rebuild_dirty
from billing.models import Budget
from llm.models import RequestLog
from tenants.models import Membership, Tenant
from tests.books import eventually
from tests.browser.hands import Hands
from tests.browser.visits import Window, visitor
from tests.world import Member, World

BUDGETS: list[dict[str, Any]] = [
    {"scope": "tenant", "unit": "usd", "period": "month", "limit": "5"},
    {"scope": "user", "unit": "usd", "period": "day", "limit": "0.0002"},
    {"scope": "user", "unit": "tokens", "period": "month", "limit": 2_000_000},
]


@dataclass
class Firm:
    """A tenant with calls of alice and bob, one of bob's refused, and the accounts of its people."""

    world: World
    member: Member
    password: str
    people: dict[str, User] = field(default_factory=dict)

    @property
    def tenant(self) -> Tenant:
        return Tenant.objects.get(pk=self.member.id)

    def at(self, page: str = "") -> str:
        return f"/portal/t/{self.member.slug}/{page}"

    @contextmanager
    def visit(self, name: str, window: Window) -> Iterator[Any]:
        """A browser in which somebody has signed in, with the keyboard alone."""
        username = self.people[name].username
        with visitor(self.world.stack.base_url, None, window) as page:
            page.goto("/portal/")
            page.wait_for_url("**/portal/login/**")
            hands = Hands(page)
            hands.type(page.locator("[name=username]"), username)
            hands.type(page.locator("[name=password]"), self.password)
            page.keyboard.press("Enter")
            page.wait_for_url(f"**{self.at()}")
            yield page


@pytest.fixture
def firm(world: World, make_tenant: Any) -> Iterator[Firm]:
    """Committed, and its people are nobody any more afterwards."""
    users = [{"id": "alice", "cost_center": "4711"}, {"id": "bob", "cost_center": "4712"}]
    firm = Firm(world, make_tenant("firm", users=users, budgets=BUDGETS), secrets.token_hex(8))
    Budget.objects.filter(tenant=firm.member.id).update(set_by="tenant")  # its owner decides about raises
    for name, role, person in (("alice", "owner", "alice"), ("bob", "member", "bob"), ("fay", "finance", "")):
        user = User.objects.create_user(
            f"{name}-{firm.member.slug}", password=firm.password, first_name=name.capitalize()
        )
        Membership.objects.create(user=user, tenant=firm.tenant, role=role, person=person)
        firm.people[name] = user
    client = world.openai(firm.member)
    questions = (
        "How do I top up my card?",
        "Where is my money?",
        "How do I top up my card?",
        "Why is the sky blue?",
    )
    for number, question in enumerate(questions):
        with suppress(RateLimitError):
            client.chat.completions.create(
                model=("gpt-4o-mini", "gpt-4.1-nano")[number % 2],
                messages=[{"role": "user", "content": question}],
                max_tokens=40 if number < 3 else 4000,
                user=("alice", "bob")[number % 2],
                extra_headers={"x-purser-feature": "support"},
            )
    eventually(
        lambda: RequestLog.objects.filter(tenant=firm.member.id).count(), until=lambda count: count == 4
    )
    while rebuild_dirty():
        pass
    yield firm
    User.objects.filter(pk__in=[user.pk for user in firm.people.values()]).update(is_active=False)
