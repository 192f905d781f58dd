"""The figures of the home page, each panel's in one statement over the days' sums.

Invariant: no statement reads the ledger or the log of requests, each names its tenants and its days, and each answers with a
bounded number of rows, however many tenants, users and days there are.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, Final

from django.db import connection

from config.home.choices import Choice
from config.site.plots import MOST_SERIES
from llm.request_days import quantile

MOST_TOPS: Final = 10

_SPAN: Final = "day >= %(first)s AND day < %(end)s"
_SPANS: Final = f"(({_SPAN}) OR (day >= %(before)s AND day < %(before_end)s))"

DAYS: Final = f"""
SELECT day, sum(requests)::bigint, sum(hits)::bigint, sum(list_cost), sum(adjusted_cost), sum(billed_cost)
FROM billing_usagesum WHERE dimension = 'total' AND {_SPANS} AND {{whose}} GROUP BY day
"""
SAVINGS: Final = f"""
SELECT kind.key, sum(kind.value::numeric)
FROM billing_usagesum CROSS JOIN LATERAL jsonb_each_text(saving) AS kind
WHERE dimension = 'total' AND {_SPAN} AND {{whose}} GROUP BY 1
"""
TIERS: Final = f"""
SELECT value, sum(requests)::bigint, sum(hits)::bigint
FROM billing_usagesum WHERE dimension = 'tier' AND {_SPAN} AND {{whose}} GROUP BY 1
"""
# the dearest of the whole time have a colour of their own, all others share one
STACK: Final = f"""
WITH days AS (
    SELECT day, {{name}} AS name, {{rest}} AS is_rest, sum(billed_cost) AS billed
    FROM billing_usagesum WHERE dimension = %(dimension)s AND {_SPAN} AND {{whose}} GROUP BY 1, 2, 3),
dearest AS (
    SELECT name, sum(billed) AS billed, row_number() OVER (ORDER BY sum(billed) DESC, name) AS place
    FROM days WHERE NOT is_rest GROUP BY name ORDER BY 2 DESC, 1 LIMIT %(most)s)
SELECT d.day, coalesce(t.place, 0), coalesce(t.name, ''), sum(d.billed)
FROM days AS d LEFT JOIN dearest AS t ON t.name = d.name AND NOT d.is_rest GROUP BY 1, 2, 3
"""
TOPS: Final = f"""
WITH sums AS (
    SELECT tenant_id, {{value}} AS value, sum(requests)::bigint AS requests, sum(hits)::bigint AS hits,
        sum(billed_cost) AS billed, sum(list_cost + adjusted_cost - billed_cost) AS saved
    FROM billing_usagesum WHERE dimension = %(dimension)s AND NOT is_rest AND {_SPAN} AND {{whose}}
    GROUP BY 1, 2 ORDER BY billed DESC, requests DESC, 2 LIMIT %(most)s)
SELECT sums.*, t.slug, t.name, k.name, k.id
FROM sums JOIN tenants_tenant AS t ON t.id = sums.tenant_id
LEFT JOIN tenants_apikey AS k ON %(dimension)s = 'key' AND k.tenant_id = sums.tenant_id AND k.id::text = sums.value
ORDER BY billed DESC, requests DESC, value
"""
MODELS: Final = f"""
SELECT NULL, value, sum(requests)::bigint, sum(hits)::bigint, sum(billed_cost) AS billed,
    sum(list_cost + adjusted_cost - billed_cost), NULL, NULL, NULL, NULL
FROM billing_usagesum WHERE dimension = %(dimension)s AND NOT is_rest AND {_SPAN} AND {{whose}}
GROUP BY 2 ORDER BY billed DESC, 3 DESC, 2 LIMIT %(most)s
"""
REQUESTS: Final = f"""
SELECT day, measure, bucket, sum(requests)::bigint
FROM llm_requestday WHERE {_SPANS} AND {{whose}} GROUP BY 1, 2, 3
"""
PROVIDERS: Final = f"""
SELECT provider, measure, bucket, sum(requests)::bigint
FROM llm_requestday WHERE {_SPAN} AND provider <> '' AND measure IN ('answered', 'failed') AND {{whose}} GROUP BY 1, 2, 3
"""


@dataclass(frozen=True)
class Day:
    """Money and counts of a day of the ledger."""

    requests: int = 0
    hits: int = 0
    listed: Decimal = Decimal(0)
    adjusted: Decimal = Decimal(0)
    billed: Decimal = Decimal(0)

    @property
    def saved(self) -> Decimal:
        return self.listed + self.adjusted - self.billed

    def __add__(self, other: "Day") -> "Day":
        return Day(
            self.requests + other.requests,
            self.hits + other.hits,
            self.listed + other.listed,
            self.adjusted + other.adjusted,
            self.billed + other.billed,
        )


@dataclass
class Answers:
    """How requests of some days ended: counts by outcome, and by bucket how long answers and first tokens took."""

    outcomes: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    latencies: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    first_tokens: dict[int, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, measure: str, bucket: int, requests: int) -> None:
        if measure == "first_token":
            self.first_tokens[bucket] += requests
            return
        self.outcomes[measure] += requests
        if measure == "answered":
            self.latencies[bucket] += requests

    @property
    def requests(self) -> int:
        return sum(self.outcomes.values())

    def latency(self, share: float) -> float | None:
        """Milliseconds within which a share of the providers' answers came."""
        return quantile(self.latencies, share)

    def first_token(self, share: float) -> float | None:
        """The same of the first tokens of streams."""
        return quantile(self.first_tokens, share)


def days(choice: Choice) -> dict[date, Day]:
    """Each day of the chosen time and of the time before."""
    return {day: Day(*figures) for day, *figures in _read(DAYS, choice)}


def savings(choice: Choice) -> dict[str, Decimal]:
    """USD by kind of saving."""
    return dict(_read(SAVINGS, choice))


def tiers(choice: Choice) -> list[tuple[str, int, int]]:
    """Each tier's requests and cache hits."""
    return [(tier, requests, hits) for tier, requests, hits in _read(TIERS, choice)]


def stack(choice: Choice) -> dict[tuple[int, str], dict[date, Decimal]]:
    """Spend by day of the dearest models, tenants, ... by their place; place 0 is all others together."""
    is_tenant = choice.stack == "tenant"
    rows = _read(
        STACK,
        choice,
        name="tenant_id::text" if is_tenant else "value",
        rest="false" if is_tenant else "is_rest",
        dimension="total" if is_tenant else choice.stack,
        most=MOST_SERIES,
    )
    found: dict[tuple[int, str], dict[date, Decimal]] = {}
    for day, place, name, billed in rows:
        found.setdefault((place, name), {})[day] = billed
    return found


def tops(choice: Choice) -> list[tuple[Any, ...]]:
    """The dearest: tenant id, value, requests, hits, billed, saved, the tenant's slug and name, and a key's name and id."""
    shared = choice.top == "model"  # a model is the same for all tenants, a user's name is not
    return _read(
        MODELS if shared else TOPS,
        choice,
        value="''" if choice.top == "tenant" else "value",
        dimension="total" if choice.top == "tenant" else choice.top,
        most=MOST_TOPS,
    )


def requests(choice: Choice) -> dict[date, Answers]:
    """How the requests of each day ended, in the chosen time and in the time before."""
    found: dict[date, Answers] = defaultdict(Answers)
    for day, measure, bucket, count in _read(REQUESTS, choice, is_log=True):
        found[day].add(measure, bucket, count)
    return found


def providers(choice: Choice) -> dict[str, Answers]:
    """How the requests that reached a provider ended."""
    found: dict[str, Answers] = defaultdict(Answers)
    for provider, measure, bucket, count in _read(PROVIDERS, choice, is_log=True):
        found[provider].add(measure, bucket, count)
    return found


def _read(sql: str, choice: Choice, *, is_log: bool = False, **parts: Any) -> list[tuple[Any, ...]]:
    """Rows of a statement; `name`, `value` and `rest` are SQL of this module, the others are arguments."""
    if choice.tenant_ids is None:
        whose = "tenant_id IS NULL" if is_log else "true"  # of the log there is a row of all tenants
    else:
        whose = "tenant_id = ANY (%(tenants)s::bigint[])"
    texts = {name: parts.pop(name) for name in ("name", "value", "rest") if name in parts}
    with connection.cursor() as cursor:
        cursor.execute(sql.format(whose=whose, **texts), {**choice.arguments, **parts})
        return list(cursor.fetchall())
