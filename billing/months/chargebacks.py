"""Chargebacks: what each cost centre of a tenant bears of a month, once shared cost is divided.

Invariant: a step after the ledger and the statement, which it never changes. To the last digit the cost centres bear what the
ledger says, owe what the statement asks for, and its tax; chargebacks that do not are never returned.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from billing.models import BillingPeriod, SplitRule, Statement, UsageRecord
from billing.months.amounts import apportion, divide_owed, minor_unit
from billing.months.cuts import OF_PERIOD, Unbalanced, read_rows, require_equal
from billing.months.parts import NOTHING
from billing.months.split_rules import condition_of, rule_of, rules_in_force
from billing.months.splitting import Split, split

KINDS: Final = tuple(str(kind) for kind in UsageRecord.Kind.values)
# Of each cost centre and kind, what each rule takes and (0) what none does; and of all rows together, in the same look at them. A
# row is the first rule's that names it.
SUMS: Final = """
SELECT cost_center, kind, rule, coalesce(sum(billed_cost), 0) AS usd, count(*)::bigint AS records,
       grouping(rule) = 1 AS is_whole
FROM (SELECT r.cost_center, r.kind, {rule} AS rule, r.billed_cost FROM billing_usagerecord AS r WHERE {rows}) AS taken
GROUP BY GROUPING SETS ((cost_center, kind, rule), ())
"""


class UnbalancedChargebacks(Unbalanced):
    """What the cost centres bear does not make the month."""


@dataclass(frozen=True, slots=True)
class Moved:
    """What a rule puts on a cost centre, or with a minus takes off it."""

    rule: str
    method: str
    usd: Decimal


@dataclass(slots=True)
class Chargeback:
    """What one cost centre bears. `own` is what was booked on it, by kind; with `moved` it makes `exact_usd`."""

    cost_center: str
    own: dict[str, Decimal] = field(default_factory=dict)
    records: int = 0
    moved: list[Moved] = field(default_factory=list)
    owed: Decimal = NOTHING
    tax: Decimal = NOTHING

    @property
    def own_usd(self) -> Decimal:
        return sum(self.own.values(), start=NOTHING)

    @property
    def exact_usd(self) -> Decimal:
        return sum((one.usd for one in self.moved), start=self.own_usd)


@dataclass(frozen=True, slots=True)
class Chargebacks:
    """A month's, by cost centre; that without a name is the rest which no rule gives to anybody."""

    tenant_slug: str
    tenant_name: str
    month: str
    timezone: str
    code: str  # of the statement; empty of a month that is open
    currency: str
    exact_usd: Decimal
    total: Decimal
    tax: Decimal
    items: tuple[Chargeback, ...]


def chargebacks_of(
    period: BillingPeriod, *, statement: Statement | None = None, rules: Sequence[SplitRule] | None = None
) -> Chargebacks:
    """Divide a month by the rules in force, or by others to see what they would do. With its statement, what that asks for
    is divided too; without, it is what would be asked for in USD, without tax. Raises UnbalancedChargebacks.

    The ledger is read once, so a month that is written meanwhile balances too.
    """
    tenant = period.tenant
    found = rules_in_force(tenant, month=period.label) if rules is None else list(rules)
    arguments: dict[str, Any] = {"tenant": tenant.pk, "period": period.pk}
    sums = _sums(found, arguments)
    rows = [row for row in sums if not row["is_whole"]]
    items = _own(rows)
    shared: list[dict[str, Decimal]] = [{} for _ in found]
    own: dict[str, Decimal] = {}
    for row in rows:
        part = shared[row["rule"] - 1] if row["rule"] else own
        part[row["cost_center"]] = part.get(row["cost_center"], NOTHING) + row["usd"]
    _move(items, split([rule_of(row) for row in found], shared=shared, own=own))
    asked = statement or Statement()
    _owe(items, currency=asked.currency, fx_rate=Decimal(asked.fx_rate), tax=Decimal(asked.tax))
    owed = sum((one.owed for one in items.values()), start=NOTHING)
    made = Chargebacks(
        tenant_slug=tenant.slug,
        tenant_name=tenant.name,
        month=period.label,
        timezone=period.timezone,
        code=asked.code,
        currency=asked.currency,
        exact_usd=next(row["usd"] for row in sums if row["is_whole"]),
        total=statement.total if statement else owed,
        tax=Decimal(asked.tax),
        items=tuple(items[name] for name in sorted(items)),
    )
    check(made)
    return made


def check(made: Chargebacks) -> None:
    """Raise UnbalancedChargebacks unless the cost centres make the month's sums."""
    try:
        for name in ("exact_usd", "tax"):
            parts = sum((getattr(one, name) for one in made.items), start=NOTHING)
            require_equal(f"chargebacks.{name}", parts, getattr(made, name))
        owed = sum((one.owed for one in made.items), start=NOTHING)
        require_equal("chargebacks.owed", owed, made.total)
        moved = sum((one.usd for item in made.items for one in item.moved), start=NOTHING)
        require_equal("chargebacks.moved", moved, NOTHING)
    except Unbalanced as error:
        raise UnbalancedChargebacks(str(error)) from error


def _sums(rules: Sequence[SplitRule], arguments: dict[str, Any]) -> list[dict[str, Any]]:
    cases = []
    for number, rule in enumerate(rules, start=1):
        condition, values = condition_of(rule, number=number)
        cases.append(f"WHEN {condition} THEN {number}")
        arguments |= values
    taken = f"CASE {' '.join(cases)} ELSE 0 END" if cases else "0"
    return read_rows(SUMS.format(rule=taken, rows=OF_PERIOD), arguments)


def _own(rows: Sequence[Mapping[str, Any]]) -> dict[str, Chargeback]:
    items: dict[str, Chargeback] = {}
    for row in rows:
        item = items.setdefault(row["cost_center"], Chargeback(row["cost_center"]))
        item.own[row["kind"]] = item.own.get(row["kind"], NOTHING) + row["usd"]
        item.records += row["records"]
    return items


def _move(items: dict[str, Chargeback], splits: Sequence[Split]) -> None:
    for one in splits:
        for sign, parts in ((-1, one.taken), (1, one.given)):
            for name, usd in parts.items():
                if usd:
                    item = items.setdefault(name, Chargeback(name))
                    item.moved.append(Moved(one.rule.name, one.rule.method, sign * usd))


def _owe(items: Mapping[str, Chargeback], *, currency: str, fx_rate: Decimal, tax: Decimal) -> None:
    """What each owes in whole minor units, as the statement divides it, and its part of the tax."""
    names = sorted(items)
    owed = divide_owed({name: items[name].exact_usd for name in names}, currency=currency, fx_rate=fx_rate)
    taxes = _divided(tax, [owed[name] for name in names], unit=minor_unit(currency))
    for name, part in zip(names, taxes, strict=True):
        items[name].owed, items[name].tax = owed[name], part


def _divided(tax: Decimal, owed: Sequence[Decimal], *, unit: Decimal) -> list[Decimal]:
    total = sum(owed, start=NOTHING)
    if not tax or not total:
        return [NOTHING] * len(owed)
    return apportion([part * tax / total for part in owed], total=tax, unit=unit)
