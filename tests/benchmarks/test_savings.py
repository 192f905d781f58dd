"""The workload of `make bench-savings`, how its answers are judged, and how sure its figures are; with texts of its own."""

import json
from collections import Counter

import pytest

from benchmarks.savings import bodies, bounds, quality, sending, steps, workload
from benchmarks.savings.sending import Reply, reply_of
from benchmarks.savings.texts import Passage, Question, Texts, by_need, labelled
from benchmarks.savings.workload import Ask
from llm.tokens import counting

TIERS = steps.MARKETS[0].models


def made_texts(size: int = 400) -> Texts:
    """Half of the pairs are equal, half only look alike."""
    pairs = labelled(
        {"a": f"How do I use thing {number}?", "b": f"Thing {number}, how is it used?", "label": number % 2}
        for number in range(size)
    )
    moderate = [Question(f"Why is {number} so?", "why", 1.0, 1.0) for number in range(size)]
    complex_ = [Question(f"Prove that {number} is so.", "proof", 1.0, 0.0) for number in range(size)]
    passages = [
        Passage(f"Title {number}", f"The {number}th passage says a lot. " * 20) for number in range(80)
    ]
    return Texts(pairs, moderate, complex_, passages)


@pytest.fixture(scope="module")
def asks() -> list[Ask]:
    return workload.day(made_texts(), requests=200, seed=3)


def test_it_works(asks: list[Ask]) -> None:
    assert Counter((ask.kind, ask.novelty) for ask in asks) == {
        ("simple", "new"): 72, ("simple", "repeated"): 24, ("simple", "reworded"): 24,
        ("moderate", "new"): 36, ("moderate", "repeated"): 12, ("moderate", "reworded"): 12,
        ("complex", "new"): 12, ("complex", "repeated"): 4, ("complex", "reworded"): 4,
    }  # fmt: skip
    assert Counter(ask.kind for ask in asks if ask.may_wait) == {"simple": 40, "moderate": 20, "complex": 7}


def test_equal_seeds_give_equal_days(asks: list[Ask]) -> None:
    assert workload.day(made_texts(), requests=200, seed=3) == asks
    assert workload.day(made_texts(), requests=200, seed=4) != asks


def test_what_is_new_is_new_and_comes_before_what_repeats_it(asks: list[Ask]) -> None:
    seen: dict[int, Ask] = {}
    for ask in asks:
        if ask.novelty == "new":
            assert ask.answer not in seen
            assert ask.question not in {one.question for one in seen.values()}
            seen[ask.answer] = ask
        else:
            original = seen[ask.answer]
            assert (ask.question == original.question) is (ask.novelty == "repeated")
            assert (ask.kind, ask.records) == (original.kind, original.records)


def test_too_few_texts_are_said() -> None:
    with pytest.raises(workload.TooFewTexts, match="not enough"):
        workload.day(made_texts(size=20), requests=200, seed=1)


def test_labels_of_equality_join_over_several_pairs() -> None:
    rows = [("a", "b", 1), ("b", "c", 1), ("c", "d", 0)]
    first, second, third = labelled({"a": a, "b": b, "label": label} for a, b, label in rows)
    assert first.first_class == first.second_class == second.second_class == third.first_class
    assert third.second_class == "d"


def test_a_subject_is_complex_by_its_published_gap() -> None:
    easy = [Question(f"easy {number}", "easy", 1.0, 1.0) for number in range(3)]
    hard = [Question("hard 1", "hard", 1.0, 0.0), Question("hard 2", "hard", 1.0, 1.0)]
    assert by_need([*easy, *hard]) == (easy, hard)


def test_requests_have_the_size_of_the_sources(asks: list[Ask]) -> None:
    texts = made_texts()
    applications = bodies.Applications(asks, texts.passages)
    tokens = [counting.count_chat(applications.body(ask), bodies.TOKENIZER) for ask in asks]
    assert sum(tokens) / len(tokens) == pytest.approx(bodies.INPUT_TOKENS, rel=0.02)
    answer = applications.answer(12)
    assert counting.count_text(answer, bodies.TOKENIZER) == pytest.approx(bodies.OUTPUT_TOKENS, rel=0.02)
    assert bodies.number_of(answer) == 12
    assert bodies.number_of("The short answer: 12.") == 0
    moderate = next(ask for ask in asks if ask.kind == "moderate")
    _, records, question = applications.body(moderate)["messages"]
    assert json.loads(records["content"].removeprefix("Records:\n"))[0]["rank"] == 1
    assert question["content"] == moderate.question


def test_compression_is_measured_by_the_products_own() -> None:
    ask = Ask("moderate", "new", "Why?", 1, records=tuple(made_texts().passages[:16]))
    applications = bodies.Applications([ask], made_texts().passages)
    found = quality.dropped([applications.body(ask)], model="gpt-4o-mini")
    assert (found.shortened, found.characters) == (1, 0)
    assert 0 < found.tokens < found.of_tokens / 5


def test_wrong_hits_and_lost_quality_are_counted_by_labels() -> None:
    outcomes = (1.0, 0.0)
    served = [
        (Ask("simple", "new", "a", 1), _reply(1, "miss", "gpt-4.1-nano")),
        (Ask("simple", "repeated", "a", 1), _reply(1, "exact", "gpt-4.1-nano")),
        (Ask("simple", "reworded", "b", 1), _reply(1, "semantic", "gpt-4.1-nano")),
        (Ask("simple", "new", "c", 2), _reply(1, "semantic", "gpt-4.1-nano")),
        (Ask("moderate", "new", "d", 3, outcomes=outcomes), _reply(3, "miss", "gpt-4-turbo")),
        (Ask("complex", "new", "e", 4, outcomes=outcomes), _reply(4, "miss", "gpt-4-turbo")),
        (Ask("complex", "new", "f", 5, outcomes=outcomes), _reply(5, "miss", "gpt-4o-mini")),
        (Ask("complex", "new", "g", 6, outcomes=outcomes), _reply(4, "semantic", "gpt-4-turbo")),
    ]
    found = quality.quality([ask for ask, _ in served], [reply for _, reply in served], TIERS)
    assert (found.wrong_exact.count, found.wrong_exact.of) == (0, 1)
    assert (found.wrong_semantic.count, found.wrong_semantic.of) == (2, 3)
    assert (found.wrong_of_all.count, found.wrong_of_all.of) == (2, 8)
    assert (found.reworded_hits.count, found.reworded_hits.of) == (1, 1)
    assert (found.under_served.count, found.under_served.of) == (1, 3)
    assert (found.over_served.count, found.over_served.of) == (1, 5)
    assert (found.correct_premium, found.correct_here, found.correct_weaker) == (1.0, 0.5, 0.0)
    assert found.loss.mean == 0.5
    assert found.loss_of_complex.mean == pytest.approx(2 / 3)


def _reply(answer: int, cache: str, model: str) -> Reply:
    return Reply(answer, cache, model, "", 0, 0)


def test_a_reply_is_read_from_the_purser_object() -> None:
    block = {
        "cache": "exact",
        "model": "gpt-4o-mini",
        "route": None,
        "tokens": {"prompt_before_compression": 9, "prompt_after_compression": 7},
    }
    text = "This is answer number 31. And so on"
    answer = {"choices": [{"message": {"content": text}}], "purser": block}
    assert reply_of(answer) == Reply(31, "exact", "gpt-4o-mini", "", 9, 7)
    with pytest.raises(SystemExit):
        reply_of({"choices": [{"message": {"content": "Sure."}}], "purser": block})


@pytest.mark.parametrize(
    ("count", "of", "low", "high"),  # scipy.stats.binomtest(count, of).proportion_ci(method="exact")
    [
        (0, 100, 0.0, 0.036217),
        (1, 50, 0.000506, 0.106470),
        (7, 20, 0.153909, 0.592189),
        (5, 5, 0.478176, 1.0),
    ],
)
def test_limits_of_a_share_are_exact(count: int, of: int, low: float, high: float) -> None:
    found = bounds.share(count, of)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-5), pytest.approx(high, abs=1e-5))


def test_of_nothing_every_share_is_possible() -> None:
    assert (bounds.share(0, 0).low, bounds.share(0, 0).high) == (0.0, 1.0)


def test_limits_of_a_mean() -> None:
    found = bounds.mean([0.0, 1.0, 0.0, 1.0])
    assert (found.mean, found.low, found.high) == (
        0.5,
        pytest.approx(-0.0658, abs=1e-3),
        pytest.approx(1.0658, abs=1e-3),
    )
    assert bounds.mean([]).of == 0


def test_the_answer_of_a_job_says_where_it_came_from() -> None:
    answer = {"choices": [{"message": {"content": bodies.Applications([], []).answer(7)}}]}
    line = {"model": "gpt-4o-mini", "tokens": {"input": 12, "output": 5}}
    job = {"response": answer | {"purser": line}}
    reply = sending.reply_of_job(job, {"gpt-4o-mini": "standard"})
    assert reply == sending.Reply(7, "miss", "gpt-4o-mini", "standard", 12, 12)


def test_each_step_switches_one_more_thing_on() -> None:
    market = steps.MARKETS[0]
    assert [step.model(market, "complex") for step in steps.STEPS] == [market.premium, *["auto"] * 6]
    assert steps.CHOICES[0].model(market, "moderate") == "auto:standard"
    policies = [step.policy_in(market) for step in steps.STEPS]
    assert {policy["routing"]["baseline_model"] for policy in policies} == {market.premium}
    assert [policy["cache"]["exact"] for policy in policies] == [False, False, *[True] * 5]
    assert [policy["cache"]["semantic"] for policy in policies] == ["off"] * 3 + ["bounded"] * 4
    assert [policy["compression"]["enabled"] for policy in policies] == [False] * 4 + [True] * 3
    assert [step.defers for step in steps.STEPS] == [False] * 6 + [True]
