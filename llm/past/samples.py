"""Which hours of a tenant's log are read for a question about a long time: all, or every n-th where there were too many requests.

Invariant: whatever a tenant's traffic, a question reads about `MOST_REQUESTS` rows. What is read of a part is said to be about.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import connection
from django.db.models import Sum
from django.utils.timezone import now

from billing.prices.savings import OUR_OWN
from llm.models import RequestDay

MOST_REQUESTS: Final = 100_000
DAYS: Final = 30
# no divisor of a day or a week, so that every hour of both is met
STEPS: Final = (1, 5, 11, 23, 47, 97, 197, 397)
HOUR: Final = timedelta(hours=1)
# `{columns}` of the sampled hours' requests, each hour found by the tenant's index
READ: Final = """
SELECT {columns}
FROM unnest(%(starts)s::timestamptz[], %(ends)s::timestamptz[]) AS hour (first, until)
CROSS JOIN LATERAL (
    SELECT * FROM llm_requestlog
    WHERE tenant_id = %(tenant)s AND at >= hour.first AND at < hour.until AND NOT cache_state = ANY (%(own)s)
) AS log
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """Some hours of a time, every `every`-th of them. `requests` is about how many they have."""

    tenant_id: int
    first: datetime
    until: datetime
    every: int
    requests: int

    @property
    def is_whole(self) -> bool:
        return self.every == 1

    @property
    def spans(self) -> list[tuple[datetime, datetime]]:
        """The hours, in their order; the whole time is one."""
        if self.is_whole:
            return [(self.first, self.until)]
        hours = int((self.until - self.first) / HOUR) + 1
        starts = [self.first + number * HOUR for number in range(0, hours, self.every)]
        return [(start, min(start + HOUR, self.until)) for start in starts if start < self.until]

    @property
    def basis(self) -> str:
        """What was read, in words."""
        if self.is_whole:
            return "every request in the log"
        return (
            f"about: every {self.every}th hour of the log was read, and the figures taken times {self.every}"
        )


def last_days(tenant_id: int, *, most: int = MOST_REQUESTS, until: datetime | None = None) -> Sample:
    """The last thirty days, or as much of them as may be read."""
    until = until or now()
    first = (until - timedelta(days=DAYS)).replace(minute=0, second=0, microsecond=0)
    days = RequestDay.objects.filter(tenant_id=tenant_id, day__gte=first.date(), day__lte=until.date())
    counted = days.exclude(measure=RequestDay.Measure.FIRST_TOKEN).aggregate(total=Sum("requests"))
    total = counted["total"] or 0
    every = next((step for step in STEPS if total <= step * most), STEPS[-1])
    return Sample(tenant_id, first, until, every, total // every)


def ask(sample: Sample, columns: str, **arguments: Any) -> tuple[Any, ...]:
    """One row of aggregates of the requests of a sample, our own calls left out."""
    with connection.cursor() as cursor:
        cursor.execute(READ.format(columns=columns), arguments_of(sample) | arguments)
        row: tuple[Any, ...] = cursor.fetchone()
    return row


def arguments_of(sample: Sample, *, warm_up: timedelta = timedelta()) -> dict[str, Any]:
    """What `READ` is asked with. `warm_up` is read before each hour, for what depends on the time before."""
    return {
        "tenant": sample.tenant_id,
        "starts": [first - warm_up for first, _ in sample.spans],
        "ends": [until for _, until in sample.spans],
        "own": sorted(OUR_OWN),
    }
