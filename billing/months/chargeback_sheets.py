"""The chargebacks of closed months, kept as they were, and their files.

Invariant: a sheet is written once, while its month is being closed, and never changes (triggers); a rule that is set later
changes no closed month.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Final

from django.db.models import Sum
from django.utils.timezone import now

from billing.models import BillingPeriod, ChargebackSheet, SplitRule, Statement
from billing.money import EXACT, TWELVE_PLACES
from billing.months.chargebacks import Chargebacks, chargebacks_of
from billing.months.exports.chargeback_files import read_json, write_csv, write_json, write_pdf
from billing.months.parts import SharedCost
from billing.months.split_rules import rules_in_force

FORMATS: Final = {"csv": "text/csv; charset=utf-8", "json": "application/json", "pdf": "application/pdf"}
SHOWN: Final = 25


class NoSuchChargeback(LookupError):
    """The month has nothing of this cost centre, or no file of this kind."""


def seal(statement: Statement) -> ChargebackSheet:
    """Keep the chargebacks of a month that is being closed, whose statement was written. Raises UnbalancedChargebacks."""
    content = write_json(chargebacks_of(statement.period, statement=statement))
    return ChargebackSheet.objects.create(
        tenant=statement.tenant,
        statement=statement,
        content=content,
        sha256=hashlib.sha256(content).hexdigest(),
        made_at=statement.issued_at,
    )


def of_month(period: BillingPeriod) -> Chargebacks:
    """The chargebacks of a month: as they were kept, or as they are by now, where it is open or older than they are."""
    sheet = ChargebackSheet.objects.filter(statement__period=period, tenant=period.tenant_id).first()
    if sheet is not None:
        return read_json(bytes(sheet.content))
    return chargebacks_of(period, statement=Statement.objects.filter(period=period).first())


def shared_cost(period: BillingPeriod | None) -> tuple[SharedCost, ...]:
    """What the split rules of a month take, and whose it becomes; of a closed month as its chargebacks were kept."""
    if period is None:
        return ()
    rules = rules_in_force(period.tenant, month=period.label)
    if period.status == BillingPeriod.Status.CLOSED:
        rules = [rule for rule in rules if period.closed_at is None or rule.created_at <= period.closed_at]
    if not rules:
        return ()
    made = of_month(period)
    return tuple(
        SharedCost(rule.name, rule.source, rule.tag, rule.value, _shares(made, rule)) for rule in rules
    )


def _shares(made: Chargebacks, rule: SplitRule) -> dict[str, Decimal]:
    """The part of what a rule gives that each cost centre gets; credits are given as what is less to pay."""
    sign = -1 if rule.source == SplitRule.Source.CREDITS else 1
    given = {
        item.cost_center: sum(
            (one.usd for one in item.moved if one.rule == rule.name and one.usd * sign > 0), start=Decimal(0)
        )
        for item in made.items
    }
    whole = sum(given.values(), start=Decimal(0))
    return {name: EXACT.divide(usd, whole).quantize(TWELVE_PLACES) for name, usd in given.items() if usd}


def file_of(period: BillingPeriod, *, format_name: str, cost_center: str | None = None) -> tuple[str, bytes]:
    """Name and bytes of a file: of one cost centre, or of all, which a PDF is never. Raises NoSuchChargeback."""
    if format_name == "pdf" and cost_center is None:
        raise NoSuchChargeback("a PDF is of one cost centre: name it")
    made = of_month(period)
    name = "-".join((made.tenant_slug, made.code or made.month, "chargeback"))
    if cost_center is not None:
        items = tuple(item for item in made.items if item.cost_center == cost_center)
        made, name = replace(made, items=items), f"{name}-{_in_names(cost_center)}"
        if not items:
            raise NoSuchChargeback(f"{period.label} has nothing of the cost centre {cost_center[:100]!r}")
    if format_name == "pdf":
        return f"{name}.pdf", _pdf(made, period)
    write = {"csv": write_csv, "json": write_json}[format_name]
    return f"{name}.{format_name}", write(made)


def _pdf(made: Chargebacks, period: BillingPeriod) -> bytes:
    statement = Statement.objects.filter(period=period).first()
    tops = _tops(statement, made.items[0].cost_center) if statement else {}
    issued_at = statement.issued_at if statement else now()
    return write_pdf(made, made.items[0], issued_at=issued_at, tops=tops)


def _tops(statement: Statement, cost_center: str) -> dict[str, Iterable[tuple[str, Decimal]]]:
    """The dearest models and users of a cost centre's own lines."""
    lines = statement.lines.filter(cost_center=cost_center).order_by()
    return {
        title: [
            (row[column], row["usd"])
            for row in lines.values(column).annotate(usd=Sum("exact_usd")).order_by("-usd", column)[:SHOWN]
        ]
        for title, column in (("By model", "model"), ("By user", "user_id"))
    }


def _in_names(text: str) -> str:
    """What may stand in the name of a file."""
    return "".join(one if one.isascii() and one.isalnum() else "-" for one in text)[:60] or "none"
