"""How requests are found: the filter bar's fields, and what each of them means in SQL.

Invariant: only requests of tenants that the person may see; a bounded span of time unless an id, or any time, is asked for.
The suggestions come from the days' sums and the catalogue, never from the log or the ledger.
"""

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from uuid import UUID

from django.db.models import Q, QuerySet, Sum
from django.http import HttpRequest
from django.utils.timezone import now

from billing.models import UsageSum
from config.site.filter_bar import Field, FilterBar, period_fields, span_of
from llm.models import LanguageModel, RequestDay, RequestLog
from llm.pruning import LOG_AGE
from tenants.admin.access import tenants_of
from tenants.errors import ClientError
from tenants.models import ApiKey, Tenant
from tenants.people.rights import Right, may_everywhere

MOST_SUGGESTIONS: Final = 100
DAYS_OF_SUGGESTIONS: Final = 7
NAMES: Final = frozenset(
    "q tenant user feature model key session outcome cost ms period from to".split()  # noqa: SIM905 they are read as a list
)
OUTCOMES: Final = (
    ("", "any"),
    ("answered", "answered"),
    ("provider", "answered by a provider"),
    ("cached", "answered from the cache"),
    ("refused", "refused (4xx)"),
    ("failed", "failed (5xx)"),
    ("streamed", "streamed"),
)
CACHED: Final = ("exact", "semantic")
# what an operator looks for most
VIEWS: Final[tuple[tuple[str, dict[str, str]], ...]] = (
    ("All", {}),
    ("Refused", {"outcome": "refused"}),
    ("Over a budget", {"outcome": "budget_exceeded"}),
    ("Failed", {"outcome": "failed"}),
    ("From the cache", {"outcome": "cached"}),
    ("Slower than 10 s", {"ms": "10000"}),
    ("Dearer than 0.10 USD", {"cost": "0.1"}),
)


def bar_of(request: HttpRequest) -> FilterBar:
    """The filter bar of the list of requests, with the choices that this person has; made once for a page."""
    if not hasattr(request, "_bar_of_requests"):
        request._bar_of_requests = _bar_of(request)
    bar: FilterBar = request._bar_of_requests
    return bar


def _bar_of(request: HttpRequest) -> FilterBar:
    tenants = tenants_of(request).order_by("slug")[: MOST_SUGGESTIONS + 1]
    slugs = [(tenant.slug, tenant.slug) for tenant in tenants]
    chosen = next((tenant for tenant in tenants if tenant.slug == request.GET.get("tenant")), None)
    if chosen is None and len(tenants) == 1:
        chosen = tenants[0]
    many = len(slugs) > MOST_SUGGESTIONS  # then a slug is typed
    return FilterBar.read(
        (
            Field("q", "Find", hint="Request id, user, session, run"),
            Field("tenant", "Tenant", choices=() if many else [("", "all"), *slugs]),
            Field("user", "User", suggestions=_suggested(chosen, "user")),
            Field("model", "Model", suggestions=_models()),
            Field("outcome", "Outcome", choices=[*OUTCOMES, *((code, code) for code in error_codes())]),
            Field("feature", "Feature", suggestions=_suggested(chosen, "feature"), is_rare=True),
            Field("key", "Key", suggestions=_keys(chosen), hint="Name or public id", is_rare=True),
            Field("session", "Session", is_rare=True),
            Field("cost", "From USD", kind="number", is_rare=True),
            Field("ms", "From ms", kind="number", is_rare=True),
            *period_fields(default="7d"),
        ),
        request.GET,
        kept=("o",),
    )


def narrow(
    requests: QuerySet[RequestLog], bar: FilterBar, *, tenants: QuerySet[Tenant]
) -> QuerySet[RequestLog]:
    """The requests that a choice means."""
    if request_id := request_id_of(bar):
        return requests.filter(request_id=request_id)  # an id needs no other choice
    if found := bar.chosen("q"):
        requests = requests.filter(Q(user=found) | Q(session=found) | Q(run=found) | Q(feature=found))
    for name, condition in CONDITIONS.items():
        if bar.chosen(name):
            requests = requests.filter(condition(bar.chosen(name), tenants))
    first, end = span_of(bar, now=now())
    if first is not None:
        requests = requests.filter(at__gte=first)
    return requests if end is None else requests.filter(at__lt=end)


def request_id_of(bar: FilterBar) -> UUID | None:
    """The id that is looked for, if it is one."""
    try:
        return UUID(bar.chosen("q"))
    except ValueError:
        return None


def requests_by_day(request: HttpRequest, bar: FilterBar) -> list[tuple[date, int]]:
    """How many requests the log has of each of the last days, newest first, in what this person sees and chose."""
    first = now().date() - LOG_AGE
    days = RequestDay.objects.filter(day__gte=first).exclude(measure=RequestDay.Measure.FIRST_TOKEN)
    tenants = tenants_of(request)
    if bar.chosen("tenant"):
        days = days.filter(tenant__in=tenants.filter(slug=bar.chosen("tenant")))
    elif may_everywhere(request, Right.SEE):
        days = days.filter(tenant=None)  # of the whole installation
    else:
        days = days.filter(tenant__in=tenants)
    return list(days.order_by("-day").values_list("day").annotate(count=Sum("requests")))


def error_codes() -> list[str]:
    """Every code with which a call can be refused."""
    kinds, codes = [ClientError], set()
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        codes.add(kind.code)
    return sorted(codes)


def _is_or_begins(*names: str) -> Callable[[str, QuerySet[Tenant]], Q]:
    """Equal to a text; with a * at its end, beginning with it."""

    def condition(text: str, tenants: QuerySet[Tenant]) -> Q:
        lookup, value = ("startswith", text[:-1]) if text.endswith("*") else ("exact", text)
        met = Q()
        for name in names:
            met |= Q(**{f"{name}__{lookup}": value})
        return met

    return condition


def _outcome(outcome: str, tenants: QuerySet[Tenant]) -> Q:
    return {
        "answered": Q(status__lt=400),
        "cached": Q(status__lt=400, cache_state__in=CACHED),
        "provider": Q(status__lt=400) & ~Q(cache_state__in=CACHED),
        "refused": Q(status__gte=400, status__lt=500),
        "failed": Q(status__gte=500),
        "streamed": Q(is_stream=True),
    }.get(outcome, Q(error_code=outcome))


def _key(text: str, tenants: QuerySet[Tenant]) -> Q:
    keys = ApiKey.objects.filter(Q(name=text) | Q(public_id=text), tenant__in=tenants)
    return Q(key_id__in=keys.values_list("pk", flat=True)[:MOST_SUGGESTIONS])


def _from(name: str) -> Callable[[str, QuerySet[Tenant]], Q]:
    def condition(text: str, tenants: QuerySet[Tenant]) -> Q:
        try:
            least = Decimal(text)
        except InvalidOperation:
            return Q()
        is_usable = least.is_finite() and least.adjusted() < 9
        return Q(**{f"{name}__gte": least}) if is_usable else Q()

    return condition


CONDITIONS: Final[dict[str, Callable[[str, QuerySet[Tenant]], Q]]] = {
    "tenant": lambda slug, tenants: Q(tenant__in=tenants.filter(slug=slug).values("pk")),
    "user": _is_or_begins("user"),
    "feature": _is_or_begins("feature"),
    "model": _is_or_begins("model", "model_asked"),
    "session": _is_or_begins("session"),
    "outcome": _outcome,
    "key": _key,
    "cost": _from("cost_usd"),
    "ms": _from("latency_ms"),
}


def _suggested(tenant: Tenant | None, dimension: str) -> Sequence[str]:
    """What a tenant used in the last days, most used first; nothing while no tenant is chosen."""
    if tenant is None:
        return ()
    since = now().date() - timedelta(days=DAYS_OF_SUGGESTIONS)
    sums = UsageSum.objects.filter(tenant=tenant, dimension=dimension, day__gte=since).exclude(value="")
    used = sums.order_by().values("value").annotate(calls=Sum("requests")).order_by("-calls", "value")
    return [row["value"] for row in used[:MOST_SUGGESTIONS]]


def _keys(tenant: Tenant | None) -> Sequence[str]:
    if tenant is None:
        return ()
    return list(
        ApiKey.objects.filter(tenant=tenant)
        .order_by("name")
        .values_list("name", flat=True)[:MOST_SUGGESTIONS]
    )


def _models() -> Sequence[Any]:
    return list(LanguageModel.objects.order_by("name").values_list("name", flat=True)[:MOST_SUGGESTIONS])
