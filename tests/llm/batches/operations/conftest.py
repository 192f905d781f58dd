"""A tenant whose batches are only rows; all of it is rolled back."""

import pytest

from tenants.models import Tenant


@pytest.fixture
def acme(db: None) -> Tenant:
    return Tenant.objects.create(slug="acme-batches", name="Acme GmbH", timezone="Europe/Berlin")
