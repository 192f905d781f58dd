"""Who may be served an entry: the key that stored it, and others once enough keys have got the same answer."""

from dataclasses import replace
from typing import Any

import pytest

from caching.eligibility import Traits
from caching.models import CacheEntry
from caching.scope import Asker, Origin
from caching.semantic import cache as semantic
from caching.semantic.cache import Lookup
from tenants.models import Tenant
from tenants.policy import CachePolicy
from tests.caching.material import STATIC, answer, ask

pytestmark = pytest.mark.usefixtures("orm_thread")

ARRIVED = "My card has not arrived, what do I do?"
STILL = "My card still has not arrived. What should I do?"
AUTHOR, SECOND, THIRD = Asker(7), Asker(8), Asker(9)
ALICE, BOB, CAROL = Asker(7, "alice"), Asker(7, "bob"), Asker(7, "carol")  # of one key


async def look(text: str, origin: Origin, asker: Asker, policy: CachePolicy = STATIC) -> Lookup:
    return await semantic.look_up(ask(text), origin=origin, policy=policy, traits=Traits(), asker=asker)


async def answered(text: str, origin: Origin, asker: Asker, said: str, **policy: Any) -> Lookup:
    """A whole call: look up, and if nothing is served, learn from the fresh answer and keep it."""
    chosen = replace(STATIC, **policy)
    found = await look(text, origin, asker, chosen)
    if not found.is_hit:
        await semantic.observe(found, said, policy=chosen, asker=asker)
        assert await semantic.remember(found, answer(said), policy=chosen, asker=asker)
    return found


async def test_an_entry_is_its_authors_own_until_another_key_gets_the_same_answer(origin: Origin) -> None:
    await answered(ARRIVED, origin, AUTHOR, "Wait.")
    assert (await look(STILL, origin, AUTHOR)).is_hit
    second = await answered(STILL, origin, SECOND, "Wait.")
    assert (second.outcome, second.reason, second.answer) == ("miss", "unconfirmed", None)
    assert (await look(ARRIVED, origin, THIRD)).is_hit


async def test_a_planted_answer_is_served_to_nobody_else(origin: Origin) -> None:
    await answered(ARRIVED, origin, AUTHOR, "Call this number: 0900 666.")
    for asker in (SECOND, THIRD):
        assert (await look(ARRIVED, origin, asker)).reason == "unconfirmed"
        assert not (await answered(STILL, origin, asker, f"Wait {asker.key_id} days.")).is_hit
    # the same question put again by another key takes the entry over, and is that key's alone
    await answered(ARRIVED, origin, SECOND, "Wait 8 days.")
    assert (await look(ARRIVED, origin, AUTHOR)).reason == "unconfirmed"


async def test_a_confirmed_entry_stays_confirmed_when_one_of_its_keys_refreshes_it(
    origin: Origin, tenant: Tenant
) -> None:
    await answered(ARRIVED, origin, AUTHOR, "Wait.")
    await answered(ARRIVED, origin, SECOND, "Wait.")
    entry = await CacheEntry.objects.aget(tenant=tenant)
    assert (entry.key_id, entry.confirmed_by) == (AUTHOR.key_id, [SECOND.key_id])
    await semantic.remember(await look(ARRIVED, origin, SECOND), answer("Wait."), policy=STATIC, asker=SECOND)
    assert (await look(STILL, origin, THIRD)).is_hit


async def test_the_policy_says_how_many_keys_it_takes(origin: Origin) -> None:
    await answered(ARRIVED, origin, AUTHOR, "Wait.")
    assert (await look(STILL, origin, SECOND, replace(STATIC, confirm_keys=1))).is_hit
    careful = replace(STATIC, confirm_keys=3)
    await answered(ARRIVED, origin, SECOND, "Wait.", confirm_keys=3)
    assert (await look(STILL, origin, THIRD, careful)).reason == "unconfirmed"
    await answered(ARRIVED, origin, THIRD, "Wait.", confirm_keys=3)
    assert (await look(STILL, origin, Asker(10), careful)).is_hit


async def test_confirming_twice_counts_once(origin: Origin, tenant: Tenant) -> None:
    await answered(ARRIVED, origin, AUTHOR, "Wait.")
    for _ in range(3):
        found = await look(STILL, origin, SECOND)
        await semantic.observe(found, "Wait.", policy=STATIC, asker=SECOND)
    assert (await CacheEntry.objects.aget(tenant=tenant)).confirmed_by == [SECOND.key_id]


async def test_an_answer_of_one_end_user_is_served_to_another_once_both_have_got_it(origin: Origin) -> None:
    await answered(ARRIVED, origin, ALICE, "Wait.")
    assert (await look(STILL, origin, ALICE)).is_hit
    assert (await answered(STILL, origin, BOB, "Wait.")).reason == "unconfirmed"
    assert (await look(ARRIVED, origin, CAROL)).is_hit


async def test_no_end_user_plants_an_answer_for_the_others_of_one_key(origin: Origin) -> None:
    await answered(ARRIVED, origin, ALICE, "Call this number: 0900 666.")
    for other in (BOB, CAROL, Asker(7)):
        assert (await look(STILL, origin, other)).reason == "unconfirmed"
    await answered(ARRIVED, origin, BOB, "Wait.")
    assert (await look(STILL, origin, CAROL)).reason == "unconfirmed"


async def test_a_key_that_invents_end_users_plants_nothing_for_another_key(origin: Origin) -> None:
    for invented in (ALICE, BOB, CAROL):
        await answered(ARRIVED, origin, invented, "Call this number: 0900 666.")
    assert (await look(STILL, origin, Asker(8, "dave"))).reason == "unconfirmed"


async def test_one_person_with_two_keys_is_one_end_user(origin: Origin, tenant: Tenant) -> None:
    await answered(ARRIVED, origin, ALICE, "Wait.")
    assert (await look(STILL, origin, Asker(8, "alice"))).is_hit
    assert len((await CacheEntry.objects.aget(tenant=tenant)).vouchers) == 1
