"""The measures of ledger rows, each defined once, in SQL: for the API, month reports, statements, sums by day and with
them the home page.

- An own call is one that the gateway makes for its caches: a check, an embedding, a judge. It costs, but is no client's request.
- A request is what a client asked once, and what was bought or spared for it: hedges, fallbacks and repairs are further rows of
  the same request. It counts on the first of its rows, so that counts of groups add up. A credit, an adjustment and a
  correction are none.
- A hit is a request that our caches answered.
- Saved is the list cost less what is billed.

Invariant: an expression reads `r`, a row of `ledger(...)`, and every figure adds up over groups of rows. Where two figures of
the same month differ they look at other rows: by the time of the call (`/v1/usage`, in the tenant's days; the home page, in
UTC days), or by the period that the row was booked in (month reports and statements).
"""

from typing import Final

from billing.prices.savings import OUR_OWN

_OWN: Final = ", ".join(f"'{state}'" for state in sorted(OUR_OWN))
OWN_CALL: Final = f"r.cache_state IN ({_OWN})"
_ASKED: Final = f"r.kind = 'usage' AND NOT {OWN_CALL}"

REQUEST: Final = f"{_ASKED} AND further.id IS NULL"
HIT: Final = f"{REQUEST} AND r.usage_source = 'gateway_cache'"
# by hand, or from a provider's bill: no call, so no list price
ENTERED: Final = "usage_source IN ('manual', 'provider_invoice')"
ESTIMATED_REQUEST: Final = f"{REQUEST} AND r.usage_source = 'estimated'"
SAVED: Final = "r.list_cost - r.billed_cost"

REQUESTS: Final = f"count(*) FILTER (WHERE {REQUEST})"
HITS: Final = f"count(*) FILTER (WHERE {HIT})"
ESTIMATED_REQUESTS: Final = f"count(*) FILTER (WHERE {ESTIMATED_REQUEST})"
SAVED_USD: Final = f"coalesce(sum({SAVED}), 0)"


def ledger(where: str) -> str:
    """The FROM item of ledger rows `r` for which a condition holds, and which of them are `further` rows of their request.

    All rows of a request happened at its one moment, so a condition on tenant and time has all of them or none.
    """
    return f"""billing_usagerecord AS r
    LEFT JOIN (
        SELECT id FROM (
            SELECT r.id, row_number() OVER (PARTITION BY r.occurred_at, coalesce(r.request_id, r.id) ORDER BY r.id) AS place
            FROM billing_usagerecord AS r WHERE {where} AND {_ASKED}) AS placed
        WHERE place > 1) AS further ON further.id = r.id"""
