"""The life of a key: issued once in clear, rotated with two live secrets, revoked, all of it on record."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.utils.timezone import now

from tenants.keys import strings as keys
from tenants.keys.editing import (
    KeyRevoked,
    end_grace,
    expire_key,
    issue_key,
    replace_secret,
    revoke_key,
    rotate_key,
)
from tenants.models import ApiKey, Tenant
from tenants.tenancy import TenantClosed, close_tenant, resume_tenant, suspend_tenant

pytestmark = pytest.mark.django_db


def test_it_works(tenant: Tenant) -> None:
    key, clear = issue_key(tenant, name="ci", models=["gpt-*"])
    stored = ApiKey.objects.get(pk=key.pk)
    assert keys.public_id_of(clear) == stored.public_id
    assert keys.matches(clear, bytes(stored.secret_hash))
    assert stored.models == ["gpt-*"]


def test_the_clear_key_is_stored_nowhere(tenant: Tenant) -> None:
    key, clear = issue_key(tenant, name="ci")
    secret = clear.rsplit("_", 1)[-1].encode()
    for row in [*ApiKey.objects.values_list(), *ApiKey.history.values_list()]:
        assert not any(
            secret in (value if isinstance(value, bytes) else str(value).encode()) for value in row
        )
    assert not hasattr(ApiKey.history.get(id=key.pk), "secret_hash_id")
    assert "secret_hash" not in {field.name for field in ApiKey.history.model._meta.get_fields()}


def test_a_rotation_leaves_two_live_secrets(tenant: Tenant) -> None:
    key, first = issue_key(tenant, name="ci")
    at = now()
    second = rotate_key(key, grace=timedelta(hours=1), at=at)
    assert keys.public_id_of(second) == key.public_id
    assert keys.matches(second, bytes(key.secret_hash))
    assert key.previous_secret_hash is not None
    assert keys.matches(first, bytes(key.previous_secret_hash))
    assert key.previous_expires_at == at + timedelta(hours=1)


def test_a_second_rotation_ends_the_oldest_secret(tenant: Tenant) -> None:
    key, first = issue_key(tenant, name="ci")
    second = rotate_key(key)
    rotate_key(key)
    assert key.previous_secret_hash is not None
    assert keys.matches(second, bytes(key.previous_secret_hash))
    assert not keys.matches(first, bytes(key.previous_secret_hash))


def test_a_grace_can_be_ended(tenant: Tenant) -> None:
    key, _ = issue_key(tenant, name="ci")
    assert not end_grace(key)
    rotate_key(key)
    assert end_grace(key)
    assert key.previous_secret_hash is None


def test_a_given_key_can_be_rotated(tenant: Tenant) -> None:
    key, clear = issue_key(tenant, name="ci", secret="brought from elsewhere, 0123456789")
    assert clear == "brought from elsewhere, 0123456789"
    second = rotate_key(key)
    assert keys.public_id_of(second) == keys.public_id_of(clear) == key.public_id


def test_a_given_secret_must_not_be_short_or_taken(tenant: Tenant) -> None:
    with pytest.raises(ValidationError, match="at least 32"):
        issue_key(tenant, name="ci", secret="short")
    issue_key(tenant, name="ci", secret="brought from elsewhere, 0123456789")
    with pytest.raises(ValidationError):
        issue_key(tenant, name="cd", secret="brought from elsewhere, 0123456789")
    with pytest.raises(ValidationError):
        issue_key(tenant, name="ci")


def test_a_replaced_secret_ends_the_former_at_once(tenant: Tenant) -> None:
    key, _ = issue_key(tenant, name="ci")
    rotate_key(key)
    assert replace_secret(key, secret="brought from elsewhere, 0123456789")
    assert key.previous_secret_hash is None
    assert not replace_secret(key, secret="brought from elsewhere, 0123456789")


def test_a_revoked_key_stays_revoked_and_frees_its_name(tenant: Tenant) -> None:
    key, _ = issue_key(tenant, name="ci")
    assert revoke_key(key, reason="leaked")
    assert not revoke_key(key)
    with pytest.raises(KeyRevoked):
        rotate_key(key)
    issue_key(tenant, name="ci")


def test_history_says_who_and_why(tenant: Tenant) -> None:
    alice = User.objects.create_user("alice-of-keys")
    key, _ = issue_key(tenant, name="ci", acting_user=alice)
    rotate_key(key, acting_user=alice)
    expire_key(key, at=now() + timedelta(days=1), acting_user=alice)
    revoke_key(key, reason="leaked", acting_user=alice)
    entries = list(key.history.order_by("history_id"))
    assert [entry.history_user for entry in entries] == [alice] * 4
    reasons = [entry.history_change_reason for entry in entries]
    assert reasons[0] == "issued"
    assert reasons[1].startswith("rotated, former secret good until ")
    assert reasons[2].startswith("expires ")
    assert reasons[3] == "leaked"


def test_a_tenant_is_suspended_resumed_and_closed_for_good(tenant: Tenant) -> None:
    assert suspend_tenant(tenant, reason="unpaid")
    assert not suspend_tenant(tenant)
    assert resume_tenant(tenant)
    assert close_tenant(tenant)
    with pytest.raises(TenantClosed):
        resume_tenant(tenant)
    assert [entry.history_change_reason for entry in tenant.history.order_by("history_id")][1:] == [
        "unpaid",
        "resumed",
        "closed",
    ]


def test_bad_json_is_refused_with_the_field(tenant: Tenant) -> None:
    tenant.policy = {"cache": {"exact": 3}}
    tenant.rate_limits = {"rpm": -1}
    tenant.timezone = "Mars/Olympus"
    with pytest.raises(ValidationError) as caught:
        tenant.full_clean()
    assert set(caught.value.message_dict) == {"policy", "rate_limits", "timezone"}
    assert caught.value.message_dict["policy"] == ["policy.cache.exact: must be true or false, not 3"]
