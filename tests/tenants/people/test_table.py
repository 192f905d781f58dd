"""The one table of rights: each role with each right, as a person reads it in `rights.txt`.

A right that a role gets or loses changes the file: write it with SNAPSHOT=write, and read the difference.
"""

import os
from pathlib import Path

import pytest
from django.contrib.auth.models import User

from tenants.models import Membership, PlatformRole, Tenant
from tenants.people.rights import (
    EVERYTHING,
    IN_SUSPENDED_TENANTS,
    PLATFORM_ROLES,
    TENANT_ROLES,
    Right,
    rights_of,
)

TABLE = Path(__file__).parent / "rights.txt"


def test_it_works() -> None:
    columns = {f"platform {role}": given for role, given in PLATFORM_ROLES.items()}
    columns |= {str(role): given for role, given in TENANT_ROLES.items()}
    columns |= {f"{role}, suspended": given & IN_SUSPENDED_TENANTS for role, given in TENANT_ROLES.items()}
    lines = []
    for right in Right:
        holders = [name for name, given in columns.items() if right in given]
        lines += [f"{right.name}: {right.value}", *(f"    {name}" for name in holders), ""]
    written = "\n".join(lines)
    if os.environ.get("SNAPSHOT") == "write":
        TABLE.write_text(written)
    assert written == TABLE.read_text()


def test_every_role_is_in_it_and_no_role_has_everything() -> None:
    assert set(PLATFORM_ROLES) == set(PlatformRole.Role.values)
    assert set(TENANT_ROLES) == set(Membership.Role.values)
    for given in (*PLATFORM_ROLES.values(), *TENANT_ROLES.values()):
        assert given < EVERYTHING


@pytest.mark.parametrize("status", ["suspended", "closed"])
def test_what_an_operator_suspends_is_only_read_by_its_people(tenant: Tenant, status: str) -> None:
    owner = User.objects.create(username=f"owner-{tenant.slug}")
    Membership.objects.create(user=owner, tenant=tenant, role="owner")
    assert rights_of(owner).has(Right.CONFIGURE, tenant.pk)
    Tenant.objects.filter(pk=tenant.pk).update(status=status)
    left = rights_of(owner)
    assert left.has(Right.SEE, tenant.pk)
    for right in (Right.CONFIGURE, Right.PEOPLE, Right.CLOSE, Right.BILL, Right.ATTEND):
        assert not left.has(right, tenant.pk), right


def test_what_its_owners_pause_they_still_change(tenant: Tenant) -> None:
    owner = User.objects.create(username=f"owner-{tenant.slug}")
    Membership.objects.create(user=owner, tenant=tenant, role="owner")
    Tenant.objects.filter(pk=tenant.pk).update(status="paused")
    assert rights_of(owner).has(Right.CONFIGURE, tenant.pk)


def test_a_platform_role_of_somebody_who_is_no_staff_counts_nothing(db: None) -> None:
    person = User.objects.create(username="no-staff")
    PlatformRole.objects.create(user=person, role="operator")
    assert rights_of(person).everywhere == frozenset()
