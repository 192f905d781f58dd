"""Whom a tenant serves."""

from dataclasses import replace
from typing import Any

import pytest

from tenants.errors import UserNotAllowed
from tenants.known_users import UserNeeded, check_user
from tenants.policy import UsersPolicy, parse_policy
from tenants.snapshots.store import TenantFacts, UserFacts


def tenant(**users: Any) -> TenantFacts:
    policy = replace(parse_policy({}), users=UsersPolicy(**users))
    known = {
        "alice": UserFacts(cost_center="", is_active=True),
        "bob": UserFacts(cost_center="", is_active=False),
    }
    return TenantFacts(1, "acme", "Acme", "UTC", "active", policy, policy.user_rate_limits, {}, known)


def test_it_works() -> None:
    for user in ("alice", "somebody new", ""):
        check_user(tenant(), user, have_budgets=True)


def test_only_known_users_are_served_where_the_tenant_asks_for_it() -> None:
    check_user(tenant(unknown="refuse"), "alice", have_budgets=True)
    for user in ("Alice", "alice ", "somebody new"):
        with pytest.raises(UserNotAllowed):
            check_user(tenant(unknown="refuse"), user, have_budgets=False)


def test_a_user_who_is_switched_off_is_not_served() -> None:
    with pytest.raises(UserNotAllowed):
        check_user(tenant(), "bob", have_budgets=False)


def test_somebody_must_be_named_where_users_have_budgets() -> None:
    with pytest.raises(UserNeeded):
        check_user(tenant(missing="refuse"), "", have_budgets=True)
    check_user(tenant(missing="refuse"), "", have_budgets=False)
