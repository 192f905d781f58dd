"""The month cut along one dimension after the other: the table `month_group`, of which each section reads its own.

Invariant: every section is summed from the same cuts, and its own sums stand beside it. In the month of all tenants, what means
something within one tenant only stands beside its tenant's name: users, keys and names of different tenants are never added.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Final

from billing.ledger.dimensions import DIMENSIONS
from billing.months.cuts import execute, read_rows, stream_rows
from billing.months.parts import Group, Measures, Section, Streamed

TABLE: Final = "month_group"
MOST_TAGS: Final = 20  # tags that get a section of their own, the most expensive ones

# The labels of a dimension in its own section, where they are others than its value, in SQL over a cut `c`.
_LABELS: Final = {
    "user_id": {"user": "c.user_id", "name": "coalesce(p.display_name, '')"},
    "key_id": {"api_key": "coalesce(k.name, '')", "api_key_id": "coalesce(k.public_id, '')"},
    "model": {"provider": "c.provider", "model": "c.model"},
}
_EVERYBODYS: Final = ("models", "days")  # their labels mean the same for every tenant
# The sections that are older than the list of dimensions keep their places in the workbook.
_FIRST: Final = ("By user", "By API key", "By feature", "By model", "By cost centre")

_MEASURES: Final = tuple(field.name for field in fields(Measures))
_SUMMED: Final = ", ".join(
    f"sum({name})" if name.endswith("_usd") else f"sum({name})::bigint" for name in _MEASURES
)
_MAKE: Final = f"""
CREATE TEMPORARY TABLE {TABLE} (
    section integer, labels text[] COLLATE "C",
    {", ".join(f"{name} {'numeric' if name.endswith('_usd') else 'bigint'}" for name in _MEASURES)}
) ON COMMIT DROP
"""
_ADD: Final = f"""
INSERT INTO {TABLE} SELECT {{number}}, ARRAY[{{labels}}]::text[], {_SUMMED}
FROM month_cut AS c
JOIN tenants_tenant AS t ON t.id = c.tenant_id
LEFT JOIN tenants_apikey AS k ON k.id = c.key_id AND k.tenant_id = c.tenant_id
LEFT JOIN tenants_enduser AS p ON p.external_id = c.user_id AND p.tenant_id = c.tenant_id
GROUP BY 2
"""
_TAGS: Final = """
SELECT tag FROM (SELECT tags, sum(billed_cost_usd) AS billed FROM month_cut WHERE tags <> '{}' GROUP BY tags) AS c
CROSS JOIN LATERAL jsonb_object_keys(c.tags) AS tag
GROUP BY tag ORDER BY sum(c.billed) DESC, tag COLLATE "C" LIMIT %(most)s
"""
# The whole along each tag, with what lacks it.
_ADD_TAGS: Final = f"""
INSERT INTO {TABLE}
SELECT {{number}}, ARRAY[tag, coalesce(c.tags ->> tag, '')], {_SUMMED}
FROM (SELECT tags, {", ".join(f"sum({name}) AS {name}" for name in _MEASURES)} FROM month_cut GROUP BY tags) AS c
CROSS JOIN unnest(%(tags)s::text[]) AS tag GROUP BY 2
"""
_SUMS: Final = f"""
SELECT section, count(*) AS count, {", ".join(f"sum({name}) AS {name}" for name in _MEASURES)} FROM {TABLE} GROUP BY section
"""
_READ: Final = (
    f"SELECT labels, {', '.join(_MEASURES)} FROM {TABLE} WHERE section = %(number)s ORDER BY {{order}}"
)
DEAREST_FIRST: Final = "billed_cost_usd DESC, saved_usd DESC, labels"


@dataclass(frozen=True, slots=True)
class _Kind:
    """A section to come: its labels, in SQL over a cut, and the order of its groups."""

    name: str
    title: str
    labels: dict[str, str]
    order: str = DEAREST_FIRST


def make_sections(*, of_all_tenants: bool = False) -> tuple[Section, ...]:
    """Sum the cuts into their sections, the group with the highest cost first, days in order."""
    execute(_MAKE)
    kinds = list(_kinds(of_all_tenants=of_all_tenants))
    for number, kind in enumerate(kinds):
        execute(_ADD.format(number=number, labels=", ".join(kind.labels.values())))
    tags = [] if of_all_tenants else [row["tag"] for row in read_rows(_TAGS, {"most": MOST_TAGS})]
    if tags:
        execute(_ADD_TAGS.format(number=len(kinds)), {"tags": tags})
    execute(f"ANALYZE {TABLE}")
    sums = {row.pop("section"): row for row in read_rows(_SUMS, {})}
    sections = [
        _section(kind, number, sums.get(number) or dict.fromkeys(("count", *_MEASURES), 0))
        for number, kind in enumerate(kinds)
    ]
    if tags:
        order = f"array_position(%(tags)s::text[], labels[1]), {DEAREST_FIRST}"
        by_tag = _Kind("tags", "By tag", {"tag": "", "value": ""}, order)
        sections.insert(len(sections) - 1, _section(by_tag, len(kinds), sums[len(kinds)], tags=tags))
    return tuple(sections)


def _kinds(*, of_all_tenants: bool) -> Iterator[_Kind]:
    """The sections but that of the tags; the days last."""
    if of_all_tenants:
        yield _Kind("tenants", "By tenant", {"tenant": "t.slug", "name": "t.name"})
    dimensions = sorted((one for one in DIMENSIONS if one.section), key=lambda one: _place_of(one.section))
    kinds = [
        *(
            _Kind(
                f"{one.group or one.column}s",
                one.section,
                _LABELS.get(one.column, {one.column: f"c.{one.column}"}),
            )
            for one in dimensions
        ),
        _Kind("days", "By day", {"day": "to_char(c.day, 'YYYY-MM-DD')"}, order="labels"),
    ]
    for kind in kinds:
        if of_all_tenants and kind.name not in _EVERYBODYS:
            yield _Kind(kind.name, kind.title, {"tenant": "t.slug", **kind.labels}, kind.order)
        else:
            yield kind


def _place_of(title: str) -> int:
    return _FIRST.index(title) if title in _FIRST else len(_FIRST)


def _section(kind: _Kind, number: int, sums: dict[str, Any], *, tags: list[str] | None = None) -> Section:
    read = partial(_read, _READ.format(order=kind.order), {"number": number, "tags": tags})
    groups = Streamed(read, count=sums["count"], sums=sums)
    return Section(kind.name, kind.title, tuple(kind.labels), groups, wholes=len(tags) if tags else 1)


def _read(query: str, arguments: dict[str, Any]) -> Iterator[Group]:
    for labels, *measures in stream_rows(query, arguments):
        yield Group(tuple(labels), Measures(*measures))
