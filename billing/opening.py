"""Opening a tenant: the customer, their first key, user and monthly budget, at once.

Invariant: nobody is unlimited by accident. A tenant without a monthly budget was opened so on purpose.
"""

from dataclasses import dataclass
from decimal import Decimal

from django.contrib.auth.models import User
from django.db import transaction

from billing.budgets.editing import set_budget
from billing.models import Budget
from tenants.keys.editing import issue_key
from tenants.models import ApiKey, EndUser, Tenant
from tenants.people.authors import record_author


@dataclass(frozen=True)
class Opened:
    """A tenant with its first key. `secret` is the key's clear text, stored nowhere."""

    tenant: Tenant
    key: ApiKey
    secret: str
    budget: Budget | None


@transaction.atomic
def open_tenant(
    tenant: Tenant,
    *,
    key_name: str,
    monthly_budget_usd: Decimal | None,
    user: str = "",
    acting_user: User | None = None,
) -> Opened:
    """Save a new tenant with all that its first call needs. Raises ValidationError.

    `monthly_budget_usd` None is no limit. With a `user` the key is that person's, and the user is declared.
    """
    record_author(tenant, acting_user=acting_user, reason="opened")
    tenant.full_clean()
    tenant.save(force_insert=True)
    if user:
        declared = EndUser(tenant=tenant, external_id=user)
        record_author(declared, acting_user=acting_user, reason="opened")
        declared.full_clean()
        declared.save()
    key, secret = issue_key(tenant, name=key_name, user=user, acting_user=acting_user)
    budget = None
    if monthly_budget_usd is not None:
        budget = set_budget(
            tenant,
            scope="tenant",
            unit=Budget.Unit.USD,
            period=Budget.Period.MONTH,
            limit_amount=monthly_budget_usd,
            set_by=Budget.SetBy.PLATFORM,
            acting_user=acting_user,
        )
    return Opened(tenant, key, secret, budget)
