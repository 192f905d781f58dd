"""Compares a month with what the product said when it took the jobs, and with a clairvoyant.

Invariant: pure; shares are of jobs, savings of the price in real time.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from benchmarks.deferred.month import Job, Month, clairvoyant_cost
from benchmarks.deferred.providers import HOUR
from benchmarks.savings.bounds import Share
from benchmarks.savings.bounds import share as share_of


@dataclass(frozen=True, slots=True)
class Result:
    """One month: shares of its jobs, and what they saved of the price in real time."""

    provider: str
    title: str
    jobs_a_day: int
    jobs: int
    batches: int
    lanes: dict[str, int]
    late: Share  # of those that took a cheap lane: it was late
    late_stated: float
    missed: Share
    missed_stated: float
    saving: float
    clairvoyant: float
    behind: float  # how far the saving is behind the clairvoyant's, as a share of it
    behind_of_hours: float  # the same of the jobs that can wait an hour or longer

    def to_json(self) -> dict[str, Any]:
        return {
            "provider": self.provider,
            "jobs_a_day": self.jobs_a_day,
            "jobs": self.jobs,
            "batches": self.batches,
            "lanes": self.lanes,
            "late": round(self.late.share, 4),
            "late_stated": round(self.late_stated, 4),
            "missed": self.missed.count,
            "missed_share": round(self.missed.share, 5),
            "missed_stated": round(self.missed_stated, 5),
            "saving": round(self.saving, 4),
            "clairvoyant_saving": round(self.clairvoyant, 4),
            "behind_clairvoyant": round(self.behind, 4),
            "behind_clairvoyant_of_an_hour_or_more": round(self.behind_of_hours, 4),
        }


def result_of(month: Month) -> Result:
    """What the month came to."""
    jobs = month.jobs
    cheap = [job for job in jobs if job.offer.lane != "online"]
    saving, clairvoyant = savings_of(month, jobs)
    of_hours = savings_of(month, [job for job in jobs if job.seconds >= HOUR])
    return Result(
        provider=month.provider.name,
        title=month.provider.title,
        jobs_a_day=round(month.jobs_a_day),
        jobs=len(jobs),
        batches=month.batches,
        lanes=dict(Counter(job.offer.lane for job in jobs)),
        late=share_of(sum(job.was_late for job in cheap), len(cheap)),
        late_stated=sum(job.offer.late for job in cheap) / len(cheap),
        missed=share_of(sum(job.is_missed for job in jobs), len(jobs)),
        missed_stated=sum(job.offer.missed for job in jobs) / len(jobs),
        saving=saving,
        clairvoyant=clairvoyant,
        behind=1 - saving / clairvoyant,
        behind_of_hours=1 - of_hours[0] / of_hours[1],
    )


def savings_of(month: Month, jobs: Sequence[Job]) -> tuple[float, float]:
    """What was saved of the price in real time, and what the clairvoyant saves."""
    online = month.costs["online"] * len(jobs)
    paid = sum((job.cost for job in jobs), Decimal(0))
    best = sum((clairvoyant_cost(month, job) for job in jobs), Decimal(0))
    return float(1 - paid / online), float(1 - best / online)


def table(results: list[Result]) -> str:
    """The report that people read."""
    lines = [
        "| provider | jobs a day | batches | late, stated | deadlines missed, stated | saved | clairvoyant | behind "
        "| behind, an hour or more |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.title} | {one.jobs_a_day:,} | {one.batches:,} | {one.late.share:.1%}, {one.late_stated:.1%} "
        f"| {one.missed.share:.2%}, {one.missed_stated:.2%} | {one.saving:.1%} | {one.clairvoyant:.1%} | {one.behind:.1%} "
        f"| {one.behind_of_hours:.1%} |"
        for one in results
    ]
    return "\n".join(lines)
