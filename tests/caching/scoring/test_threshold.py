"""The risk-controlled threshold: closed without evidence, and never beyond the bound."""

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caching.scoring.threshold import Label, beta_cdf, find_threshold

BETA_OF_SCIPY = Path(__file__).parent / "beta_of_scipy.csv"


def labels(count: int, *, certainty: float = 0.9, wrong: int = 0) -> list[Label]:
    return [Label(certainty, number < wrong) for number in range(count)]


def test_it_works() -> None:
    found = find_threshold(labels(200) + labels(200, certainty=0.75, wrong=100), max_error_rate=0.05)
    assert found.is_open
    assert found.certainty is not None
    assert 0.75 < found.certainty <= 0.9
    assert found.error_rate is not None
    assert found.error_rate_upper is not None
    assert found.error_rate <= found.error_rate_upper <= 0.05


def test_without_labels_it_is_closed() -> None:
    found = find_threshold([], max_error_rate=0.5)
    assert (found.certainty, found.error_rate, found.labels) == (None, None, 0)


@pytest.mark.parametrize(("bound", "needed"), [(0.05, 45), (0.02, 114), (0.01, 230)])
def test_a_bound_needs_its_number_of_faultless_labels(bound: float, needed: int) -> None:
    assert not find_threshold(labels(needed - 3), max_error_rate=bound).is_open
    assert find_threshold(labels(needed + 3), max_error_rate=bound).is_open


def test_wrong_answers_close_it() -> None:
    assert not find_threshold(labels(200, wrong=20), max_error_rate=0.05).is_open


def test_weights_say_how_many_requests_stand_behind_a_certainty() -> None:
    """One label in thirty is wrong, but they are where most of the requests are."""
    sure = [Label(0.95, False) for _ in range(200)]
    checked = [Label(0.85, number < 8, weight=20) for number in range(40)]
    found = find_threshold(checked + sure, max_error_rate=0.05)
    assert found.certainty == 0.95
    unweighted = [Label(each.certainty, each.is_wrong) for each in checked]
    assert find_threshold(unweighted + sure * 10, max_error_rate=0.05).certainty == 0.85


def test_a_few_checks_do_not_drown_what_was_known_before() -> None:
    known = labels(200)
    assert find_threshold([*known, *[Label(0.9, False, weight=20)] * 5], max_error_rate=0.05).is_open


def test_newest_labels_close_what_the_window_would_keep_open() -> None:
    good = labels(2_000)
    assert find_threshold(good, max_error_rate=0.03).is_open
    turned = [Label(0.9, number % 2 == 0) for number in range(14)]
    assert sum(label.is_wrong for label in good + turned) / len(good + turned) < 0.01
    assert not find_threshold(good + turned, max_error_rate=0.03).is_open


@pytest.mark.parametrize("bound", [0.02, 0.03, 0.05])
def test_on_random_traffic_the_bound_is_kept_in_nine_of_ten_scopes(bound: float) -> None:
    """Scores that tell little, wrong answers at a rate that falls with certainty: what is opened is within the bound."""
    broken = opened = 0
    for seed in range(40):
        draw = random.Random(seed)

        def label(draw: random.Random = draw) -> Label:
            certainty = draw.random()
            return Label(certainty, draw.random() < 0.5 * (1 - certainty) ** 1.5)

        found = find_threshold([label() for _ in range(1_500)], max_error_rate=bound)
        if found.certainty is not None:
            opened += 1
            spread = 1 - found.certainty
            broken += 0.5 * spread**1.5 / 2.5 > bound
    assert opened >= 20
    assert broken <= 4


def test_hostile_traffic_never_opens_it() -> None:
    generator = random.Random(1)
    evidence = [Label(generator.uniform(0.7, 1), generator.random() < 0.6) for _ in range(4000)]
    assert not find_threshold(evidence, max_error_rate=0.05).is_open


@given(
    st.lists(st.builds(Label, st.floats(1e-9, 1), st.booleans(), st.sampled_from([1.0, 20.0])), max_size=300),
    st.floats(0.005, 0.3),
)
def test_an_open_threshold_always_keeps_the_bound_on_its_own_labels(
    evidence: list[Label], bound: float
) -> None:
    found = find_threshold(evidence, max_error_rate=bound)
    if found.certainty is None:
        return
    served = [label for label in evidence if label.certainty >= found.certainty]
    assert len(served) == found.labels
    assert found.error_rate is not None
    assert found.error_rate_upper is not None
    assert found.error_rate <= found.error_rate_upper <= bound + 1e-6


@pytest.mark.parametrize(
    ("x", "a", "b", "expected"),
    [(0.5, 1, 1, 0.5), (0.2, 2, 3, 0.1808), (0.9, 5, 1, 0.59049), (0.05, 1, 44, 0.895277), (0.3, 8, 10, 0.10461)],
)  # fmt: skip
def test_the_beta_distribution_has_the_known_values(x: float, a: float, b: float, expected: float) -> None:
    assert beta_cdf(x, a, b) == pytest.approx(expected, abs=1e-4)


def test_the_beta_distribution_is_that_of_scipy() -> None:
    """The table says which version of scipy it was computed with, and by which call."""
    rows = [line.split(",") for line in BETA_OF_SCIPY.read_text().splitlines()[2:]]
    assert len(rows) > 90
    for x, a, b, expected in rows:
        assert beta_cdf(float(x), float(a), float(b)) == pytest.approx(float(expected), abs=1e-11), (x, a, b)
