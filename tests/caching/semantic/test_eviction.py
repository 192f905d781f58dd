"""The end of entries: expiry, the tenant's cap, purges."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from caching.models import CacheEntry, CacheLabel, CacheScope
from caching.semantic.eviction import evict, purge
from caching.tasks import evict as evict_task
from tenants.models import Tenant
from tests.world import new_tenant

pytestmark = pytest.mark.django_db

NOW = datetime.now(UTC)
CLOCK = iter(range(1, 1_000_000))


@pytest.fixture
def acme() -> Tenant:
    """A tenant, alone for the test: what others left may have expired, too."""
    for model in (CacheEntry, CacheScope, CacheLabel):
        model.objects.all().delete()
    return new_tenant(policy={"cache": {"max_entries": 3}})


def keep(tenant: Tenant, question: str, **changes: Any) -> CacheEntry:
    fields: dict[str, Any] = {
        "tenant": tenant,
        "scope_digest": b"s" * 32,
        "question_digest": next(CLOCK).to_bytes(16, "big"),
        "embedder": "minilm-l6-v2/fp32",
        "vector": [0.0] * 383 + [1.0],
        "question": question,
        "answer": b"",
        "circle": "tenant",
        "endpoint": "chat",
        "route": "gpt-4o",
        "model": "gpt-4o",
        "created_at": NOW - timedelta(hours=1),
        "last_hit_at": NOW - timedelta(hours=1),
        "expires_at": NOW + timedelta(hours=1),
    }
    return CacheEntry.objects.create(**(fields | changes))


def questions(tenant: Tenant) -> set[str]:
    return set(CacheEntry.objects.filter(tenant=tenant).values_list("question", flat=True))


def test_it_works(acme: Tenant) -> None:
    keep(acme, "kept")
    keep(acme, "expired", expires_at=NOW - timedelta(seconds=1))
    assert evict() == 1
    assert questions(acme) == {"kept"}


def test_the_least_recently_used_go_first_when_the_tenant_is_over_its_cap(acme: Tenant) -> None:
    for age in range(5):
        keep(acme, f"{age} minutes", last_hit_at=NOW - timedelta(minutes=age))
    other = Tenant.objects.create(slug="other", name="Other", policy={"cache": {"max_entries": 3}})
    keep(other, "other's", last_hit_at=NOW - timedelta(days=1))
    assert evict() == 2
    assert questions(acme) == {"0 minutes", "1 minutes", "2 minutes"}
    assert questions(other) == {"other's"}


def test_evicting_twice_is_evicting_once(acme: Tenant) -> None:
    for age in range(5):
        keep(acme, f"{age}", last_hit_at=NOW - timedelta(minutes=age))
    evict_task()
    before = questions(acme)
    evict_task()
    assert questions(acme) == before


def test_many_expired_entries_go_in_batches(acme: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("caching.semantic.eviction.BATCH", 2)
    for number in range(5):
        keep(acme, f"{number}", expires_at=NOW - timedelta(seconds=1))
    assert evict() == 5
    assert questions(acme) == set()


@pytest.mark.parametrize(
    ("condition", "left"),
    [
        ({"model": "gpt-4o"}, {"old card", "v2 pin"}),
        ({"prompt_version": "v2"}, {"new card", "old card"}),
        ({"older_than": timedelta(days=1)}, {"new card", "v2 pin"}),
        ({"containing": "CARD"}, {"v2 pin"}),
        ({"model": "gpt-4o-mini", "containing": "pin"}, {"new card", "old card"}),
        ({}, set()),
    ],
)
def test_a_purge_takes_what_fits_every_condition(
    acme: Tenant, condition: dict[str, Any], left: set[str]
) -> None:
    keep(acme, "new card")
    keep(acme, "old card", model="gpt-4o-mini", created_at=NOW - timedelta(days=3))
    keep(acme, "v2 pin", model="gpt-4o-mini", prompt_version="v2")
    other = Tenant.objects.create(slug="other", name="Other")
    keep(other, "other's card")
    assert purge(acme.pk, **condition) == 3 - len(left)
    assert questions(acme) == left
    assert questions(other) == {"other's card"}


def test_scopes_that_nothing_was_learnt_about_for_long_are_forgotten(acme: Tenant) -> None:
    for name, age in ((b"old", 100), (b"new", 10)):
        at = NOW - timedelta(days=age)
        CacheScope.objects.create(
            tenant=acme, scope_digest=name, max_error_rate=0.02, created_at=at, updated_at=at
        )
        CacheLabel.objects.create(
            tenant=acme, scope_digest=name, similarity=0.9, is_wrong=False, source="miss", at=at
        )
    evict()
    assert [bytes(scope.scope_digest) for scope in CacheScope.objects.all()] == [b"new"]
    assert [bytes(label.scope_digest) for label in CacheLabel.objects.all()] == [b"new"]
