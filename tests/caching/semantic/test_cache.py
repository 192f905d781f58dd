"""The semantic cache on PostgreSQL with pgvector: what it serves, and above all what it does not."""

import asyncio
import random
import secrets
from dataclasses import replace
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caching.admin import figures as admin_figures
from caching.decision import Draw
from caching.eligibility import Traits
from caching.entries import search
from caching.models import CacheEntry, CacheLabel, CacheScope
from caching.scope import Asker, Origin
from caching.scoring.scope_state import CHECKED_SHARE
from caching.semantic import cache as semantic
from caching.semantic.cache import Lookup
from config import resources
from tenants.models import Tenant
from tenants.policy import CachePolicy
from tenants.rls import tenant_connection
from tests.caching.material import BOUNDED, STATIC, answer, ask, checked, origin_of, unchecked

pytestmark = pytest.mark.usefixtures("orm_thread")

ARRIVED = "My card has not arrived, what do I do?"
STILL = "My card still has not arrived. What should I do?"


async def look(
    body: dict[str, Any],
    origin: Origin,
    policy: CachePolicy = STATIC,
    *,
    asker: Asker | None = None,
    draw: Draw = unchecked,
    **traits: Any,
) -> Lookup:
    return await semantic.look_up(
        body, origin=origin, policy=policy, traits=Traits(**traits), asker=asker, draw=draw
    )


async def store(body: dict[str, Any], origin: Origin, text: str = "Wait.", **policy: Any) -> Lookup:
    lookup = await look(body, origin)
    assert await semantic.remember(lookup, answer(text), policy=replace(STATIC, **policy))
    return lookup


async def test_it_works(origin: Origin) -> None:
    first = await look(ask(ARRIVED), origin)
    assert (first.outcome, first.reason) == ("miss", "empty")
    assert await semantic.remember(first, answer(), policy=STATIC, asker=Asker(7))

    second = await look(ask(STILL), origin, asker=Asker(7))
    assert second.is_hit
    assert second.similarity is not None
    assert 0.85 < second.similarity < 1
    assert second.answer is not None
    assert second.answer.text == answer().text
    assert second.answer.list_cost_usd == answer().list_cost_usd
    assert second.answer.body == answer().body


async def test_a_question_far_away_is_a_miss_with_its_candidate(origin: Origin) -> None:
    await store(ask(ARRIVED), origin)
    found = await look(ask("Which currencies can I hold in my account?"), origin)
    assert (found.outcome, found.reason) == ("miss", "below_threshold")
    assert found.best is not None
    assert found.answer is None


async def test_a_guard_stops_what_the_vector_would_serve(origin: Origin) -> None:
    await store(ask("How do I enable contactless payments on my card?"), origin)
    found = await look(ask("How do I disable contactless payments on my card?"), origin)
    assert found.outcome == "miss"
    assert found.reason == "guard_antonym"
    assert found.similarity is not None
    assert found.similarity > STATIC.threshold


async def test_the_nearest_candidate_without_a_flag_is_served(origin: Origin) -> None:
    await store(ask("How do I disable contactless payments on my card?"), origin, "Off.")
    await store(ask("How can I enable contactless payments for my card?"), origin, "On.")
    found = await look(ask("How do I enable contactless payments on my card?"), origin)
    assert found.is_hit
    assert found.answer is not None
    assert found.answer.text == "On."


CHANGES: dict[str, Any] = {
    "system prompt": {"messages": [{"role": "system", "content": "x"}, {"role": "user", "content": ARRIVED}]},
    "no system prompt": {"messages": [{"role": "user", "content": ARRIVED}]},
    "history": {
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello"},
            {"role": "user", "content": ARRIVED},
        ]
    },
    "temperature": {"temperature": 0.2},
    "format": {"response_format": {"type": "json_object"}},
    "seed": {"seed": 7},
    "output limit": {"max_tokens": 20},
    "unknown field": {"reasoning_effort": "high"},
}


@pytest.mark.parametrize("change", CHANGES)
async def test_nothing_is_served_when_the_rest_of_the_request_differs(origin: Origin, change: str) -> None:
    await store(ask(ARRIVED), origin)
    found = await look(ask(ARRIVED) | CHANGES[change], origin)
    assert found.outcome == "miss"
    assert found.candidates == ()


ORIGINS = ("circle", "endpoint", "route", "prompt_version", "epoch")


async def test_no_hit_crosses_any_dimension_of_the_scope(outsider: Tenant, origin: Origin) -> None:
    await store(ask(ARRIVED), origin)
    assert (await look(ask(ARRIVED), origin)).is_hit
    for dimension in ORIGINS:
        changed = replace(origin, **{dimension: "another"})
        assert (await look(ask(ARRIVED), changed)).candidates == (), dimension
    assert (await look(ask(ARRIVED), origin_of(outsider))).candidates == ()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_differs_nothing_is_shared(committed: None, data: st.DataObject) -> None:
    """Two random requests in random origins: the second sees the first's entry only if both scopes are equal."""
    words = st.sampled_from(["", "a", "b", "a,1:b"])
    origins = st.builds(
        Origin,
        tenant_id=st.just(0),
        circle=st.sampled_from(["tenant", "user:a", "user:b", "key:1"]),
        endpoint=st.sampled_from(["chat", "messages"]),
        route=st.sampled_from(["gpt-4o", "auto"]),
        prompt_version=words,
        epoch=words,
    )
    bodies = st.fixed_dictionaries({"seed": st.integers(0, 1), "stop": words, "user": words})
    one, two = data.draw(st.tuples(origins, bodies)), data.draw(st.tuples(origins, bodies))
    tenant = Tenant.objects.create(slug=f"p-{secrets.token_hex(8)}", name="p")

    async def scenario() -> Lookup:
        async with resources.resources():
            await store(ask(ARRIVED) | one[1], replace(one[0], tenant_id=tenant.pk))
            return await look(ask(ARRIVED) | two[1], replace(two[0], tenant_id=tenant.pk))

    kept = [{key: value for key, value in body.items() if key != "user"} for _, body in (one, two)]
    assert asyncio.run(scenario()).is_hit == (one[0] == two[0] and kept[0] == kept[1])


async def test_a_foreign_tenants_rows_are_invisible_to_the_gateways_role(
    outsider: Tenant, tenant: Tenant
) -> None:
    await store(ask(ARRIVED), origin_of(tenant))
    count = "SELECT count(*) FROM caching_entry"
    async with tenant_connection(outsider.pk) as connection:
        assert await (await connection.execute(count)).fetchone() == (0,)
        own = await connection.execute(f"{count} WHERE tenant_id = %s", (tenant.pk,))
        assert await own.fetchone() == (0,)
    async with resources.db.connection() as connection:
        assert await (await connection.execute(count)).fetchone() == (0,)
    async with tenant_connection(tenant.pk) as connection:
        assert await (await connection.execute(count)).fetchone() == (1,)
    assert not await semantic.forget(outsider.pk, await entry_of(tenant))
    assert await semantic.forget(tenant.pk, await entry_of(tenant))


async def test_a_row_of_another_scope_is_dropped_even_if_the_database_returns_it(
    origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store(ask(ARRIVED), origin)
    everything = search.NEAREST.replace("AND scope_digest = %(scope)s", "")
    monkeypatch.setattr(search, "NEAREST", everything)
    found = await look(ask(ARRIVED), replace(origin, circle="user:alice"))
    assert (found.outcome, found.reason) == ("miss", "empty")


async def test_an_expired_answer_is_not_served(origin: Origin, tenant: Tenant) -> None:
    await store(ask(ARRIVED), origin)
    entries = CacheEntry.objects.filter(tenant=tenant)
    entry = await entries.aget()
    await entries.aupdate(created_at=entry.created_at.replace(year=2020), expires_at=entry.created_at)
    assert (await look(ask(ARRIVED), origin)).reason == "empty"


async def test_the_same_question_keeps_one_entry_with_the_later_answer(
    origin: Origin, tenant: Tenant
) -> None:
    await store(ask(ARRIVED), origin, "Old.")
    await store(ask(ARRIVED), origin, "New.")
    assert await CacheEntry.objects.filter(tenant=tenant).acount() == 1
    found = await look(ask(ARRIVED), origin)
    assert found.answer is not None
    assert found.answer.text == "New."


@pytest.mark.parametrize(
    ("body", "traits", "reason"),
    [
        (ask("What is the weather in Berlin today?"), {}, "time_sensitive"),
        (ask("Please cancel my card."), {}, "action"),
        (ask(ARRIVED), {"has_tools": True}, "tools"),
        (ask(ARRIVED), {"n": 2}, "several_answers"),
        (ask(ARRIVED), {"temperature": 1.5}, "sampled"),
        (ask("Why is it so? " * 200), {}, "too_long"),
        ({"messages": [{"role": "assistant", "content": ARRIVED}]}, {}, "no_question"),
        ({"messages": []}, {}, "no_question"),
    ],
)
async def test_a_request_that_is_not_eligible_is_bypassed_with_its_reason(
    origin: Origin, body: dict[str, Any], traits: dict[str, Any], reason: str
) -> None:
    found = await look(body, origin, **traits)
    assert (found.outcome, found.reason) == ("bypass", reason)
    assert not await semantic.remember(found, answer(), policy=STATIC)


async def test_off_means_off(origin: Origin) -> None:
    found = await look(ask(ARRIVED), origin, CachePolicy(semantic="off"))
    assert (found.outcome, found.reason) == ("bypass", "off")


async def test_a_dry_run_decides_as_bounded_mode_would_and_serves_nothing(
    origin: Origin, tenant: Tenant
) -> None:
    dry_run = replace(BOUNDED, semantic="dry_run")
    await store(ask(ARRIVED), origin)
    closed = await look(ask(STILL), origin, dry_run)
    assert (closed.outcome, closed.reason) == ("miss", "closed")
    for _ in range(75):
        await semantic.observe(closed, "Wait.", policy=dry_run)

    found = await look(ask(STILL), origin, dry_run)
    assert (found.outcome, found.reason, found.answer) == ("would_hit", "dry_run", None)
    assert found.entry_id is not None
    served = await look(ask(STILL), origin, BOUNDED)
    assert (served.is_hit, served.entry_id, served.threshold) == (True, found.entry_id, found.threshold)

    await semantic.observe(found, "Call the police at once.", policy=dry_run)
    verdicts = CacheLabel.objects.filter(tenant=tenant, source="would_hit")
    assert [verdict.is_wrong async for verdict in verdicts] == [True]
    scope = await CacheScope.objects.aget(tenant=tenant)
    assert (await sync_to_async(admin_figures.dry_run_of)(scope)).endswith("1 of 1")


async def test_a_bounded_scope_starts_closed(origin: Origin) -> None:
    await store(ask(ARRIVED), origin)
    found = await look(ask(STILL), origin, BOUNDED)
    assert (found.outcome, found.reason) == ("miss", "closed")


async def test_a_bounded_scope_opens_on_evidence_and_closes_on_wrong_answers(
    origin: Origin, tenant: Tenant
) -> None:
    await store(ask(ARRIVED), origin)
    closed = await look(ask(STILL), origin, BOUNDED)
    for _ in range(100):
        await semantic.observe(closed, "Wait.", policy=BOUNDED)
    scope = await CacheScope.objects.aget(tenant=tenant)
    assert scope.labels == 100
    assert scope.threshold is not None
    assert scope.error_rate_upper is not None
    assert scope.error_rate_upper <= BOUNDED.max_error_rate

    opened = await look(ask(STILL), origin, BOUNDED)
    assert opened.is_hit
    # The evidence speaks for 5 %; a tenant that asks for 1 % needs more of it.
    stricter = await look(ask(STILL), origin, replace(BOUNDED, max_error_rate=0.01))
    assert stricter.reason == "closed"

    for _ in range(25):
        await semantic.observe(closed, "Call the police at once.", policy=BOUNDED)
    assert (await look(ask(STILL), origin, BOUNDED)).reason == "closed"


async def test_a_scope_whose_traffic_turns_closes_by_itself(origin: Origin, tenant: Tenant) -> None:
    """From one moment on every hit is wrong, and nobody says so but the checks."""
    await store(ask(ARRIVED), origin)
    closed = await look(ask(STILL), origin, BOUNDED)
    for _ in range(250):
        await semantic.observe(closed, "Wait.", policy=BOUNDED)
    draw = random.Random(5).random
    wrong_hits = checks = 0
    for _ in range(400):
        found = await look(ask(STILL), origin, BOUNDED, draw=draw)
        if not found.is_hit:
            break
        wrong_hits += 1
        if found.reason == "checked":
            checks += 1
            await semantic.observe(found, "Call the police at once.", policy=BOUNDED)
    assert found.reason == "closed"
    assert 1 <= checks <= 10
    assert wrong_hits <= 80
    # the labels from before are still there, and do not open it again
    for _ in range(30):
        await semantic.observe(found, "Call the police at once.", policy=BOUNDED)
    assert (await look(ask(STILL), origin, BOUNDED)).reason == "closed"


async def test_some_hits_of_a_bounded_scope_are_served_and_checked(origin: Origin, tenant: Tenant) -> None:
    await store(ask(ARRIVED), origin)
    closed = await look(ask(STILL), origin, BOUNDED)
    for _ in range(75):
        await semantic.observe(closed, "Wait.", policy=BOUNDED)
    hit = await look(ask(STILL), origin, BOUNDED, draw=checked)
    assert (hit.outcome, hit.reason) == ("hit", "checked")
    assert hit.answer is not None
    await semantic.observe(hit, "Wait.", policy=BOUNDED)
    label = await CacheLabel.objects.filter(tenant=tenant).alatest("id")
    assert (label.source, label.weight, label.is_wrong) == ("check", pytest.approx(1 / CHECKED_SHARE), False)


async def test_no_scope_learns_to_serve_another_number(origin: Origin) -> None:
    await store(ask("How do I pay a fee of 20 dollars with my card?"), origin)
    found = await look(ask("How do I pay a fee of 30 dollars with my card?"), origin, BOUNDED)
    assert found.reason == "guard_number"
    for _ in range(100):
        await semantic.observe(found, "Wait.", policy=BOUNDED)
    again = await look(ask("How do I pay a fee of 30 dollars with my card?"), origin, BOUNDED)
    assert (again.outcome, again.reason) == ("miss", "guard_number")


async def test_a_database_that_does_not_answer_costs_a_miss_and_then_nothing(
    origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    from psycopg_pool import AsyncConnectionPool

    from caching.circuit import Circuit

    await look(ask(ARRIVED), origin)  # the vector is in memory now
    circuit = Circuit(
        "pgvector", timeout_seconds=0.05, probe=semantic.ping, outages=(Exception,), rest_seconds=30
    )
    monkeypatch.setattr(semantic, "database", circuit)
    nowhere = AsyncConnectionPool(
        "postgresql://127.0.0.1:1/none", min_size=0, max_size=1, open=False, timeout=0.01
    )
    await nowhere.open()
    working, resources.db = resources.db, nowhere
    try:
        found = await look(ask(ARRIVED), origin)
        assert (found.outcome, found.reason) == ("miss", "unavailable")
        assert circuit.is_open
        assert (await look(ask(ARRIVED), origin)).reason == "unavailable"
        assert not await semantic.remember(found, answer(), policy=STATIC)
    finally:
        resources.db = working
        await nowhere.close()


async def test_a_scope_that_is_too_slow_rests_and_the_others_do_not(
    origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = search.NEAREST.replace("WHERE", "WHERE pg_sleep(1) IS NOT NULL AND")
    await store(ask(ARRIVED), origin)
    other = replace(origin, circle="user:alice")
    await store(ask(ARRIVED), other)
    with monkeypatch.context() as patched:
        patched.setattr(search, "NEAREST", slow)
        patched.setattr(search, "STATEMENT_TIMEOUT_MS", 5)
        assert (await look(ask(ARRIVED), origin)).reason == "scope_too_slow"
    assert (await look(ask(ARRIVED), origin)).reason == "scope_too_slow"
    assert (await look(ask(ARRIVED), other)).is_hit


async def test_a_refresh_serves_nothing_and_replaces_the_answer(origin: Origin) -> None:
    await store(ask(ARRIVED), origin, "Old.")
    found = await semantic.look_up(ask(ARRIVED), origin=origin, policy=STATIC, traits=Traits(), refresh=True)
    assert (found.outcome, found.reason, found.answer) == ("miss", "refresh", None)
    assert await semantic.remember(found, answer("New."), policy=STATIC)
    again = await look(ask(ARRIVED), origin)
    assert again.answer is not None
    assert again.answer.text == "New."


async def test_a_receipt_shows_questions_only_when_it_may(origin: Origin) -> None:
    await store(ask(ARRIVED), origin)
    found = await look(ask(STILL), origin)
    assert ARRIVED not in str(found.to_receipt(show_questions=False))
    assert ARRIVED in str(found.to_receipt(show_questions=True))


async def entry_of(tenant: Tenant) -> int:
    return (await CacheEntry.objects.filter(tenant=tenant).afirst()).pk  # type: ignore[union-attr]
