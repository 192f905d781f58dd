"""Who has the word on an answer: the rules, the vectors, and a judge where those leave doubt."""

import pytest

from caching.decision import Lookup
from caching.eligibility import Traits
from caching.learning.agreement import CLEARLY_DIFFERENT_BELOW, CLEARLY_SAME_FROM, SAME_FROM
from caching.learning.judging import MOST_MEANINGS_COMPARED, Judge, judge_candidates
from caching.models import CacheEntry, CacheLabel
from caching.scope import AnswerScope, Origin
from caching.semantic import cache as semantic
from tenants.models import Tenant
from tests.caching.material import BOUNDED, answer, ask

pytestmark = pytest.mark.usefixtures("orm_thread")

QUESTION = "How do I activate my new card?"
NEAR = (
    "How can I activate my new card?",
    "How do I activate my new bank card?",
    "How do I activate a new card?",
)
ACTIVATE = "You can activate your new card in the app under Cards."
# nearer than many right answers, and wrong all the same
ORDER = "You can order a new card in the app under Cards."
WAIT, WAIT_IN_OTHER_WORDS = (
    "Wait ten days, then order a new card.",
    "Please be patient for ten days before you order another card.",
)
POLICE = "Call the police at once."


class Court:
    """A judge that always says the same and knows what it was asked."""

    def __init__(self, verdict: bool | None) -> None:
        self.verdict = verdict
        self.asked: list[tuple[str, str, str]] = []

    async def __call__(self, scope: AnswerScope, fresh: str, cached: str) -> bool | None:
        self.asked.append((scope.question, fresh, cached))
        return self.verdict


async def look(question: str, origin: Origin) -> Lookup:
    return await semantic.look_up(ask(question), origin=origin, policy=BOUNDED, traits=Traits())


async def stored(origin: Origin, *texts: str) -> Lookup:
    """A look-up of the question in a scope that has these answers, to questions near it."""
    for question, text in zip(NEAR, texts, strict=False):
        lookup = await look(question, origin)
        assert await semantic.remember(lookup, answer(text), policy=BOUNDED)
    return await look(QUESTION, origin)


async def verdict_of(lookup: Lookup, fresh: str, judge: Judge | None = None) -> tuple[bool, str]:
    assert lookup.best is not None
    verdict = (await judge_candidates(lookup, fresh, judge=judge))[lookup.best.entry_id]
    return verdict.is_wrong, verdict.rule


async def test_it_works(origin: Origin) -> None:
    court = Court(False)
    assert await verdict_of(await stored(origin, ORDER), ACTIVATE, court) == (True, "judge")
    assert court.asked == [(QUESTION, ACTIVATE, ORDER)]


@pytest.mark.parametrize(
    ("cached", "fresh", "expected"), [(ORDER, ACTIVATE, False), (WAIT, WAIT_IN_OTHER_WORDS, True)]
)
async def test_without_a_judge_the_single_cut_decides(
    origin: Origin, cached: str, fresh: str, expected: bool
) -> None:
    assert SAME_FROM == 0.85
    assert await verdict_of(await stored(origin, cached), fresh) == (expected, "meaning")


async def test_a_judge_may_find_different_words_to_be_the_same(origin: Origin) -> None:
    assert await verdict_of(await stored(origin, WAIT), WAIT_IN_OTHER_WORDS, Court(True)) == (False, "judge")


@pytest.mark.parametrize(
    ("cached", "fresh", "expected"), [(ORDER, ACTIVATE, False), (WAIT, WAIT_IN_OTHER_WORDS, True)]
)
async def test_no_clear_answer_leaves_what_the_vectors_say(
    origin: Origin, cached: str, fresh: str, expected: bool
) -> None:
    court = Court(None)
    assert await verdict_of(await stored(origin, cached), fresh, court) == (expected, "meaning")
    assert len(court.asked) == 1


@pytest.mark.parametrize(
    ("cached", "fresh", "rule"),
    [
        (WAIT, f"  {WAIT.upper()} ", "same_words"),
        (WAIT, "I'm sorry, I cannot help with that.", "one_refuses"),
        ("Wait 10 days, then order a new card.", "Wait 12 days, then order a new card.", "numbers"),
        (WAIT, POLICE, "meaning"),
        (WAIT, "Wait ten days, then order a new card!", "meaning"),
    ],
)
async def test_nobody_asks_a_judge_what_is_clear(origin: Origin, cached: str, fresh: str, rule: str) -> None:
    court = Court(False)
    assert (await verdict_of(await stored(origin, cached), fresh, court))[1] == rule
    assert court.asked == []


async def test_of_answers_too_long_to_embed_whole_nothing_is_clear(origin: Origin) -> None:
    """Only their ends differ, which no vector has seen."""
    long = "Open the app and look under Cards. " * 60
    court = Court(False)
    lookup = await stored(origin, f"{long} Then activate it.")
    assert await verdict_of(lookup, f"{long} Then block it.", court) == (True, "judge")
    assert await verdict_of(lookup, f"{long} Then block it.") == (False, "meaning")


async def test_answers_of_one_group_are_put_to_the_judge_once(origin: Origin, tenant: Tenant) -> None:
    lookup = await stored(origin, ORDER, ORDER, ORDER)
    court = Court(False)
    verdicts = await judge_candidates(lookup, ACTIVATE, judge=court)
    assert [each.rule for each in verdicts.values()] == ["judge"] * 3
    assert len(court.asked) == 1


async def test_only_a_few_answers_of_a_look_up_are_put_to_the_judge(origin: Origin) -> None:
    texts = [
        f"You can {verb} a new card in the app under Cards."
        for verb in ("order", "see", "buy", "get", "find")
    ]
    for number, text in enumerate(texts):
        lookup = await look(f"How do I activate my {'very ' * number}new card?", origin)
        assert await semantic.remember(lookup, answer(text), policy=BOUNDED)
    court = Court(True)
    await judge_candidates(await look("How do I activate our new card?", origin), ACTIVATE, judge=court)
    assert len(court.asked) == MOST_MEANINGS_COMPARED


async def test_the_judges_verdict_is_the_label_and_founds_the_group(origin: Origin, tenant: Tenant) -> None:
    lookup = await stored(origin, WAIT)
    group = await semantic.observe(lookup, WAIT_IN_OTHER_WORDS, policy=BOUNDED, judge=Court(True))
    label = await CacheLabel.objects.aget(tenant=tenant)
    assert (label.is_wrong, label.verdict) == (False, "judge")
    assert group == bytes((await CacheEntry.objects.aget(tenant=tenant)).answer_group)


def test_the_single_cut_lies_in_the_zone_of_doubt() -> None:
    assert CLEARLY_DIFFERENT_BELOW < SAME_FROM < CLEARLY_SAME_FROM
