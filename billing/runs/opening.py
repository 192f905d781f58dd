"""Envelopes on the way of a call: the one that pays for its run, opened where the tenant's policy says so.

Invariant: whose an envelope is, is what the key says: the person it is bound to, else the key and whom its calls name. So
nobody opens, finds or empties another one's, and the envelopes of an owner are counted in PostgreSQL. What this process
knows of one is only which budget it is and until when; what is left of it, the ledger says.
"""

import time
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from billing.budgets.windows import BEGINNING, BudgetFacts, WindowKey
from billing.ledger import connection
from billing.scopes import RUN
from config.values import value_type
from tenants.principal import Principal

OPEN: Final = "SELECT budget_id, limit_amount, expires_at, is_full FROM billing_open_envelope(%s, %s, %s, %s, %s, %s, %s, %s)"
SESSION, NAMED, ASKED, PERSON = "session", "run", "asked", "person"  # what opened one
MOST_KNOWN: Final = 20_000
ABSENT_SECONDS: Final = 2.0  # that one which a person may open meanwhile is taken for absent


@value_type
class Owner:
    """Who is known to call. `user` is whom an unbound key's calls name; there is no wall between those but their word."""

    id: str
    user: str

    @classmethod
    def of(cls, principal: Principal, *, user: str) -> "Owner":
        if principal.user:
            return cls(f"user/{principal.user}", "")
        return cls(f"key/{principal.key_id}", user)


@value_type
class Wish:
    """What is to be open: `usd` None means that nothing is opened, only found."""

    tenant_id: int
    owner: Owner
    run: str
    opened_by: str
    usd: Decimal | None
    until: datetime
    most_open: int


@value_type
class Envelope:
    """An envelope that is open."""

    id: int
    run: str
    limit: Decimal  # at first; raises come on top
    expires_at: datetime

    @property
    def window(self) -> WindowKey:
        """What a hold in it is."""
        facts = BudgetFacts(
            id=self.id,
            scope=RUN,
            value=self.run,
            unit="usd",
            period="total",
            limit_amount=self.limit,
            mode="hard",
            alert_at=(),
            label=f"envelope of run '{self.run}'",
        )
        return WindowKey(facts, self.run, BEGINNING, self.expires_at)

    def to_json(self) -> dict[str, Any]:
        """As a call that waits keeps it."""
        return {
            "id": self.id,
            "run": self.run,
            "limit": f"{self.limit:f}",
            "expires_at": self.expires_at.isoformat(),
        }

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> "Envelope":
        return cls(
            kept["id"], kept["run"], Decimal(kept["limit"]), datetime.fromisoformat(kept["expires_at"])
        )


def envelope_windows(context: Mapping[str, Any]) -> tuple[WindowKey, ...]:
    """The window of the envelope that pays for work which waits, as its row keeps it; none where there is no envelope."""
    kept = context.get("envelope")
    return (Envelope.from_json(kept).window,) if kept else ()


class NoMoreEnvelopes(Exception):
    """The owner has as many open ones as it may."""


_Key = tuple[int, str, str, str]
_known: dict[_Key, Envelope] = {}
_absent: dict[_Key, float] = {}


async def find(wish: Wish, *, at: datetime) -> Envelope | None:
    """The open envelope of a run, opened if that is wished; one that is known costs a look into a dictionary. Raises
    NoMoreEnvelopes, and LedgerUnavailable."""
    key = wish.tenant_id, wish.owner.id, wish.owner.user, wish.run
    known = _known.get(key)
    if known is not None and known.expires_at > at:
        return known
    if wish.usd is None and _absent.get(key, 0) > time.monotonic():
        return None
    row = await connection.twice(
        lambda: connection.call(OPEN, (*key, wish.opened_by, wish.usd, wish.until, wish.most_open))
    )
    budget_id, limit, expires_at, is_full = row
    if is_full:
        raise NoMoreEnvelopes
    if max(len(_known), len(_absent)) > MOST_KNOWN:
        _known.clear()
        _absent.clear()
    if budget_id is None:
        _absent[key] = time.monotonic() + ABSENT_SECONDS
        return None
    _known[key] = Envelope(budget_id, wish.run, limit, expires_at)
    return _known[key]
