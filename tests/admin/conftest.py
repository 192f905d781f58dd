"""The admin's world: operator olga (superuser), owner alice and finance fay of acme, outsider charlie, and a row
of every table.

Invariant: all of it is rolled back after the test.
"""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tenants.models import Membership, Tenant
from tests.admin.filling import fill
from tests.admin.office import Office


@pytest.fixture
def office(db: None) -> Office:
    """Everything at once; a test takes what it needs."""
    acme = Tenant.objects.create(slug="acme", name="Acme GmbH", timezone="Europe/Berlin")
    umbrella = Tenant.objects.create(slug="umbrella", name="Umbrella Ltd")
    people = [
        User.objects.create(username=name, is_staff=True, is_superuser=name == "olga")
        for name in ("olga", "alice", "fay", "charlie")
    ]
    office = Office(acme, umbrella, *people)
    office.rows |= {Tenant: acme, User: office.alice}
    for user, tenant, role in ((1, acme, "owner"), (2, acme, "finance"), (3, umbrella, "owner")):
        office.add(Membership(user=people[user], tenant=tenant, role=role))
    fill(office, acme)
    return office


@pytest.fixture
def olga(office: Office) -> Client:
    return office.client(office.olga)
