"""Admission: holds money before a call, or refuses the call.

Invariant: a call goes out only after its hold has been committed in every window that applies to it; the
decision is PostgreSQL's alone, under the windows' locks. Nothing here remembers a balance.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson

from billing.budgets.balances import Balance, BudgetExceeded, tightest
from billing.budgets.windows import BudgetFacts, WindowKey, windows_for
from billing.ledger import connection, settlements
from billing.ledger.connection import array_literal
from billing.ledger.group_commit import GroupCommit
from billing.ledger.ledger_group import WINDOWS, Kind, Outcome, Part
from billing.ledger.seen_balances import remember, seems_to_fit, seen
from billing.ledger.window_ids import ATTEMPT_SECONDS, ids_of
from billing.scopes import NO_DIMENSIONS, Dimensions
from config import resources
from config.database import storable
from config.values import value_type

MARK_SENT = "SELECT billing_mark_sent(%s::uuid[], %s::timestamptz)"
BALANCES = "SELECT billing_balances(%s::bigint[], %s::bigint[], %s::text[], %s::timestamptz[])::text"

_Look = tuple[int, Sequence[WindowKey]]  # of a tenant at its windows


@value_type
class NewAttempt:
    """A call that is about to go out, and the most it can cost.

    `dims` is what its ledger row says besides: project, cost_center, tags, endpoint, model_asked, tier,
    cache_state. An attempt that waits (a line of a batch) is admitted with `is_sent=False`.
    """

    id: UUID
    tenant_id: int
    request_id: UUID
    attempt_no: int
    key_id: int | None
    provider: str
    model: str
    occurred_at: datetime
    hold_usd: Decimal
    hold_tokens: int
    windows: tuple[WindowKey, ...]
    user: str = ""
    feature: str = ""
    processing: str = "online"
    is_sent: bool = True
    ttl_seconds: float = ATTEMPT_SECONDS
    dims: Mapping[str, Any] = field(default_factory=dict)


async def admit(attempt: NewAttempt) -> list[Balance]:
    """Hold the attempt's bound in all its windows and commit it as sent; the balances after.

    Raises BudgetExceeded with the fullest budget that had no room, and LedgerUnavailable. Admitting the same
    attempt again holds nothing more.
    """
    return await ADMISSIONS.submit(attempt)


async def mark_sent(attempt_ids: Iterable[UUID], *, ttl_seconds: float) -> int:
    """Say that held attempts go out now, and by when they will have ended; how many did."""
    expires_at = datetime.now(UTC) + timedelta(seconds=ttl_seconds)
    row = await connection.twice(lambda: connection.call(MARK_SENT, (array_literal(attempt_ids), expires_at)))
    return int(row[0])


async def balances_of(
    tenant_id: int,
    *,
    budgets: Iterable[BudgetFacts],
    timezone: str,
    at: datetime,
    dimensions: Dimensions = NO_DIMENSIONS,
) -> list[Balance]:
    """The balances of the budgets that apply, as admission would see them now; one query. Raises LedgerUnavailable."""
    return await balances_in(tenant_id, windows_for(budgets, dimensions, at=at, timezone=timezone))


async def recent_balances(
    tenant_id: int, windows: Sequence[WindowKey], *, since: float, calm_percent: float = 0
) -> list[Balance]:
    """The balances of windows as this process saw them last, since then (monotonic) and within a second, or a minute where
    they are used to less than `calm_percent`; else as they are now. A hint for choices: what may be held, admission says.
    Raises LedgerUnavailable."""
    try:
        return seen(windows, since=since, calm_percent=calm_percent)
    except KeyError:
        return await balances_in(tenant_id, windows)


async def look(attempt: NewAttempt) -> None:
    """Raise the BudgetExceeded that `admit` would raise now; nothing is held. One query. Raises LedgerUnavailable."""
    short = [
        balance
        for balance in await balances_in(attempt.tenant_id, attempt.windows)
        if balance.mode == "hard" and _amount(attempt, balance.unit) > balance.remaining
    ]
    if short:
        fullest = tightest(short)
        raise BudgetExceeded(fullest, needed=Decimal(_amount(attempt, fullest.unit)))


async def balances_in(tenant_id: int, windows: Sequence[WindowKey]) -> list[Balance]:
    """The balances of windows, as admission would see them now; one query. Raises LedgerUnavailable."""
    return await _looks.submit((tenant_id, windows)) if windows else []


async def _look_group(looks: list[_Look]) -> list[list[Balance] | Exception]:
    asked = {
        (tenant_id, window.budget.id, window.subject, window.starts_at): window
        for tenant_id, windows in looks
        for window in windows
    }
    parameters = tuple(map(list, zip(*asked, strict=True)))
    row = await connection.twice(lambda: connection.call(BALANCES, parameters))
    found: dict[tuple[int, int, str, datetime], Balance] = {}
    for key, window, entry in zip(asked, asked.values(), orjson.loads(row[0]), strict=True):
        if entry is None:  # deleted since the snapshot was built
            continue
        limit, spent, held, mode = entry
        budget = window.budget
        amounts = Decimal(limit), Decimal(spent), Decimal(held)
        found[key] = Balance(
            budget.id,
            budget.scope,
            window.subject,
            budget.unit,
            budget.period,
            mode,
            *amounts,
            window.ends_at,
        )
    remember(found.values())
    keys = [
        [(tenant_id, window.budget.id, window.subject, window.starts_at) for window in windows]
        for tenant_id, windows in looks
    ]
    return [[found[key] for key in its if key in found] for its in keys]


async def admission_of(attempt: NewAttempt) -> Part[list[Balance]]:
    """What `billing_commit_group` is asked for one admission, and how its answer is read."""
    return await _write([attempt])


async def _write(attempts: list[NewAttempt]) -> Part[list[Balance]]:
    ids = await ids_of(window for attempt in attempts for window in attempt.windows)
    ordered = sorted(set(ids.values()))
    position = {window_id: index for index, window_id in enumerate(ordered, 1)}
    rows, hold_attempts, hold_windows, hold_amounts, windows_of = [], [], [], [], []
    asked: dict[int, WindowKey] = {}
    wanted: dict[int, Decimal] = {}
    now = datetime.now(UTC)
    for number, attempt in enumerate(attempts, 1):
        window_ids, amounts = [], []
        for window in attempt.windows:
            window_id = ids.get((window.budget.id, window.subject, window.starts_at))
            if window_id is None:
                continue
            amount = _amount(attempt, window.budget.unit)
            window_ids.append(window_id)
            amounts.append(amount)
            hold_attempts.append(number)
            hold_windows.append(position[window_id])
            hold_amounts.append(amount)
            asked[window_id] = window
            wanted[window_id] = wanted.get(window_id, Decimal(0)) + amount
        windows_of.append(window_ids)
        rows.append(
            {
                "id": attempt.id,
                "tenant_id": attempt.tenant_id,
                "request_id": attempt.request_id,
                "attempt_no": attempt.attempt_no,
                "key_id": attempt.key_id,
                "user_id": attempt.user,
                "feature": attempt.feature,
                "provider": attempt.provider,
                "model": attempt.model,
                "processing": attempt.processing,
                "occurred_at": attempt.occurred_at,
                "hold_usd": str(attempt.hold_usd),
                "hold_tokens": attempt.hold_tokens,
                "window_ids": array_literal(window_ids),
                "hold_amounts": array_literal(amounts),
                "state": "sent" if attempt.is_sent else "held",
                "expires_at": now + timedelta(seconds=attempt.ttl_seconds),
                "dims": attempt.dims,
            }
        )
    parameters = (
        storable.json_text(rows),
        array_literal(ordered),
        array_literal(hold_attempts),
        array_literal(hold_windows),
        array_literal(hold_amounts),
        not all(seems_to_fit(window, wanted[window_id]) for window_id, window in asked.items()),
    )

    def read(outcome: Outcome) -> list[list[Balance] | Exception]:
        replies: list[list[Balance] | Exception] = []
        for attempt, refused_by, window_ids in zip(
            attempts, outcome.columns["admitted"], windows_of, strict=True
        ):
            if refused_by > 0:
                balance = outcome.balances[ordered[refused_by - 1]]
                replies.append(BudgetExceeded(balance, needed=Decimal(_amount(attempt, balance.unit))))
            else:
                replies.append(outcome.balances_of(window_ids))
        return replies

    return Part(parameters, read)


def _undo(attempts: list[NewAttempt]) -> None:
    """Nothing of this goes out, so nothing of it may stay held."""
    for attempt in attempts:
        resources.background(settlements.void(attempt.id, reason="admission was not confirmed"))


def _amount(attempt: NewAttempt, unit: str) -> Decimal | int:
    if unit == "usd":
        return attempt.hold_usd
    return attempt.hold_tokens if unit == "tokens" else 1


_looks: GroupCommit[_Look, list[Balance]] = GroupCommit(_look_group)
ADMISSIONS: Kind[NewAttempt, list[Balance]] = Kind(
    (
        ("p_attempts", "jsonb"),
        ("p_windows", "bigint[]"),
        ("p_hold_attempts", "int[]"),
        ("p_hold_windows", "int[]"),
        ("p_hold_amounts", "numeric[]"),
        ("p_is_tight", "boolean"),
    ),
    ("admitted", WINDOWS),
    _write,
    key=lambda attempt: attempt.id,
    when_lost=_undo,
)
