"""Extends a hold while its call runs.

Invariant: a call that outgrows its hold gets more of it by the same decision that admitted it: PostgreSQL's, under the
windows' locks, in all its windows or in none.
"""

from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

import orjson

from billing.budgets.balances import Balance, BudgetExceeded
from billing.ledger import connection
from billing.ledger.group_commit import GroupCommit
from billing.ledger.seen_balances import read_balances

EXTEND = (
    "SELECT refused_by, attempt_windows::text, windows::text FROM"
    " billing_extend(%s::uuid[], %s::numeric[], %s::bigint[])"
)
HAS_ENDED = -1


@dataclass(frozen=True, slots=True)
class Extension:
    """What an attempt is to hold altogether, what it holds already included."""

    attempt_id: UUID
    hold_usd: Decimal
    hold_tokens: int


async def extend(extension: Extension) -> list[Balance]:
    """Raise an attempt's hold in all its windows; the balances after, none for an attempt that has ended.

    Raises BudgetExceeded with the fullest hard budget that has no room (the hold stays as it was), and
    LedgerUnavailable. Repeating it holds nothing more.
    """
    return await _group.submit(extension)


async def _extend_group(extensions: list[Extension]) -> list[list[Balance] | Exception]:
    parameters = (
        connection.array_literal(extension.attempt_id for extension in extensions),
        connection.array_literal(extension.hold_usd for extension in extensions),
        connection.array_literal(extension.hold_tokens for extension in extensions),
    )
    row = await connection.twice(lambda: connection.call(EXTEND, parameters))
    refused_by, attempt_windows, windows = row
    balances = read_balances(windows)
    replies: list[list[Balance] | Exception] = []
    for extension, window_id, its_windows in zip(
        extensions, refused_by, orjson.loads(attempt_windows), strict=True
    ):
        if window_id > 0:
            balance = balances[window_id]
            needed = extension.hold_usd if balance.unit == "usd" else Decimal(extension.hold_tokens)
            replies.append(BudgetExceeded(balance, needed=needed))
        elif window_id == HAS_ENDED:
            replies.append([])
        else:
            replies.append([balances[window] for window in its_windows if window in balances])
    return replies


_group: GroupCommit[Extension, list[Balance]] = GroupCommit(_extend_group)
