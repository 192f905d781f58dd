"""Reads closed months: verifies the chain, and shows a month with its later corrections added back.

Invariant: reads only. A statement is believed because its digest is recomputed, not because it is stored; a
restated month is a view in addition to the original, which stays as it was issued.
"""

import hashlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import Sum

from billing.ledger import digest
from billing.models import BillingPeriod, Certificate, Statement, StatementLine
from billing.months import reading as month_reading
from billing.months.closing import digest_of, facts_of
from billing.months.cuts import CERTAINTIES, OF_TIME
from billing.months.files import pieces_of
from billing.months.lines import (
    PeriodLine,
    UnbalancedStatement,
    opened_lines,
    texts_of_stored,
    values_of,
)
from billing.months.parts import Sure
from tenants.contents import ContentMissing
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
    + `later_usd` (what was booked for this month since). The lines are there as long as the block that opened it runs.
    """

    statement: Statement
    issued_usd: Decimal
    carried_usd: Decimal
    later_usd: Decimal
    restated_usd: Decimal
    lines: Collection[PeriodLine]


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


@contextmanager
def restated(statement: Statement) -> Iterator[Restatement]:
    """The month of a statement with what was booked for it since. Raises UnbalancedStatement."""
    with transaction.atomic():
        month_reading.prepare()
        carried = statement.lines.exclude(charge_class="").aggregate(usd=Sum("exact_usd"))["usd"] or Decimal(
            0
        )
        with opened_lines(statement.period, timezone=statement.timezone, rows=OF_TIME) as made:
            later = made.exact_usd - (statement.exact_usd - carried)
            yield Restatement(statement, statement.exact_usd, carried, later, made.exact_usd, made.lines)


def restate(statement: Statement) -> Restatement:
    """The same with its lines in memory: for months that are known to be small."""
    with restated(statement) as view:
        return replace(view, lines=tuple(view.lines))


def as_issued(statement: Statement) -> dict[str, Any]:
    """What `manage.py verify` checks a receipt against: the facts of a statement, its digest and the one before it."""
    return {
        "object": "statement_facts",
        "facts": facts_of(statement),
        "previous_digest": statement.previous_digest,
        "digest": statement.digest,
    }


def stored_lines(statement: Statement) -> Iterator[PeriodLine]:
    """The lines of a statement as they were issued."""
    names = PeriodLine.__dataclass_fields__
    rows = StatementLine.objects.filter(statement=statement).order_by("line_no").values_list(*names)
    return (PeriodLine(*row) for row in rows.iterator(chunk_size=2000))


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
    if statement.certificate and _certified_digest(statement) != statement.certificate:
        return "its certificate is not the one that was issued"
    if digest_of(statement) != statement.digest:
        return "its own facts do not make its digest"
    if (statement.period.status, statement.period.digest) != (BillingPeriod.Status.CLOSED, statement.digest):
        return "its month is not closed with its digest"
    return ""


def _certified_digest(statement: Statement) -> str:
    text = Certificate.objects.filter(statement=statement).values_list("text", flat=True).first() or ""
    return hashlib.sha256(text.encode()).hexdigest()


def _changed_day(statement: Statement) -> str:
    found = digest.day_digests(statement.tenant_id, statement.period_id, version=statement.content_version)
    for day in sorted(found.keys() | statement.day_digests.keys()):
        then, today = statement.day_digests.get(day), found.get(day)
        if then != today:
            rows = [side["rows"] if side else 0 for side in (then, today)]
            counted = f"{rows[0]} rows then, {rows[1]} now" if rows[0] != rows[1] else f"{rows[0]} rows"
            return f"the ledger of {day} is not what it was when the month was closed ({counted})"
    return ""


def _changed_lines(statement: Statement) -> str:
    if _content_digest(statement) != statement.content_digest:
        return "its lines, or the digests of its files, are not those that were issued"
    sums = statement.lines.aggregate(total=Sum("amount", default=0), exact=Sum("exact_usd", default=0))
    if sums["total"] != statement.total:
        return "its printed lines do not make its total"
    try:
        with opened_lines(statement.period, timezone=statement.timezone) as made:
            found = (made.exact_usd, made.row_count, made.request_count)
    except UnbalancedStatement as error:
        return str(error)
    if found != (statement.exact_usd, statement.record_count, statement.request_count):
        return f"the ledger makes {found[0]} USD in {found[1]} rows of {found[2]} requests"
    return ""


def _content_digest(statement: Statement) -> str:
    files = dict(statement.files.filter(is_sealed=True).values_list("format", "sha256"))
    if statement.content_version == digest.LINES_AS_JSON:
        return digest.content_digest(map(values_of, stored_lines(statement)), files)
    return digest.text_digest(texts_of_stored(statement.pk), files)


def _changed_file(statement: Statement) -> str:
    for file in statement.files.defer("content").select_related("statement").order_by("format"):
        sha256 = hashlib.sha256()
        try:
            for piece in pieces_of(file):
                sha256.update(piece)
        except ContentMissing:
            return f"the bytes of {file.name} are lost"
        if sha256.hexdigest() != file.sha256:
            return f"the bytes of {file.name} are not those that were issued"
    return ""
