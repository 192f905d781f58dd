"""Reads closed months: verifies the chain, and shows a month with its later corrections added back.

Invariant: reads only. A statement is believed because its digest is recomputed, not because it is stored; a
restated month is a view in addition to the original, which stays as it was issued.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db import transaction

from billing.ledger import digest
from billing.models import BillingPeriod, Statement, StatementLine
from billing.months import reading as month_reading
from billing.months.closing import digest_of, facts_of
from billing.months.cuts import CERTAINTIES, OF_TIME
from billing.months.lines import PeriodLine, UnbalancedStatement, lines_of, values_of
from billing.months.parts import Sure
from tenants.models import Tenant


@dataclass(frozen=True, slots=True)
class Break:
    """The first thing that does not fit."""

    code: str
    what: str

    def __str__(self) -> str:
        return f"{self.code}: {self.what}"


@dataclass(frozen=True, slots=True)
class Restatement:
    """A closed month by when things happened, next to what was issued. All in exact USD.

    `restated_usd` = `issued_usd` - `carried_usd` (corrections of earlier months on this statement)
    + `later_usd` (what was booked for this month since).
    """

    statement: Statement
    issued_usd: Decimal
    carried_usd: Decimal
    later_usd: Decimal
    restated_usd: Decimal
    lines: tuple[PeriodLine, ...]


@transaction.atomic
def first_break(tenant: Tenant) -> Break | None:
    """Recompute a tenant's chain from the ledger and the stored bytes; what does not fit first, None if all does."""
    month_reading.prepare()
    previous = ""
    statements = Statement.objects.filter(tenant=tenant).select_related("period", "tenant")
    for number, statement in enumerate(statements.order_by("number"), 1):
        if what := _problem(statement, number=number, previous=previous):
            return Break(statement.code, what)
        previous = statement.digest
    closed = BillingPeriod.objects.filter(tenant=tenant, status=BillingPeriod.Status.CLOSED, statement=None)
    if lost := closed.order_by("starts_at").first():
        return Break(lost.label, "is closed without a statement")
    return None


@transaction.atomic
def restate(statement: Statement) -> Restatement:
    """The month of a statement with what was booked for it since. Raises UnbalancedStatement."""
    month_reading.prepare()
    period = statement.period
    lines = lines_of(period, timezone=statement.timezone, rows=OF_TIME).lines
    issued = lines_of(period, timezone=statement.timezone).lines
    restated = _sum(lines)
    carried = _sum(line for line in issued if line.charge_class)
    later = restated - (statement.exact_usd - carried)
    return Restatement(statement, statement.exact_usd, carried, later, restated, tuple(lines))


def as_issued(statement: Statement) -> dict[str, Any]:
    """What `manage.py verify` checks a receipt against: the facts of a statement, its digest and the one before it."""
    return {
        "object": "statement_facts",
        "facts": facts_of(statement),
        "previous_digest": statement.previous_digest,
        "digest": statement.digest,
    }


def stored_lines(statement: Statement) -> list[PeriodLine]:
    """The lines of a statement as they were issued."""
    names = PeriodLine.__dataclass_fields__
    rows = StatementLine.objects.filter(statement=statement).order_by("line_no")
    return [PeriodLine(**{name: getattr(row, name) for name in names}) for row in rows]


def how_sure(statement: Statement) -> tuple[Sure, ...]:
    """How sure the sum of a statement was when it was issued; empty for one that is older than that is known."""
    return tuple(
        Sure(
            name,
            known["records"],
            *(Decimal(known[f"{bound}_usd"]) for bound in ("amount", "least", "most")),
        )
        for name in CERTAINTIES
        if (known := statement.certainty.get(name))
    )


def _problem(statement: Statement, *, number: int, previous: str) -> str:
    if statement.number != number:
        return f"its number is {statement.number}, and {number} is missing"
    if statement.previous_digest != previous:
        return "it does not follow from the statement before it"
    if what := _changed_day(statement) or _changed_lines(statement) or _changed_file(statement):
        return what
    if digest_of(statement) != statement.digest:
        return "its own facts do not make its digest"
    if (statement.period.status, statement.period.digest) != (BillingPeriod.Status.CLOSED, statement.digest):
        return "its month is not closed with its digest"
    return ""


def _changed_day(statement: Statement) -> str:
    found = digest.day_digests(statement.tenant_id, statement.period_id)
    for day in sorted(found.keys() | statement.day_digests.keys()):
        then, today = statement.day_digests.get(day), found.get(day)
        if then != today:
            rows = [side["rows"] if side else 0 for side in (then, today)]
            counted = f"{rows[0]} rows then, {rows[1]} now" if rows[0] != rows[1] else f"{rows[0]} rows"
            return f"the ledger of {day} is not what it was when the month was closed ({counted})"
    return ""


def _changed_lines(statement: Statement) -> str:
    lines = stored_lines(statement)
    files = dict(statement.files.values_list("format", "sha256"))
    if digest.content_digest(map(values_of, lines), files) != statement.content_digest:
        return "its lines, or the digests of its files, are not those that were issued"
    if sum((line.amount for line in lines), start=Decimal(0)) != statement.total:
        return "its printed lines do not make its total"
    try:
        ledger = lines_of(statement.period, timezone=statement.timezone)
    except UnbalancedStatement as error:
        return str(error)
    counts = (ledger.row_count, ledger.request_count)
    if (_sum(ledger.lines), *counts) != (
        statement.exact_usd,
        statement.record_count,
        statement.request_count,
    ):
        return f"the ledger makes {_sum(ledger.lines)} USD in {counts[0]} rows of {counts[1]} requests"
    return ""


def _changed_file(statement: Statement) -> str:
    for file in statement.files.order_by("format"):
        if hashlib.sha256(bytes(file.content)).hexdigest() != file.sha256:
            return f"the bytes of {file.name} are not those that were issued"
    return ""


def _sum(lines: Iterable[PeriodLine]) -> Decimal:
    return sum((line.exact_usd for line in lines), start=Decimal(0))
