"""Lists that only ever grow, newest first: what a page shows is found in the last days, and no further.

Invariant: the rows of a page are the same as without this. The days' sums say how far back they reach at most; a list that is
searched, filtered or in another order is not touched.
"""

from datetime import UTC, date, datetime, time
from typing import Any, ClassVar, Final

from django.db.models import Count, F, QuerySet, Sum
from django.http import HttpRequest

from billing.models import UsageSum
from tenants.admin.access import ReadOnlyAdmin, tenants_of
from tenants.admin.columns import AlignedChangeList

MOST_DAYS: Final = 400
# at least so many rows a day: of the ledger, of attempts, of the days' sums
RECORDS: Final = Sum("requests")
ATTEMPTS: Final = Sum(F("requests") - F("hits"))
DAYS: Final = Count("pk")


class NewestChangeList(AlignedChangeList):
    """The list, from the day on that its page reaches back to."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request, exclude_parameters)
        if self.query or self.get_filters_params() or "o" in self.params:
            return rows
        wanted = self.page_num * self.list_per_page + 1
        first = first_day(request, rows=wanted, counted=self.model_admin.rows_of_day)
        if first is None:
            return rows
        column = self.model_admin.newest_by
        begin: Any = first if column == "day" else datetime.combine(first, time(), UTC)
        return rows.filter(**{f"{column}__gte": begin})


class NewestAdmin(ReadOnlyAdmin):
    """Pages of such a table: the column of its time, and how many rows a day has at least."""

    newest_by: ClassVar[str] = "occurred_at"
    rows_of_day: ClassVar[Any] = RECORDS

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[NewestChangeList]:
        return NewestChangeList


def first_day(request: HttpRequest, *, rows: int, counted: Any) -> date | None:
    """The last day since which there are so many rows in the tenants that this person sees; None if it is not known."""
    sums = UsageSum.objects.filter(dimension=UsageSum.Dimension.TOTAL, tenant__in=tenants_of(request))
    found = 0
    for day, count in sums.order_by("-day").values_list("day").annotate(count=counted)[:MOST_DAYS]:
        found += count
        if found >= rows:
            return date.fromisoformat(str(day))
    return None
