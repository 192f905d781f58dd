"""Lists that only ever grow, newest first: what a page shows is found in the last days, and no further.

Invariant: a list without a chosen time reads about `MOST_READ` rows at most, the newest. Where that is less than there is and the
page might differ, it says since when it looked. The days' sums say how far back so many rows reach, and of a day with many
rows how short a time of it is enough.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, ClassVar, Final

from django.contrib import messages
from django.db.models import Count, F, QuerySet, Sum
from django.http import HttpRequest
from django.utils.timezone import now

from billing.models import UsageSum
from tenants.admin.access import ReadOnlyAdmin, tenants_of
from tenants.admin.columns import AlignedChangeList

MOST_DAYS: Final = 400
MOST_READ: Final = 1_000_000
TRIED: Final = (10_000, 100_000)  # rows in which a page may be full already
MANY: Final = 10_000  # rows of a day that are not all sorted for one page
SPARE: Final = 10  # times the rows of a page are looked for: a day is not even
DAY: Final = timedelta(days=1)
# at least so many rows a day: of the ledger, of attempts, of the days' sums
RECORDS: Final = Sum("requests")
ATTEMPTS: Final = Sum(F("requests") - F("hits"))
DAYS: Final = Count("pk")
OF_TENANT: Final = "tenant__id__exact"
Days = Sequence[tuple[date, int]]  # newest first, how many rows each has


class NewestChangeList(AlignedChangeList):
    """The list, from the day on that its page reaches back to."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        rows = self.narrowed(request, super().get_queryset(request, exclude_parameters))
        if self.is_found_by_index() or self.has_chosen_time():
            return rows
        days = self.rows_by_day(request)
        wanted = self.page_num * self.list_per_page + 1
        if self.is_narrowed() or "o" in self.params:
            return self._newest(request, rows, days, wanted)
        begin = self._moment(rows, days, wanted)
        return (
            rows.filter(**{f"{self.time_column}__gte": begin})
            if begin
            else self._since(rows, first_day(days, rows=wanted))
        )

    def narrowed(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any]:
        """The rows that filters of the page's own leave."""
        return rows

    def is_found_by_index(self) -> bool:
        """Whether an id is looked for."""
        return bool(self.query)

    def has_chosen_time(self) -> bool:
        """Whether a time is chosen, which bounds what is read."""
        return any(name.startswith(f"{self.time_column}_") for name in self.params)

    def is_narrowed(self) -> bool:
        """Whether only some of the rows are wanted, so that their number in a day is not known."""
        return bool(self.get_filters_params())

    def rows_by_day(self, request: HttpRequest) -> Days:
        """How many rows the tenants that this person sees have, by day."""
        tenants = tenants_of(request)
        if chosen := str(self.params.get(OF_TENANT, "")):
            tenants = tenants.filter(pk=chosen) if chosen.isdecimal() else tenants.none()
        sums = UsageSum.objects.filter(dimension=UsageSum.Dimension.TOTAL, tenant__in=tenants)
        counted = sums.order_by("-day").values_list("day").annotate(count=self.model_admin.rows_of_day)
        return list(counted[:MOST_DAYS])

    @property
    def time_column(self) -> str:
        return str(self.model_admin.newest_by)

    def _newest(self, request: HttpRequest, rows: QuerySet[Any], days: Days, wanted: int) -> QuerySet[Any]:
        """The rows that are wanted, in as few of the newest as fill the page."""
        bound = first_day(days, rows=MOST_READ)
        for read in () if "o" in self.params else TRIED:
            first = first_day(days, rows=read)
            if first is None or first == bound:
                break
            found = self._since(rows, first)
            if found.order_by().count() >= wanted:
                return found
        if bound is not None:
            messages.info(
                request,
                f"Looked through the newest {MOST_READ:,} rows or so, since {bound:%Y-%m-%d} UTC. Choose a time to look"
                " further back.",
            )
        return self._since(rows, bound)

    def _moment(self, rows: QuerySet[Any], days: Days, wanted: int) -> datetime | None:
        """Since when the page is full for sure, within a last day of many rows; None if that is not known."""
        if self.time_column == "day" or not days or days[0][1] < MANY:
            return None
        day, count = date.fromisoformat(str(days[0][0])), days[0][1]
        starts_at = datetime.combine(day, time(), UTC)
        ends_at = min(now(), starts_at + DAY)
        begin = ends_at - (ends_at - starts_at) * min(wanted * SPARE / count, 1)
        later = rows.filter(**{f"{self.time_column}__gte": begin}).order_by()[:wanted]
        return begin if later.count() >= wanted else None

    def _since(self, rows: QuerySet[Any], first: date | None) -> QuerySet[Any]:
        if first is None:
            return rows
        begin: Any = first if self.time_column == "day" else datetime.combine(first, time(), UTC)
        return rows.filter(**{f"{self.time_column}__gte": begin})


class NewestAdmin(ReadOnlyAdmin):
    """Pages of such a table: the column of its time, and how many rows a day has at least."""

    newest_by: ClassVar[str] = "occurred_at"
    rows_of_day: ClassVar[Any] = RECORDS

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[NewestChangeList]:
        return NewestChangeList


def first_day(days: Days, *, rows: int) -> date | None:
    """The last day since which there are so many rows; None if there are not so many, or it is not known."""
    found = 0
    for day, count in days:
        found += count
        if found >= rows:
            return date.fromisoformat(str(day))
    return None
