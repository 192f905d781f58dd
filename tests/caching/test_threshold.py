"""The risk-controlled threshold: closed without evidence, and never beyond the bound."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caching.threshold import FLOOR, Label, _beta_cdf, find_threshold


def labels(count: int, *, similarity: float = 0.9, wrong: int = 0) -> list[Label]:
    return [Label(similarity, number < wrong) for number in range(count)]


def test_it_works() -> None:
    found = find_threshold(labels(200) + labels(200, similarity=0.75, wrong=100), max_error_rate=0.05)
    assert found.is_open
    assert found.similarity is not None
    assert 0.75 < found.similarity <= 0.9
    assert found.error_rate is not None
    assert found.error_rate_upper is not None
    assert found.error_rate <= found.error_rate_upper <= 0.05


def test_without_labels_it_is_closed() -> None:
    found = find_threshold([], max_error_rate=0.5)
    assert (found.similarity, found.error_rate, found.labels) == (None, None, 0)


@pytest.mark.parametrize(("bound", "needed"), [(0.05, 45), (0.02, 114), (0.01, 230)])
def test_a_bound_needs_its_number_of_faultless_labels(bound: float, needed: int) -> None:
    assert not find_threshold(labels(needed - 3), max_error_rate=bound).is_open
    assert find_threshold(labels(needed + 3), max_error_rate=bound).is_open


def test_wrong_answers_close_it() -> None:
    assert not find_threshold(labels(200, wrong=20), max_error_rate=0.05).is_open


def test_a_sampled_label_counts_for_those_it_stands_for() -> None:
    evidence = labels(200)
    assert find_threshold(evidence, max_error_rate=0.05).is_open
    assert not find_threshold([*evidence, Label(0.9, True, weight=20)], max_error_rate=0.05).is_open


def test_hostile_traffic_never_opens_it() -> None:
    generator = random.Random(1)
    evidence = [Label(generator.uniform(0.7, 1), generator.random() < 0.6) for _ in range(4000)]
    assert not find_threshold(evidence, max_error_rate=0.05).is_open


@given(
    st.lists(st.builds(Label, st.floats(0, 1), st.booleans(), st.sampled_from([1.0, 20.0])), max_size=300),
    st.floats(0.005, 0.3),
)
def test_an_open_threshold_always_keeps_the_bound_on_its_own_labels(
    evidence: list[Label], bound: float
) -> None:
    found = find_threshold(evidence, max_error_rate=bound)
    if found.similarity is None:
        return
    assert found.similarity >= FLOOR
    served = [label for label in evidence if label.similarity >= found.similarity]
    assert len(served) == found.labels
    wrong = sum(label.weight for label in served if label.is_wrong)
    assert wrong / sum(label.weight for label in served) <= bound


@pytest.mark.parametrize(
    ("x", "a", "b", "expected"),
    [(0.5, 1, 1, 0.5), (0.2, 2, 3, 0.1808), (0.9, 5, 1, 0.59049), (0.05, 1, 44, 0.895277), (0.3, 8, 10, 0.10461)],
)  # fmt: skip
def test_the_beta_distribution_has_the_known_values(x: float, a: float, b: float, expected: float) -> None:
    assert _beta_cdf(x, a, b) == pytest.approx(expected, abs=1e-4)
