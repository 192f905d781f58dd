"""The simulated month of deferred calls: every job is answered, on a clock that is an argument."""

from collections import Counter

import pytest

from benchmarks.deferred.comparing import result_of, table
from benchmarks.deferred.month import Month, clairvoyant_cost
from benchmarks.deferred.providers import HOUR, PROVIDERS, Provider


def month(name: str, *, jobs_a_day: float = 40, seed: int = 1) -> Month:
    (provider,) = (one for one in PROVIDERS if one.name == name)
    return Month(provider, jobs_a_day, seed).run()


def test_it_works() -> None:
    run = month("published")
    assert not run.waiting
    assert all(job.answered_at > job.at and job.cost > 0 for job in run.jobs)
    result = result_of(run)
    assert 0.25 < result.saving <= result.clairvoyant < 0.5
    assert result.missed.share <= 0.02
    assert abs(result.late.share - result.late_stated) < 0.08
    assert "published" in table([result])


def test_equal_seeds_give_equal_months() -> None:
    first, second, other = (month("flex", seed=seed) for seed in (1, 1, 2))
    assert [(job.at, job.answered_at) for job in first.jobs] == [
        (job.at, job.answered_at) for job in second.jobs
    ]
    assert len(first.jobs) != len(other.jobs)


def test_a_provider_takes_as_long_whoever_asks() -> None:
    provider = PROVIDERS[0]
    assert provider.batch(100.0) == provider.batch(101.0) != provider.batch(140.0)
    assert provider.online(3) == provider.online(3) != provider.online(4)


def test_a_clairvoyant_pays_no_more_than_the_product() -> None:
    run = month("quick")
    in_time = [job for job in run.jobs if not job.is_missed]
    assert sum(clairvoyant_cost(run, job) for job in in_time) <= sum(job.cost for job in in_time)


@pytest.mark.parametrize(("median", "lane"), [(60.0, "batch"), (200 * HOUR, "online")])
def test_a_lane_that_never_makes_it_is_learnt_to_be_left(median: float, lane: str) -> None:
    run = Month(Provider("one", "one", median, 0.2), 100, 1).run()
    late = Counter(job.offer.lane for job in run.jobs[-500:] if job.seconds <= 2 * HOUR)
    assert late[lane] > 0.7 * late.total()
