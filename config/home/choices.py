"""What the home page looks at: whose figures, of which days, and beside which days before.

Invariant: all of it stands in the address, and every panel and link keeps it. Days are UTC's, as the sums that are read.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import Any, Final
from urllib.parse import urlencode

from django.http import HttpRequest
from django.urls import reverse
from django.utils.timezone import now

from config.site.filter_bar import Field, FilterBar
from tenants.admin.access import tenants_of
from tenants.models import Tenant
from tenants.people.rights import Right, may_everywhere

MOST_TENANTS: Final = 100  # in the pick list; of more a slug is typed
MOST_DAYS: Final = 400
PERIODS: Final = (
    ("today", "today"),
    ("7d", "last 7 days"),
    ("30d", "last 30 days"),
    ("month", "this month"),
    ("last_month", "last month"),
    ("own", "from … to …"),
)
STACKS: Final = (("model", "Model"), ("tenant", "Tenant"), ("feature", "Feature"), ("user", "User"))
TOPS: Final = (
    ("tenant", "Tenants"), ("user", "Users"), ("feature", "Features"), ("model", "Models"), ("key", "Keys"),
)  # fmt: skip


@dataclass(frozen=True)
class Span:
    """Days from the first to before the end."""

    first: date
    end: date

    @cached_property
    def days(self) -> list[date]:
        return [self.first + timedelta(days=number) for number in range((self.end - self.first).days)]

    def __contains__(self, day: date) -> bool:
        return self.first <= day < self.end


@dataclass(frozen=True)
class Choice:
    """What was chosen. `tenant_ids` is None where nothing narrows it: all tenants of the installation."""

    bar: FilterBar
    tenant: Tenant | None
    tenant_ids: Sequence[int] | None
    is_operator: bool
    today: date
    span: Span
    before: Span | None
    stack: str
    top: str

    @property
    def spans(self) -> tuple[Span, ...]:
        return (self.span,) if self.before is None else (self.before, self.span)

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of the SQL that reads sums."""
        return {
            "tenants": None if self.tenant_ids is None else list(self.tenant_ids),
            "first": self.span.first,
            "end": self.span.end,
            "before": self.before.first if self.before else self.span.first,
            "before_end": self.before.end if self.before else self.span.first,
        }

    def here(self, **changes: str) -> str:
        """The address of this page with another choice."""
        return f"?{self.bar.query(**changes)}"

    def requests(self, day: date | None = None, /, **narrowed: str) -> str:
        """The list of the requests behind a figure."""
        first, last = (day, day) if day else (self.span.first, self.span.end - timedelta(days=1))
        whose = {"tenant": self.tenant.slug} if self.tenant else {}
        query = {**whose, **narrowed, "from": first.isoformat(), "to": last.isoformat()}
        return f"{reverse('admin:llm_requestlog_changelist')}?{urlencode(query)}"


def choice_of(request: HttpRequest, *, at: datetime | None = None) -> Choice:
    """What an address chose, within what this person may see."""
    today = (at or now()).astimezone(UTC).date()
    seen = tenants_of(request)
    offered = list(seen.order_by("slug")[: MOST_TENANTS + 1])
    bar = FilterBar.read(_fields(offered), request.GET)
    slug = bar.chosen("tenant")
    tenant = next((one for one in offered if one.slug == slug), None)
    if slug and tenant is None and len(offered) > MOST_TENANTS:
        tenant = seen.filter(slug=slug).first()
    is_operator = may_everywhere(request, Right.SEE)
    span = span_of(bar, today=today)
    stack = _one_of(STACKS, request.GET.get("by"), "tenant" if tenant is None and is_operator else "model")
    top = _one_of(TOPS, request.GET.get("top"), "user" if tenant else "tenant")
    kept = {
        name: str(request.GET[name])
        for name, value in (("by", stack), ("top", top))
        if request.GET.get(name) == value
    }
    return Choice(
        bar=replace(bar, kept=kept),
        tenant=tenant,
        tenant_ids=_ids(request, slug, tenant, is_operator=is_operator),
        is_operator=is_operator,
        today=today,
        span=span,
        before=_before(bar, span) if bar.chosen("compare") == "before" else None,
        stack=stack,
        top=top,
    )


def span_of(bar: FilterBar, *, today: date) -> Span:
    """The days that a bar chose; two days of one's own say more than a period."""
    tomorrow = today + timedelta(days=1)
    first, last = _day(bar.chosen("from")), _day(bar.chosen("to"))
    if first or last:
        end = min((last or today) + timedelta(days=1), tomorrow)
        begin = first or end - timedelta(days=30)
        if begin < end:
            return Span(max(begin, end - timedelta(days=MOST_DAYS)), end)
    month = today.replace(day=1)
    match bar.chosen("period"):
        case "today":
            return Span(today, tomorrow)
        case "7d":
            return Span(today - timedelta(days=6), tomorrow)
        case "month":
            return Span(month, tomorrow)
        case "last_month":
            return Span((month - timedelta(days=1)).replace(day=1), month)
        case _:
            return Span(today - timedelta(days=29), tomorrow)


def _before(bar: FilterBar, span: Span) -> Span:
    """As many days before; of a month that runs, the same days of the month before; of a whole month, the month before."""
    if not (bar.chosen("from") or bar.chosen("to")) and bar.chosen("period") in ("month", "last_month"):
        month = (span.first - timedelta(days=1)).replace(day=1)
        length = span.end - span.first if bar.chosen("period") == "month" else span.first - month
        return Span(month, min(month + length, span.first))
    return Span(span.first - (span.end - span.first), span.first)


def _fields(offered: Sequence[Tenant]) -> tuple[Field, ...]:
    slugs = [("", "all"), *((tenant.slug, tenant.slug) for tenant in offered)]
    return (
        Field(
            "tenant", "Tenant", choices=() if len(offered) > MOST_TENANTS else slugs, hint="all; or a slug"
        ),
        Field("period", "Time", choices=PERIODS, default="30d"),
        Field(
            "compare",
            "Beside",
            choices=[("before", "the time before"), ("none", "nothing")],
            default="before",
        ),
        Field("from", "From, UTC", kind="date", is_rare=True),
        Field("to", "To, UTC", kind="date", is_rare=True),
    )


def _ids(request: HttpRequest, slug: str, tenant: Tenant | None, *, is_operator: bool) -> list[int] | None:
    if tenant is not None:
        return [tenant.pk]
    if slug:  # of a tenant that is not there, or not for this person
        return []
    return None if is_operator else list(tenants_of(request).values_list("pk", flat=True))


def _one_of(choices: Sequence[tuple[str, str]], value: str | None, default: str) -> str:
    return value if value in {name for name, _ in choices} else default


def _day(text: str) -> date | None:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if 2000 <= day.year <= 9000 else None
