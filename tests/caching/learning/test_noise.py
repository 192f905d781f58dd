"""A judge that errs: what its verdicts on repeats prove, and the bound that holds all the same."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caching.learning import noise
from caching.learning.noise import ENOUGH, MOST, Repeats, estimate, lower_limit
from caching.scoring.threshold import Label, Threshold, find_threshold

# What a scope got before labels could be wrong: without noise nothing may change, to the last bit.
BEFORE = {
    (1, 0.02): (0.8411918495735765, 0.004328132863613487, 0.01672511175274849, 239),
    (2, 0.05): (0.6921629041828815, 0.03131461499448209, 0.04444434866309166, 466),
    (3, 0.1): (0.4543686785614901, 0.0801913501853653, 0.09435798041522503, 769),
}


def is_wrong(certainty: float, draw: random.Random) -> bool:
    """Wrong answers at a rate that falls with certainty."""
    return draw.random() < 0.5 * (1 - certainty) ** 1.5


def wrong_rate_from(certainty: float) -> float:
    """The true share of wrong answers at and above a certainty."""
    return 0.5 * (1 - certainty) ** 1.5 / 2.5


def judged(draw: random.Random, count: int, *, error_rate: float) -> list[Label]:
    """Labels of a judge that errs at random, either way."""
    labels = []
    for _ in range(count):
        certainty = draw.random()
        truth = is_wrong(certainty, draw)
        labels.append(Label(certainty, truth != (draw.random() < error_rate)))
    return labels


def repeats(draw: random.Random, count: int, *, error_rate: float) -> Repeats:
    return Repeats(count, sum(draw.random() < error_rate for _ in range(count)))


def test_it_works() -> None:
    found = estimate(Repeats(200, 20), Repeats())
    assert (found.source, found.repeats) == ("scope", Repeats(200, 20))
    assert found.floor is not None
    assert 0.06 < found.floor < 0.1  # less than what was seen: at least that much is proven
    assert found.used == found.floor


def test_few_repeats_prove_nothing() -> None:
    found = estimate(Repeats(ENOUGH - 1, 10), Repeats(ENOUGH - 1, 10))
    assert (found.floor, found.used, found.source) == (None, 0.0, "")


def test_a_young_scope_has_its_routes_noise() -> None:
    found = estimate(Repeats(3, 3), Repeats(400, 12))
    assert (found.source, found.repeats) == ("route", Repeats(400, 12))
    assert found.floor == lower_limit(12, 400)
    assert estimate(Repeats(ENOUGH, 0), Repeats(400, 12)).used == 0  # its own word counts once it has one


def test_a_judge_that_cannot_tell_at_all_excuses_little() -> None:
    assert estimate(Repeats(500, 400), Repeats()).floor == MOST < 0.25


@pytest.mark.parametrize(
    ("wrong", "of", "expected"),
    [(0, 50, 0.0), (1, 100, 0.000513), (5, 100, 0.019915), (20, 200, 0.067261), (10, 10, 0.741134)],
)
def test_the_lower_limit_has_the_known_values(wrong: int, of: int, expected: float) -> None:
    assert lower_limit(wrong, of) == pytest.approx(expected, abs=1e-5)


def test_the_lower_limit_is_passed_by_the_truth_in_one_of_twenty_scopes() -> None:
    draw = random.Random(7)
    seen = [repeats(draw, 150, error_rate=0.06) for _ in range(400)]
    above = sum(lower_limit(each.wrong, each.count) > 0.06 for each in seen)
    assert above <= 400 * (1 - noise.CONFIDENCE) * 1.5


@pytest.mark.parametrize(("seed", "bound"), BEFORE)
def test_without_noise_nothing_changes(seed: int, bound: float) -> None:
    draw = random.Random(seed)
    labels = []
    for _ in range(1_500):
        certainty = draw.random()
        labels.append(Label(certainty, is_wrong(certainty, draw), draw.choice([1.0, 1.0, 20.0])))
    assert find_threshold(labels, max_error_rate=bound) == Threshold(*BEFORE[seed, bound])
    assert find_threshold(labels, max_error_rate=bound, noise=0.0) == Threshold(*BEFORE[seed, bound])


@pytest.mark.parametrize(("error_rate", "bound"), [(0.03, 0.02), (0.03, 0.05), (0.1, 0.05)])
def test_the_true_bound_is_kept_in_nine_of_ten_scopes_and_more_is_served(
    error_rate: float, bound: float
) -> None:
    broken = 0
    served = served_uncorrected = 0.0
    for seed in range(40):
        draw = random.Random(seed)
        labels = judged(draw, 3_000, error_rate=error_rate)
        seen = estimate(repeats(draw, 400, error_rate=error_rate), Repeats())
        found = find_threshold(labels, max_error_rate=bound, noise=seen.used)
        if found.certainty is not None:
            broken += wrong_rate_from(found.certainty) > bound
            served += 1 - found.certainty
        if (plain := find_threshold(labels, max_error_rate=bound).certainty) is not None:
            served_uncorrected += 1 - plain
    assert broken <= 4
    assert served > 1.5 * served_uncorrected
    assert served > 1  # of 40 scopes


def test_hostile_traffic_stays_closed_however_bad_its_judge() -> None:
    draw = random.Random(1)
    evidence = [Label(draw.uniform(0.7, 1), draw.random() < 0.6) for _ in range(4_000)]
    assert not find_threshold(evidence, max_error_rate=0.05, noise=MOST).is_open


def test_traffic_that_turns_closes_it_in_spite_of_the_noise() -> None:
    draw = random.Random(2)
    good = [Label(0.9, draw.random() < 0.1) for _ in range(2_000)]
    assert find_threshold(good, max_error_rate=0.03, noise=0.09).is_open
    turned = [Label(0.9, draw.random() < 0.9) for _ in range(40)]
    assert not find_threshold(good + turned, max_error_rate=0.03, noise=0.09).is_open


@given(
    st.lists(st.builds(Label, st.floats(0, 1), st.booleans(), st.sampled_from([1.0, 20.0])), max_size=200),
    st.floats(0.005, 0.3),
    st.floats(0, MOST),
    st.floats(0, MOST),
)
def test_more_noise_never_closes_and_what_is_told_keeps_the_bound(
    evidence: list[Label], bound: float, one: float, other: float
) -> None:
    little, much = sorted((one, other))
    strict = find_threshold(evidence, max_error_rate=bound, noise=little)
    loose = find_threshold(evidence, max_error_rate=bound, noise=much)
    if strict.certainty is not None:
        assert loose.certainty is not None
        assert loose.certainty <= strict.certainty
    if loose.certainty is not None:
        assert loose.error_rate is not None
        assert loose.error_rate_upper is not None
        assert 0 <= loose.error_rate <= loose.error_rate_upper <= bound + 1e-6
