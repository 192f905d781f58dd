"""The very same question, answered twice: what the evidence keeps of it, and what a scope makes of that."""

import random
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from caching.decision import Draw, Lookup
from caching.eligibility import Traits
from caching.learning.evidence import ASKED_AGAIN, STEP
from caching.learning.noise import ENOUGH, lower_limit
from caching.models import CacheEntry, CacheLabel, CacheScope
from caching.scope import Origin
from caching.semantic import cache as semantic
from tenants.models import Tenant
from tests.caching.material import BOUNDED, answer, ask, checked, origin_of, unchecked

pytestmark = pytest.mark.usefixtures("orm_thread")

ARRIVED = "My card has not arrived, what do I do?"
STILL = "My card still has not arrived. What should I do?"
RIGHT, WRONG = "Wait.", "Call the police at once."


async def look(question: str, origin: Origin, *, refresh: bool = False, draw: Draw = unchecked) -> Lookup:
    return await semantic.look_up(
        ask(question), origin=origin, policy=BOUNDED, traits=Traits(), refresh=refresh, draw=draw
    )


async def store(question: str, origin: Origin, text: str = RIGHT) -> None:
    assert await semantic.remember(await look(question, origin), answer(text), policy=BOUNDED)


async def known(scope: CacheScope, count: int, *, wrong: int, source: str = "repeat") -> None:
    """Verdicts on so many questions that were answered twice."""
    for number in range(count):
        await CacheLabel.objects.acreate(
            tenant_id=scope.tenant_id, scope_digest=scope.scope_digest, entry_id=10_000 + number, similarity=1.0,
            is_wrong=number < wrong, source=source, is_repeat=True, at=datetime.now(UTC),
        )  # fmt: skip


async def learn(lookup: Lookup, *, wrong: int = 0, labels: int = STEP) -> CacheScope:
    """So many look-ups answered upstream, evenly wrong; what the scope then knows."""
    assert lookup.scope is not None
    for number in range(labels):
        is_wrong = number * wrong // labels != (number + 1) * wrong // labels
        await semantic.observe(lookup, WRONG if is_wrong else RIGHT, policy=BOUNDED)
    return await CacheScope.objects.aget(tenant_id=lookup.scope.tenant_id, scope_digest=lookup.scope.digest)


async def test_it_works(origin: Origin, tenant: Tenant) -> None:
    """A refresh is a repeat: what is asked anew is the question that has an answer."""
    await store(ARRIVED, origin)
    await semantic.observe(await look(ARRIVED, origin, refresh=True), RIGHT, policy=BOUNDED)
    await semantic.observe(await look(STILL, origin), RIGHT, policy=BOUNDED)
    repeat, paraphrase = [label async for label in CacheLabel.objects.filter(tenant=tenant).order_by("id")]
    assert (repeat.is_repeat, repeat.source, repeat.is_wrong) == (True, "miss", False)
    assert not paraphrase.is_repeat


async def test_a_checked_hit_of_the_very_question_is_a_repeat(origin: Origin, tenant: Tenant) -> None:
    await store(ARRIVED, origin)
    await learn(await look(STILL, origin), labels=75)
    hit = await look(ARRIVED, origin, draw=checked)
    assert hit.reason == "checked"
    await semantic.observe(hit, WRONG, policy=BOUNDED)
    label = await CacheLabel.objects.filter(tenant=tenant).alatest("id")
    assert (label.is_repeat, label.source, label.is_wrong) == (True, "check", True)


async def test_each_question_counts_once_by_its_latest_verdict(origin: Origin) -> None:
    other = "My new card has not arrived, what do I do?"
    for question in (ARRIVED, other):
        await store(question, origin)
    for _ in range(20):
        await semantic.observe(await look(ARRIVED, origin), WRONG, policy=BOUNDED)
    await semantic.observe(await look(ARRIVED, origin), RIGHT, policy=BOUNDED)
    await semantic.observe(await look(other, origin), WRONG, policy=BOUNDED)
    scope = await learn(await look(STILL, origin), labels=STEP)
    assert (scope.repeats, scope.repeats_wrong, scope.noise_floor, scope.repeats_from) == (2, 1, None, "")


async def test_a_scope_knows_its_noise_from_its_repeats(origin: Origin) -> None:
    await store(ARRIVED, origin)
    lookup = await look(STILL, origin)
    scope = await learn(lookup)
    await known(scope, 100, wrong=12)
    scope = await learn(lookup)
    assert (scope.repeats, scope.repeats_wrong, scope.repeats_from) == (100, 12, "scope")
    assert scope.noise_floor == pytest.approx(lower_limit(12, 100))


async def test_what_the_judge_gets_wrong_by_itself_no_longer_keeps_a_scope_closed(
    origin: Origin, outsider: Tenant
) -> None:
    """Two scopes with the same labels, one in seven wrong; of one it is known that its judge errs as often."""
    scopes = []
    for place in (origin, origin_of(outsider)):
        await store(ARRIVED, place)
        lookup = await look(STILL, place)
        scope = await learn(lookup, labels=5)
        if place is origin:
            await known(scope, 400, wrong=72)
        scopes.append(await learn(lookup, labels=295, wrong=40))
    told, untold = scopes
    assert untold.threshold is None
    assert told.threshold is not None
    assert told.error_rate_upper is not None
    assert told.error_rate_upper <= BOUNDED.max_error_rate


async def test_a_young_scope_has_the_noise_of_its_route(origin: Origin, tenant: Tenant) -> None:
    await store(ARRIVED, origin)
    await known(await learn(await look(STILL, origin)), ENOUGH, wrong=10)
    young = replace(origin, circle="user:alice")
    other_route = replace(young, route="gpt-4o")
    for place in (young, other_route):
        await store(ARRIVED, place)
    found = await learn(await look(STILL, young))
    assert (found.repeats, found.repeats_wrong, found.repeats_from) == (ENOUGH, 10, "route")
    assert found.noise_floor
    elsewhere = await learn(await look(STILL, other_route))
    assert (elsewhere.repeats, elsewhere.noise_floor) == (0, None)


async def test_no_tenant_learns_of_anothers_judge(origin: Origin, outsider: Tenant) -> None:
    await store(ARRIVED, origin)
    await known(await learn(await look(STILL, origin)), ENOUGH, wrong=10)
    theirs = origin_of(outsider)
    await store(ARRIVED, theirs)
    assert (await learn(await look(STILL, theirs))).noise_floor is None


async def test_an_exact_hit_asked_again_is_no_evidence_for_the_threshold(
    origin: Origin, tenant: Tenant
) -> None:
    await store(ARRIVED, origin)
    lookup = await look(STILL, origin)
    again = replace(await look(ARRIVED, origin, refresh=True), reason=ASKED_AGAIN)
    for _ in range(30):
        await semantic.observe(again, WRONG, policy=BOUNDED)
    label = await CacheLabel.objects.filter(tenant=tenant).alatest("id")
    assert (label.source, label.is_repeat, label.evidence) == ("repeat", True, None)
    scope = await learn(lookup, labels=100)
    assert scope.threshold is not None  # thirty wrong ones among them would have kept it closed
    assert (scope.repeats, scope.error_rate) == (1, 0)


async def test_questions_of_random_words_are_repeats_only_of_themselves(
    origin: Origin, tenant: Tenant
) -> None:
    draw = random.Random(3)
    questions = [f"How do I {verb} my {thing}?" for verb in ("block", "order") for thing in ("card", "PIN")]
    for question in questions:
        await store(question, origin)
    asked = [draw.choice([*questions, *(each.lower() for each in questions)]) for _ in range(20)]
    for question in asked:
        await semantic.observe(await look(question, origin), RIGHT, policy=BOUNDED)
    labels = [label async for label in CacheLabel.objects.filter(tenant=tenant).order_by("id")]
    stored = {entry.pk: entry.question async for entry in CacheEntry.objects.filter(tenant=tenant)}
    assert [label.is_repeat for label in labels] == [question in questions for question in asked]
    assert all(
        stored[label.entry_id] == question
        for label, question in zip(labels, asked, strict=True)
        if label.is_repeat
    )
