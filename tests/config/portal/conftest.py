"""The portal's world: owner alice, member bob and finance fay of acme; owner charlie of another tenant.

Invariant: all of it is rolled back after the test.
"""

from dataclasses import dataclass

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils.timezone import now

from config.site.pages import SESSION_BEGAN
from tenants.models import EndUser, Membership, Tenant
from tests.world import new_tenant


@dataclass
class House:
    """Two tenants and their people; `at` is the address of a page of acme."""

    acme: Tenant
    umbrella: Tenant
    alice: User
    bob: User
    fay: User
    charlie: User

    def client(self, user: User) -> Client:
        client = Client()
        client.force_login(user)
        session = client.session
        session[SESSION_BEGAN] = int(now().timestamp())
        session.save()
        return client

    def at(self, page: str = "") -> str:
        return f"/portal/t/{self.acme.slug}/{page}"


@pytest.fixture
def house(db: None) -> House:
    """People sign in, and each has a role in one tenant."""
    acme, umbrella = new_tenant("acme"), new_tenant("umbrella")
    people = [
        User.objects.create(username=f"{name}-{acme.slug}") for name in ("alice", "bob", "fay", "charlie")
    ]
    roles = (
        ("owner", acme, "alice"),
        ("member", acme, "bob"),
        ("finance", acme, ""),
        ("owner", umbrella, "charlie"),
    )
    for user, (role, tenant, person) in zip(people, roles, strict=True):
        Membership.objects.create(user=user, tenant=tenant, role=role, person=person)
    for name in ("alice", "bob"):
        EndUser.objects.create(tenant=acme, external_id=name, cost_center="4711")
    return House(acme, umbrella, *people)
