"""Prepaid balances: opened, topped up, granted, paid back, expired; what is left of them and for how long.

Invariant: calls are admitted by the functions of budgets, whose limit is what was added and not taken back; so a balance is never
spent or held beyond what is in it. Only tenants that have one lock its window.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID, uuid4

import structlog
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.utils.timezone import now

from billing.budgets.windows import BEGINNING
from billing.four_eyes import Approval, require_agreed
from billing.models import BillingPeriod, Budget, PrepaidBalance, PrepaidEntry
from billing.money import plain
from billing.notices import notify_tenant
from billing.planning.forecasts import forecast_windows, open_windows
from billing.planning.pace import Runway, runway_of
from billing.scopes import PREPAID
from tenants.models import Tenant

LOW: Final = "prepaid_low"
MOST_AT_ONCE: Final = 1000  # balances in one round
BOOK = "SELECT billing_prepaid_book(%s, %s, %s, %s, %s, %s, %s, %s)"
EXPIRE = "SELECT billing_prepaid_expire(%s, %s)"
PARTS = "SELECT * FROM billing_prepaid_parts(%s)"
STATES = """
SELECT b.id, b.limit_amount, coalesce(w.spent, 0), coalesce(w.held, 0)
FROM billing_budget b
LEFT JOIN LATERAL (SELECT sum(spent) AS spent, sum(held) AS held FROM billing_budgetwindow WHERE budget_id = b.id) w ON true
WHERE b.id = ANY (%s)
"""
# A call is paid from the balance in whose window it was admitted.
USED = """
SELECT coalesce(sum(r.billed_cost), 0) FROM billing_usagerecord AS r
JOIN billing_attempt AS a ON a.id = r.id AND a.tenant_id = r.tenant_id
WHERE r.tenant_id = %(tenant)s AND r.period_id = %(period)s AND r.kind = 'usage'
  AND a.window_ids && (SELECT array_agg(w.id) FROM billing_budgetwindow AS w WHERE w.budget_id = %(budget)s)
"""
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class BalanceState:
    """A balance now. `left` is what is not spent, `available` what a call may still hold."""

    added: Decimal
    spent: Decimal
    held: Decimal

    @property
    def left(self) -> Decimal:
        return self.added - self.spent

    @property
    def available(self) -> Decimal:
        return self.added - self.spent - self.held


@dataclass(frozen=True, slots=True)
class Part:
    """What is left of one addition; the one that expires first is used first."""

    entry_id: UUID
    amount_usd: Decimal
    expires_at: datetime | None
    left_usd: Decimal


@transaction.atomic
def open_balance(
    tenant: Tenant,
    *,
    alert_below_usd: Iterable[int | float] = (),
    first_usd: Decimal | None = None,
    first_reason: str = "",
    acting_user: User | None = None,
    approval: Approval | None = None,
) -> PrepaidBalance:
    """Have a tenant's calls be paid from a balance, which has its first amount, or is empty; one that is there is left alone.

    Raises ValidationError, and NeedsAnother.
    """
    Tenant.objects.select_for_update(no_key=True).get(pk=tenant.pk)
    known = PrepaidBalance.objects.filter(tenant=tenant).select_related("budget").first()
    if known is not None:
        return known
    levels = [*alert_below_usd]
    require_agreed(
        "prepaid_open",
        tenant=tenant,
        approval=approval,
        summary=f"prepaid balance of {tenant} with {plain(first_usd or Decimal(0))} USD",
        arguments={"alert_below_usd": levels, "first_usd": first_usd, "first_reason": first_reason},
    )
    budget = Budget(tenant=tenant, scope=PREPAID, unit="usd", period="total", limit_amount=0, alert_at=[])
    budget.set_by = Budget.SetBy.PLATFORM
    budget._history_user = acting_user  # type: ignore[attr-defined]  # django-simple-history reads it
    budget.save()
    balance = PrepaidBalance(budget=budget, tenant=tenant, alert_below_usd=levels, opened_by=acting_user)
    balance.full_clean()
    balance.save(force_insert=True)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT billing_ensure_windows(%s, %s, %s, %s)",
            ([budget.pk], [""], [BEGINNING], [None]),
        )
    if first_usd is not None:
        add(balance, amount_usd=first_usd, reason=first_reason, acting_user=acting_user, approval=approval)
    return balance


def add(
    balance: PrepaidBalance,
    *,
    amount_usd: Decimal,
    reason: str,
    kind: str = PrepaidEntry.Kind.TOP_UP,
    expires_at: datetime | None = None,
    entry_id: UUID | None = None,
    acting_user: User | None = None,
    approval: Approval | None = None,
) -> Decimal:
    """Add what was paid, or is granted, to a balance; what is available then. With an `entry_id` the same again adds nothing.

    Raises ValidationError for an amount that is none, or an end that has passed; and NeedsAnother.
    """
    if kind not in (PrepaidEntry.Kind.TOP_UP, PrepaidEntry.Kind.GRANT):
        raise ValidationError({"kind": "what is added is paid or granted"})
    if amount_usd <= 0:
        raise ValidationError({"amount_usd": "what is added is more than 0"})
    known = PrepaidEntry.objects.filter(pk=entry_id).first() if entry_id else None
    if known is not None and (known.balance_id, known.amount_usd, known.kind) != (
        balance.pk,
        amount_usd,
        kind,
    ):
        raise ValidationError({"amount_usd": "another entry has this id: an entry is never edited"})
    if known is None and expires_at is not None and expires_at <= now():
        raise ValidationError({"expires_at": "must be in the future"})
    if known is None:
        require_agreed(
            "prepaid_add",
            tenant=balance.tenant,
            approval=approval,
            summary=f"{plain(amount_usd)} USD into the prepaid balance of {balance.tenant}: {reason}",
            arguments={
                "balance": balance.pk,
                "amount_usd": amount_usd,
                "reason": reason,
                "kind": str(kind),
                "expires_at": expires_at,
                "entry_id": entry_id,
            },
        )
    return _book(balance, entry_id, kind, amount_usd, expires_at, reason, acting_user)


def pay_back(
    balance: PrepaidBalance,
    *,
    amount_usd: Decimal,
    reason: str,
    acting_user: User | None = None,
    approval: Approval | None = None,
) -> Decimal:
    """Take from a balance what is paid back; what is available then. Raises ValidationError for more than that is, and
    NeedsAnother."""
    if amount_usd <= 0:
        raise ValidationError({"amount_usd": "what is paid back is more than 0"})
    require_agreed(
        "prepaid_pay_back",
        tenant=balance.tenant,
        approval=approval,
        summary=f"{plain(amount_usd)} USD back from the prepaid balance of {balance.tenant}: {reason}",
        arguments={"balance": balance.pk, "amount_usd": amount_usd, "reason": reason},
    )
    return _book(balance, None, PrepaidEntry.Kind.REFUND, -amount_usd, None, reason, acting_user)


def expire_due(at: datetime | None = None) -> Decimal:
    """Take from all balances what has expired unused; how much."""
    moment = at or now()
    due = (
        PrepaidEntry.objects.filter(expires_at__lte=moment)
        .order_by()
        .values_list("balance", flat=True)
        .distinct()
    )
    taken = Decimal(0)
    for budget_id in list(due[:MOST_AT_ONCE]):
        with connection.cursor() as cursor:
            cursor.execute(EXPIRE, (budget_id, moment))
            lost = Decimal(cursor.fetchone()[0])
        if lost:
            log.info("prepaid_expired", balance=budget_id, usd=str(lost))
        taken += lost
    return taken


def notify_low() -> int:
    """Notify tenants whose balance has passed a level; once for each, until something is added. How many levels are passed."""
    watched = PrepaidBalance.objects.exclude(alert_below_usd=[]).filter(budget__is_active=True)
    balances = list(watched.select_related("tenant").order_by("pk")[:MOST_AT_ONCE])
    states = states_of(balances)
    passed = 0
    for balance in balances:
        left = states[balance.pk].left
        levels = [level for level in map(Decimal, map(str, balance.alert_below_usd)) if left <= level]
        passed += len(levels)
        if not levels:
            continue
        added = balance.entries.filter(kind__in=("top_up", "grant")).count()
        for level in levels:
            notify_tenant(
                balance.tenant_id,
                LOW,
                f"The prepaid balance of {balance.tenant} has {plain(round(left, 6))} USD left"
                f" (below {plain(level)} USD); calls are refused when it is empty",
                subject=f"prepaid:{balance.pk}:{added}",
                value=left,
                threshold=level,
            )
    return passed


def used_in(period: BillingPeriod) -> Decimal:
    """What the calls that are booked in a month have taken from the tenant's balance; nothing of a tenant without one."""
    balance = PrepaidBalance.objects.filter(tenant=period.tenant_id).first()
    if balance is None:
        return Decimal(0)
    with connection.cursor() as cursor:
        cursor.execute(USED, {"tenant": period.tenant_id, "period": period.pk, "budget": balance.pk})
        return Decimal(cursor.fetchone()[0])


def states_of(balances: Iterable[PrepaidBalance]) -> dict[int, BalanceState]:
    """Balances as they are now, by their ids. One query."""
    with connection.cursor() as cursor:
        cursor.execute(STATES, ([balance.pk for balance in balances],))
        return {budget_id: BalanceState(*amounts) for budget_id, *amounts in cursor.fetchall()}


def parts_of(balance: PrepaidBalance) -> list[Part]:
    """What is left of each addition, the next to be used first."""
    with connection.cursor() as cursor:
        cursor.execute(PARTS, (balance.pk,))
        return [Part(*row) for row in cursor.fetchall()]


def runway(balance: PrepaidBalance, *, at: datetime | None = None) -> Runway | None:
    """When the balance may be empty, by the forecast of the tenant's spending; None where too little is known for one."""
    windows = open_windows([balance.tenant_id], budget_ids=[balance.pk], at=at)
    if not windows:
        return None
    forecast = forecast_windows(windows, at=at)[windows[0].key]
    found = runway_of(windows[0].limit, forecast)
    return found if found.is_empty or forecast.is_known else None


def _book(balance: PrepaidBalance, entry_id: UUID | None, *entry: Any) -> Decimal:
    kind, amount_usd, expires_at, reason, acting_user = entry
    if not reason.strip():
        raise ValidationError({"reason": "say which invoice, or why"})
    if amount_usd != round(amount_usd, 12):
        raise ValidationError({"amount_usd": "a balance has 12 places"})
    values = (
        entry_id or uuid4(), balance.pk, kind, amount_usd, expires_at, None, reason.strip()[:300],
        acting_user.pk if acting_user else None,
    )  # fmt: skip
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(BOOK, values)
            left = Decimal(cursor.fetchone()[0])
    except IntegrityError as error:
        raise ValidationError({"amount_usd": str(error).splitlines()[0]}) from None
    log.info("prepaid_booked", balance=balance.pk, kind=kind, usd=str(amount_usd), left=str(left))
    return left
