"""What a certificate claims: pure figures of a month's calls, the providers' reports, and how the two were compared.

Invariant: every USD that the tenant is billed for calls is in exactly one group, and the groups make the sum. A share is rounded
against us: what is explained down, what is not up. A tenant's certificate has shares of a provider's bill and no amounts of it:
what we pay is not the tenant's to know, and an account may have other tenants. The amounts are in the annex, whose digest it
carries.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_DOWN, ROUND_UP, Decimal
from typing import Any, Final

from billing.models.reconciliation import Cause, CostComparison
from billing.money import plain

Kind = CostComparison.Kind
VERSION: Final = 1
EXPLAINED, BY_AMOUNT, NOT_REPORTED = "explained", "explained_by_amount", "not_reported"
CAUSES: Final = ("late", "missing_at_us", "missing_at_them", "price", "rounding", "credits", "other")
GROUPS: Final = (EXPLAINED, BY_AMOUNT, *CAUSES, NOT_REPORTED)
LABELS: Final = {
    EXPLAINED: "Explained to the token",
    BY_AMOUNT: "Explained to the amount; the report has no tokens",
    "late": "Billed on another day",
    "missing_at_us": "Billed, and not in our books",
    "missing_at_them": "In our books, and not billed",
    "price": "Another price",
    "rounding": "Rounding",
    "credits": "Credits",
    "other": "Other",
    NOT_REPORTED: "No report of the provider: nothing is claimed",
}
_OF_CAUSE: Final[Mapping[str, str]] = {
    Cause.LATE: "late",
    Cause.MIDNIGHT: "late",
    Cause.NOT_BOOKED: "missing_at_us",
    Cause.PAST_US: "missing_at_us",
    Cause.UNKNOWN_MODEL: "missing_at_us",
    Cause.DAY_MISSING: "missing_at_them",
    Cause.LINE_MISSING: "missing_at_them",
    Cause.PROJECT: "missing_at_them",
    Cause.PRICE: "price",
    Cause.KNOWN_PRICE: "price",
    Cause.PRICE_IN_THE_DAY: "price",
    Cause.BATCH_DISCOUNT: "price",
    Cause.PROCESSING: "price",
    Cause.ONE_FACTOR: "price",
    Cause.ROUNDING: "rounding",
    Cause.CREDIT: "credits",
}
# of comparisons that are older than their causes
_OF_KIND: Final[Mapping[str, str]] = {
    Kind.BOUNDARY: "late",
    Kind.MISSING_HERE: "missing_at_us",
    Kind.BYPASS: "missing_at_us",
    Kind.MISSING_THERE: "missing_at_them",
    Kind.PRICE: "price",
    Kind.ROUNDING: "rounding",
    Kind.CREDIT: "credits",
}
_SHARE: Final = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class Compared:
    """A day, model and meter of an account, as it was compared."""

    day: date
    model: str
    meter: str
    kind: str
    cause: str
    has_quantity: bool
    their_usd: Decimal
    difference_usd: Decimal

    @property
    def group(self) -> str:
        """Where it stands on a certificate."""
        if self.kind == Kind.MATCH:
            return EXPLAINED if self.has_quantity else BY_AMOUNT
        return _OF_CAUSE.get(self.cause) or _OF_KIND.get(self.kind, "other")


@dataclass(frozen=True, slots=True)
class Account:
    """An account that calls of the month went to: its days of the month, those that reports cover, and what was compared."""

    name: str
    days: int
    covered: frozenset[date]
    compared: tuple[Compared, ...] = ()
    reports: tuple[Mapping[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Calls:
    """What a tenant is billed for the calls of a day to a model of an account."""

    day: date
    account: str
    model: str  # as it is compared
    rows: int
    billed_usd: Decimal


@dataclass(frozen=True, slots=True)
class Month:
    """A month that is being closed: its calls, its other rows by what they are, and the accounts."""

    calls: tuple[Calls, ...]
    others: Mapping[str, tuple[int, Decimal]] = field(default_factory=dict)
    accounts: tuple[Account, ...] = ()


def claims_of(month: Month) -> dict[str, Any]:
    """What the tenant's certificate says of the bills: JSON."""
    billed, rows = _by_group(month)
    whole = sum(billed.values(), start=Decimal(0))
    is_made = any(account.covered for account in month.accounts)
    return {
        "is_made": is_made,
        "calls": {
            "rows": sum(rows.values()),
            "billed_usd": plain(whole),
            "groups": [
                {
                    "group": group,
                    "rows": rows[group],
                    "billed_usd": plain(billed[group]),
                    "share": _share(billed[group], whole, group),
                }
                for group in GROUPS
                if rows[group]
            ],
        },
        "others": [
            {"what": what, "rows": count, "billed_usd": plain(usd)}
            for what, (count, usd) in sorted(month.others.items())
        ],
        "accounts": [_of_account(account) for account in month.accounts],
    }


def annex_of(month: Month) -> dict[str, Any]:
    """The amounts of the providers' bills, which are not the tenant's to know: JSON."""
    return {
        "object": "certificate_annex",
        "version": VERSION,
        "accounts": [
            {
                "account": account.name,
                "billed_usd": plain(sum((one.their_usd for one in account.compared), start=Decimal(0))),
                "groups": [
                    {
                        "group": group,
                        "comparisons": len(found),
                        "billed_usd": plain(sum((one.their_usd for one in found), start=Decimal(0))),
                        "difference_usd": plain(sum((one.difference_usd for one in found), start=Decimal(0))),
                        "causes": _causes(found),
                    }
                    for group, found in _compared_by_group(account).items()
                ],
            }
            for account in month.accounts
        ],
    }


def _by_group(month: Month) -> tuple[dict[str, Decimal], dict[str, int]]:
    """What is billed for calls, and of how many rows, by group: a day's model is as good as the worst of its meters."""
    worst: dict[tuple[str, date, str], Compared] = {}
    covered = {account.name: account.covered for account in month.accounts}
    for account in month.accounts:
        for one in account.compared:
            key = account.name, one.day, one.model
            known = worst.get(key)
            if known is None or _badness(one) > _badness(known):
                worst[key] = one
    billed: dict[str, Decimal] = defaultdict(Decimal)
    rows: dict[str, int] = defaultdict(int)
    for calls in month.calls:
        found = worst.get((calls.account, calls.day, calls.model))
        is_covered = calls.day in covered.get(calls.account, frozenset())
        group = found.group if found is not None and is_covered else NOT_REPORTED
        billed[group] += calls.billed_usd
        rows[group] += calls.rows
    return billed, rows


def _badness(one: Compared) -> tuple[int, Decimal, str]:
    is_explained = one.group in (EXPLAINED, BY_AMOUNT)
    return (0 if one.group == EXPLAINED else 1 if is_explained else 2), abs(one.difference_usd), one.meter


def _of_account(account: Account) -> dict[str, Any]:
    groups = _compared_by_group(account)
    sums = {
        group: sum((abs(one.their_usd) for one in found), start=Decimal(0)) for group, found in groups.items()
    }
    whole = sum(sums.values(), start=Decimal(0))
    return {
        "account": account.name,
        "days": account.days,
        "days_reported": len(account.covered),
        "reports": list(account.reports),
        "shares": [
            {"group": group, "share": _share(usd, whole, group)} for group, usd in sums.items() if whole
        ],
    }


def _compared_by_group(account: Account) -> dict[str, list[Compared]]:
    groups: dict[str, list[Compared]] = defaultdict(list)
    for one in account.compared:
        if one.day in account.covered:
            groups[one.group].append(one)
    return {group: groups[group] for group in GROUPS if groups[group]}


def _causes(found: Iterable[Compared]) -> list[dict[str, Any]]:
    """Each cause within a group, the largest difference first."""
    sums: dict[str, list[Decimal]] = defaultdict(list)
    for one in found:
        if one.kind != Kind.MATCH:
            sums[Cause(one.cause).label if one.cause else one.kind].append(one.difference_usd)
    rows = [(cause, len(each), sum(each, start=Decimal(0))) for cause, each in sums.items()]
    return [
        {"cause": cause, "comparisons": count, "difference_usd": plain(usd)}
        for cause, count, usd in sorted(rows, key=lambda row: (-abs(row[2]), row[0]))
    ]


def _share(part: Decimal, whole: Decimal, group: str) -> str:
    """A share of a whole, rounded against us; what has no whole has no share."""
    if not whole:
        return ""
    rounding = ROUND_DOWN if group in (EXPLAINED, BY_AMOUNT) else ROUND_UP
    return f"{(part / whole).quantize(_SHARE, rounding=rounding):f}"
