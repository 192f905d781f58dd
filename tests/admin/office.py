"""The people and the tenants of the admin's tests."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from django.contrib.auth.models import User
from django.db import models
from django.test import Client
from django.utils.timezone import now

from billing.models import (
    BillingPeriod,
    Statement,
)
from billing.months.closing import close_period
from config.site.pages import SESSION_BEGAN
from tenants.models import Tenant


@dataclass
class Office:
    """Two tenants, the people of the admin, and a row of each table of acme."""

    acme: Tenant
    umbrella: Tenant
    olga: User
    alice: User
    fay: User
    charlie: User
    rows: dict[type[models.Model], Any] = field(default_factory=dict)

    def client(self, user: User) -> Client:
        client = Client()
        client.force_login(user)
        session = client.session
        session[SESSION_BEGAN] = int(now().timestamp())  # as the page of logging in does
        session.save()
        return client

    def row(self, model: type[models.Model]) -> Any:
        """The row of a table. A month is closed only for who asks: its statement takes a while."""
        if model is Statement and Statement not in self.rows:
            starts_at, ends_at = datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 2, 1, tzinfo=UTC)
            month = BillingPeriod.objects.create(
                tenant=self.acme, label="2020-01", starts_at=starts_at, ends_at=ends_at
            )
            self.rows[Statement] = close_period(month)
        return self.rows.get(model)

    def add(self, row: models.Model) -> Any:
        row.save(force_insert=True)
        self.rows.setdefault(type(row), row)
        return row
