"""Keys that people make for themselves: theirs, ending, and within the policy."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.utils.timezone import now

from tenants.keys.editing import revoke_key
from tenants.keys.own_keys import MOST_A_DAY, issue_own_key, live, own_keys
from tenants.models import ApiKey, Tenant
from tests.world import new_tenant

pytestmark = pytest.mark.django_db
ALLOWED = {"keys": 2, "key_days": 30, "key_models": ["gpt-*"], "key_rate_limits": {"rpm": 60}}


@pytest.fixture
def tenant() -> Tenant:
    return new_tenant(policy={"self_service": ALLOWED})


def issue(tenant: Tenant, **changed: Any) -> tuple[ApiKey, str]:
    asked: dict[str, Any] = {"person": "bob", "label": "laptop", "days": 30} | changed
    bob, _ = User.objects.get_or_create(username="bob-of-own-keys")
    return issue_own_key(tenant, **asked, acting_user=bob)


def test_it_works(tenant: Tenant) -> None:
    key, secret = issue(tenant)
    assert secret.startswith(f"psr_{key.public_id}_")
    assert (key.name, key.user, key.models, key.rate_limits) == ("bob/laptop", "bob", ["gpt-*"], {"rpm": 60})
    assert key.expires_at is not None
    assert timedelta(days=29) < key.expires_at - now() <= timedelta(days=30)
    assert list(own_keys(tenant, "bob")) == [key]
    assert not own_keys(tenant, "alice").exists()


def test_nobody_has_no_keys(tenant: Tenant) -> None:
    ApiKey.objects.create(tenant=tenant, name="service", public_id="a" * 16, secret_hash=b"x" * 32)
    assert not own_keys(tenant, "").exists()
    with pytest.raises(ValidationError, match="no user id"):
        issue(tenant, person="")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"days": 31}, "from 1 to 30 days"),
        ({"days": 0}, "from 1 to 30 days"),
        ({"models": ["claude-haiku-4-5"]}, "claude-haiku-4-5 is not among"),
        ({"models": ["*"]}, "is not among"),
    ],
)
def test_the_policy_is_the_bound(tenant: Tenant, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        issue(tenant, **changed)


def test_only_so_many_live_keys(tenant: Tenant) -> None:
    first, _ = issue(tenant, label="one", models=["gpt-4o"])
    issue(tenant, label="two")
    with pytest.raises(ValidationError, match="2 keys, the most"):
        issue(tenant, label="three")
    issue(tenant, person="alice", label="one")
    revoke_key(first)
    issue(tenant, label="three")
    assert live(own_keys(tenant, "bob")).count() == 2


def test_keys_that_are_made_and_revoked_again_and_again_come_to_an_end(tenant: Tenant) -> None:
    for _ in range(MOST_A_DAY):
        key, _secret = issue(tenant)
        revoke_key(key)
    with pytest.raises(ValidationError, match="try again tomorrow"):
        issue(tenant)


def test_a_name_is_used_once(tenant: Tenant) -> None:
    issue(tenant)
    with pytest.raises(ValidationError):
        issue(tenant)


def test_a_tenant_may_allow_none(tenant: Tenant) -> None:
    tenant.policy = {"self_service": {"keys": 0}}
    tenant.save()
    with pytest.raises(ValidationError, match="0 keys"):
        issue(tenant)
