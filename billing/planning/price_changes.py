"""Prices that are in the table already and count from a day to come, with the money that they move.

Invariant: what is shown is the table's own rows, and no contract of another tenant; the money is the last days' usage at the new
rate and at the old one. Small sums know tokens of four kinds in the usual condition; of other meters and conditions the money is
not known, and None.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from django.db import connection

from billing.ledger.rollups import PRICED
from billing.money import EXACT, TWELVE_PLACES

USED_DAYS: Final = 30
MOST_SHOWN: Final = 200

_IDENTITY: Final = (
    "book", "provider", "model", "meter", "service_tier", "processing", "region", "above_input_tokens"
)  # fmt: skip
_SAME: Final = " AND ".join(f"o.{name} = f.{name}" for name in _IDENTITY)
_WHOSE: Final = "(%(tenants)s::bigint[] IS NULL OR {table}.tenant_id = ANY (%(tenants)s::bigint[]))"
_COMING: Final = (
    "f.superseded_at IS NULL AND f.book <> 'cost' AND f.valid_from > %(at)s AND f.valid_from <= %(until)s"
)

AHEAD: Final = f"""
WITH coming AS (
    SELECT f.*, o.unit_price AS old_price, o.per AS old_per
    FROM billing_pricerow AS f
    LEFT JOIN LATERAL (
        SELECT o.unit_price, o.per FROM billing_pricerow AS o
        WHERE {_SAME} AND o.tenant_id IS NOT DISTINCT FROM f.tenant_id AND o.superseded_at IS NULL AND o.valid_from < f.valid_from
        ORDER BY o.valid_from DESC LIMIT 1) AS o ON true
    WHERE {_COMING} AND (f.tenant_id IS NULL OR {_WHOSE.format(table="f")})
      AND (o.unit_price, o.per) IS DISTINCT FROM (f.unit_price, f.per)
    ORDER BY f.valid_from, f.provider, f.model, f.meter, f.id LIMIT %(limit)s),
used AS (
    SELECT d.tenant_id, d.value, sum(d.input_tokens) AS input, sum(d.cache_read_tokens) AS cache_read,
           sum(d.cache_write_tokens) AS cache_write, sum(d.output_tokens) AS output
    FROM billing_usagesum AS d
    WHERE {_WHOSE.format(table="d")} AND d.day >= %(since)s AND d.dimension = 'priced'
      AND d.value IN (SELECT {PRICED} FROM coming)
    GROUP BY d.tenant_id, d.value)
SELECT c.provider, c.model, c.meter, c.processing, c.book, c.valid_from, c.unit_price, c.per, c.old_price, c.old_per,
       CASE WHEN c.service_tier <> 'standard' OR c.region <> 'global' OR c.above_input_tokens > 0 THEN NULL
            ELSE coalesce((SELECT sum(CASE c.meter WHEN 'input' THEN u.input WHEN 'cache_read' THEN u.cache_read
                                                   WHEN 'cache_write' THEN u.cache_write WHEN 'cache_write_5m' THEN u.cache_write
                                                   WHEN 'output' THEN u.output END)
                           FROM used AS u WHERE u.value = concat_ws(chr(31), c.provider, c.model, c.processing)
                             AND (c.tenant_id IS NULL OR u.tenant_id = c.tenant_id)), 0) END
FROM coming AS c ORDER BY c.valid_from, c.provider, c.model, c.meter, c.id
"""
KNOWN_METERS: Final = frozenset({"input", "cache_read", "cache_write", "cache_write_5m", "output"})


@dataclass(frozen=True, slots=True)
class PriceAhead:
    """A price from a day to come. `tokens` are those of the last 30 days; None where sums do not know them."""

    provider: str
    model: str
    meter: str
    processing: str
    book: str
    valid_from: datetime
    unit_price: Decimal
    per: int
    old_price: Decimal | None
    old_per: int | None
    tokens: Decimal | None

    @property
    def usd(self) -> Decimal | None:
        """What the last days' usage would cost at the new price."""
        return None if self.tokens is None else _cost(self.tokens, self.unit_price, self.per)

    @property
    def difference_usd(self) -> Decimal | None:
        """How much more that is than at the old price; None where there was none."""
        if self.tokens is None or self.old_price is None or self.old_per is None:
            return None
        return _cost(self.tokens, self.unit_price, self.per) - _cost(
            self.tokens, self.old_price, self.old_per
        )


def prices_ahead(tenant_ids: Sequence[int] | None, *, at: datetime, within: timedelta) -> list[PriceAhead]:
    """The prices that change until then, the nearest first, with these tenants' usage (None: all): one statement."""
    arguments: dict[str, Any] = {
        "at": at, "until": at + within, "since": _since(at), "limit": MOST_SHOWN,
        "tenants": None if tenant_ids is None else list(tenant_ids),
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(AHEAD, arguments)
        found = [PriceAhead(*row) for row in cursor.fetchall()]
    return [one if one.meter in KNOWN_METERS else _unknown(one) for one in found]


def _since(at: datetime) -> date:
    return at.date() - timedelta(days=USED_DAYS)


def _cost(tokens: Decimal, unit_price: Decimal, per: int) -> Decimal:
    return EXACT.divide(EXACT.multiply(tokens, unit_price), Decimal(per)).quantize(
        TWELVE_PLACES, context=EXACT
    )


def _unknown(one: PriceAhead) -> PriceAhead:
    return PriceAhead(
        one.provider, one.model, one.meter, one.processing, one.book, one.valid_from, one.unit_price, one.per,
        one.old_price, one.old_per, None,
    )  # fmt: skip
