"""The ORM inside a tenant's wall: other tenants' rows are not there, and the books cannot be written."""

import pytest
from django.db import IntegrityError, ProgrammingError, connection, transaction

from billing.models import BudgetWindow, UsageDaily
from tenants import wall
from tenants.keys.editing import issue_key
from tenants.models import EndUser, Tenant
from tests.world import new_tenant

pytestmark = pytest.mark.django_db


@pytest.fixture
def tenants() -> tuple[Tenant, Tenant]:
    acme, outsider = new_tenant("acme"), new_tenant("outsider")
    for tenant in (acme, outsider):
        EndUser.objects.create(tenant=tenant, external_id=f"user of {tenant.slug}")
    return acme, outsider


def role() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user")
        return str(cursor.fetchone()[0])


def test_it_works(tenants: tuple[Tenant, Tenant]) -> None:
    acme, outsider = tenants
    before = role()
    with wall.inside(acme.pk):
        assert role() == wall.PORTAL_ROLE
        assert list(Tenant.objects.all()) == [acme]
        assert {user.tenant_id for user in EndUser.objects.all()} == {acme.pk}
        assert not EndUser.objects.filter(tenant=outsider).exists()
    assert role() == before
    assert EndUser.objects.filter(tenant=outsider).exists()


def test_a_key_is_made_with_its_history(tenants: tuple[Tenant, Tenant]) -> None:
    acme, outsider = tenants
    with wall.inside(acme.pk):
        key, _ = issue_key(acme, name="mine")
    assert key.history.count() == 1
    with pytest.raises(ProgrammingError, match="row-level security"), wall.inside(acme.pk):
        EndUser.objects.create(tenant=outsider, external_id="theirs")
    assert not EndUser.objects.filter(tenant=outsider, external_id="theirs").exists()


def test_an_exception_rolls_back_and_leads_out(tenants: tuple[Tenant, Tenant]) -> None:
    acme, _ = tenants
    before = role()
    with pytest.raises(IntegrityError), wall.inside(acme.pk):
        EndUser.objects.bulk_create(EndUser(tenant=acme, external_id="new") for _ in range(2))
    assert role() == before
    assert not EndUser.objects.filter(external_id="new").exists()


def test_the_books_can_be_read_and_not_written(tenants: tuple[Tenant, Tenant]) -> None:
    acme, _ = tenants
    for model in (BudgetWindow, UsageDaily):
        with wall.inside(acme.pk):
            assert not model.objects.exists()
            with pytest.raises(ProgrammingError, match="permission denied"), transaction.atomic():
                model.objects.update(tenant=acme)


def test_what_other_people_and_providers_keep_secret_is_not_there(tenants: tuple[Tenant, Tenant]) -> None:
    acme, _ = tenants
    for table in ("django_session", "llm_provider", "billing_pricerow", "tenants_historicalapikey"):
        with (
            wall.inside(acme.pk),
            pytest.raises(ProgrammingError, match="permission denied"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(f"SELECT * FROM {table} LIMIT 1")
