"""The hold of a call that waits: taken over by the attempt that goes out, and kept when that comes to nothing.

Invariant: from its acceptance to its end such a call holds its money without a gap: there is no moment in which another call
could take its room, and none in which it is counted twice.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from psycopg.errors import NoDataFound

from billing.budgets.balances import Balance
from billing.ledger import connection
from billing.ledger.connection import array_literal
from billing.ledger.holds import NewAttempt, admission_of
from billing.ledger.ledger_group import WINDOWS, Outcome
from billing.ledger.seen_balances import read_balances
from billing.ledger.window_ids import forget_ids
from config.values import value_type

TAKE_OVER: Final = (
    f"SELECT admitted, {WINDOWS} FROM"
    " billing_take_over(%s::uuid, %s::jsonb, %s::bigint[], %s::int[], %s::int[], %s::numeric[])"
)
HOLD_AGAIN: Final = "SELECT billing_hold_again(%s::uuid[], %s::timestamptz)"


@value_type
class Reserve:
    """What holds the money of a call that waits: which attempt (None: one that is under way has taken it over), how much at
    least, and until when."""

    attempt_id: UUID | None
    hold_usd: Decimal
    hold_tokens: int
    until: datetime

    def covering(self, attempt: NewAttempt) -> NewAttempt:
        """The attempt with at least what waited for it: should it come to nothing, the dearest way is still paid for."""
        return replace(
            attempt,
            hold_usd=max(attempt.hold_usd, self.hold_usd),
            hold_tokens=max(attempt.hold_tokens, self.hold_tokens),
        )


async def take_over(waiting: UUID, attempt: NewAttempt) -> list[Balance]:
    """Admit an attempt in the place of a hold of the same request, which ends with it; the balances after.

    Raises BudgetExceeded with the fullest budget that has no room, even with the hold's own: it waits on then. Raises
    LedgerUnavailable. Repeating it holds nothing more.
    """

    async def execute() -> list[Balance]:
        part = await admission_of(attempt)
        admitted, windows = await connection.call(TAKE_OVER, (waiting, *part.parameters[:-1]))
        (reply,) = part.read(Outcome({"admitted": admitted}, read_balances(windows)))
        if isinstance(reply, Exception):
            raise reply
        return reply

    try:
        return await connection.twice(execute)
    except NoDataFound:  # a window is gone with its budget
        forget_ids()
        return await connection.twice(execute)


async def hold_again(attempt_ids: Iterable[UUID], *, until: datetime) -> None:
    """Let attempts that were sent, and owe nothing, wait again with what they hold. Idempotent. Raises LedgerUnavailable."""
    parameters = array_literal(attempt_ids), until
    await connection.twice(lambda: connection.call(HOLD_AGAIN, parameters))
