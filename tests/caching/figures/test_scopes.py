"""What scopes saved and cost, how their thresholds moved, and where that is shown."""

import os
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from caching.admin import figures as admin_figures
from caching.figures import scopes as scope_figures
from caching.figures.scopes import ScopeCollector
from caching.models import CacheEntry, CacheLabel, CacheScope, CacheScopeDay, CacheThresholdPoint
from caching.semantic.eviction import evict
from tenants.models import Tenant

NOW = datetime.now(UTC)
DIGEST = os.urandom(32)


def make_scope(tenant: Tenant, **changes: object) -> CacheScope:
    fields = {"max_error_rate": 0.02, "created_at": NOW, "updated_at": NOW, "route": "gpt-4o//"}
    return CacheScope.objects.create(tenant=tenant, scope_digest=DIGEST, **(fields | changes))


@pytest.mark.usefixtures("orm_thread")
async def test_hits_and_checks_are_added_up_by_scope_and_day(tenant: Tenant) -> None:
    for _ in range(2):
        scope_figures.note_hit(tenant.pk, DIGEST, saved_usd=Decimal("0.000000000001"))
    await scope_figures.flush()
    scope_figures.note_hit(tenant.pk, DIGEST, saved_usd=Decimal("0.25"))
    scope_figures.note_check(tenant.pk, DIGEST, cost_usd=Decimal("0.01"))
    scope_figures.note_judging(tenant.pk, DIGEST, cost_usd=Decimal("0.002"))
    await scope_figures.flush()
    day = await CacheScopeDay.objects.aget(tenant=tenant)
    assert (day.hits, day.saved_usd) == (3, Decimal("0.250000000002"))
    assert (day.checks, day.check_usd) == (1, Decimal("0.012"))


@pytest.mark.usefixtures("orm_thread")
async def test_a_database_away_keeps_the_figures(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    scope_figures.note_hit(tenant.pk, DIGEST, saved_usd=Decimal(1))
    with monkeypatch.context() as patched:
        patched.setattr(scope_figures, "ADD", "SELECT 1 / 0")
        await scope_figures.flush()
    await scope_figures.flush()
    assert (await CacheScopeDay.objects.aget(tenant=tenant)).saved_usd == 1


@pytest.mark.usefixtures("orm_thread")
async def test_prometheus_is_told_of_the_scopes_with_the_most_hits(tenant: Tenant) -> None:
    from asgiref.sync import sync_to_async

    await sync_to_async(make_scope)(
        tenant, threshold=0.93, error_rate=0.01, error_rate_upper=0.02, noise_floor=0.03
    )
    for _ in range(1_000):
        scope_figures.note_hit(tenant.pk, DIGEST, saved_usd=Decimal("0.001"))
    await scope_figures.flush()
    await scope_figures.read()
    registry = CollectorRegistry()
    registry.register(scope_figures.collector)
    text = generate_latest(registry).decode()
    labels = f'{{route="gpt-4o//",scope="{DIGEST.hex()[:16]}"}}'
    assert f"purser_cache_scope_hits{labels} 1000.0" in text
    assert f"purser_cache_scope_threshold{labels} 0.93" in text
    assert f"purser_cache_scope_error_rate_upper{labels} 0.02" in text
    assert f"purser_cache_scope_noise_floor{labels} 0.03" in text
    assert tenant.slug not in text  # whoever may ask for metrics need not know the tenants


def test_a_closed_scope_has_no_threshold_to_show() -> None:
    collector = ScopeCollector()
    collector.rows = [("acme", "aa", "auto", 1, Decimal(1), 0, Decimal(0), None, None, None, None)]
    families = {family.name: family.samples for family in collector.collect()}
    assert families["purser_cache_scope_threshold"] == []
    assert families["purser_cache_scope_noise_floor"] == []
    assert families["purser_cache_scope_hits"][0].value == 1


@pytest.mark.django_db
def test_the_threshold_is_noted_whenever_it_has_changed() -> None:
    scope = make_scope(Tenant.objects.create(slug="noted", name="Noted"), labels=10)
    evict()
    evict()
    scope.threshold, scope.error_rate_upper, scope.updated_at = 0.9, 0.015, NOW + timedelta(minutes=5)
    scope.save()
    evict()
    scope.updated_at = NOW + timedelta(minutes=9)  # found anew, and the same
    scope.save()
    evict()
    points = CacheThresholdPoint.objects.filter(tenant=scope.tenant).order_by("at")
    assert [point.threshold for point in points] == [None, 0.9]
    shown = admin_figures.thresholds_of(scope)
    assert "closed" in shown
    assert "0.900" in shown
    assert "1.50 %" in shown


@pytest.mark.django_db
def test_the_pages_say_how_wrong_and_what_was_saved() -> None:
    tenant = Tenant.objects.create(slug="shown", name="Shown")
    other = Tenant.objects.create(slug="hidden", name="Hidden")
    scope = make_scope(tenant)
    for owner, number, source, is_wrong in (
        (tenant, 40, "check", False), (tenant, 2, "check", True), (tenant, 8, "miss", True),
        (tenant, 3, "would_hit", False), (tenant, 1, "would_hit", True),
        (tenant, 1, "feedback", True), (other, 50, "check", True),
    ):  # fmt: skip
        for _ in range(number):
            CacheLabel.objects.create(
                tenant=owner, scope_digest=DIGEST, similarity=0.93, is_wrong=is_wrong, source=source, at=NOW
            )
    assert admin_figures.wrong_hits_of(scope) == "4.76 % (1.59–13.41 %), 2 of 42; 1 complaints"
    static = admin_figures.static_thresholds_of(scope)
    assert admin_figures.dry_run_of(scope).endswith("1 of 4")
    assert "12 of 55" in static
    assert "no evidence yet" in static  # from .95 on
    CacheScopeDay.objects.create(
        tenant=tenant, scope_digest=DIGEST, day=NOW.date(), hits=5, saved_usd=Decimal("0.5"), checks=1,
        check_usd=Decimal("0.1"),
    )  # fmt: skip
    assert 'title="0.4 USD"' in admin_figures.money_of(scope)


def test_the_page_says_how_far_the_judge_is_known() -> None:
    scope = CacheScope(repeats=7)
    assert admin_figures.noise_of(scope) == "not known: it takes 50 questions answered twice, and there are 7"
    scope = CacheScope(noise_floor=0.0123, repeats=200, repeats_wrong=5, repeats_from="scope")
    assert admin_figures.noise_of(scope) == (
        "at least 1.23 %: of 200 questions answered twice in this scope, 5 were judged to differ"
    )
    scope = CacheScope(noise_floor=0.0, repeats=60, repeats_from="route")
    assert "all scopes of this model" in admin_figures.noise_of(scope)


@pytest.mark.django_db
def test_what_was_asked_again_to_judge_the_judge_is_no_part_of_a_dry_run() -> None:
    tenant = Tenant.objects.create(slug="again", name="Again")
    for source in ("miss", "repeat"):
        CacheLabel.objects.create(
            tenant=tenant, scope_digest=DIGEST, similarity=1.0, is_wrong=True, source=source, at=NOW
        )
    assert "1 of 1" in admin_figures.static_thresholds_of(make_scope(tenant))


@pytest.mark.django_db
def test_an_entry_is_shown_among_its_neighbours_and_nobody_elses() -> None:
    tenant = Tenant.objects.create(slug="near", name="Near", policy={"log_prompts": True})
    entries = [
        CacheEntry.objects.create(
            tenant=tenant, scope_digest=digest, question_digest=bytes([number] * 16), embedder="e",
            vector=[1.0, 0.1 * number], question=question, answer=b"", circle="tenant", endpoint="chat",
            route="r", model="m", created_at=NOW, last_hit_at=NOW, expires_at=NOW + timedelta(days=1),
        )
        for number, (question, digest) in enumerate(
            [("mine", DIGEST), ("<b>near</b>", DIGEST), ("far", DIGEST), ("foreign", b"f" * 32)]
        )
    ]  # fmt: skip
    shown = admin_figures.neighbours_of(entries[0])
    assert "&lt;b&gt;near" in shown
    assert "far" in shown
    assert "foreign" not in shown
    assert ">mine<" not in shown
    assert "mine" in admin_figures.entries_of(make_scope(tenant))


def test_few_labels_have_a_wide_interval() -> None:
    assert admin_figures.interval(0, 0) == (0.0, 1.0)
    assert admin_figures.interval(0, 10)[1] > 0.2
    assert admin_figures.interval(0, 1_000)[1] < 0.003
