"""The measures of ledger rows, each defined once, in SQL: for the API, month reports, statements, sums by day and with
them the home page.

- An own call is one that the gateway makes for its caches: a check, an embedding, a judge. It costs, but is no client's request.
- A request is what a client asked once, and what was bought or spared for it: hedges, fallbacks and repairs are further rows of
  the same request. It counts on the first of its rows, so that counts of groups add up. A credit, an adjustment and a
  correction are none.
- A call is a row of a provider's answer: requests that no cache answered, further calls of a request, and own calls.
- A hit is a request that our caches answered.
- The list cost is what requests would have cost without us: each counts once, and nothing but requests has one.
- Unallocated is what lacks a tag that its tenant required: requests, and whatever is billed of such rows.
- Saved is the list cost less what is billed of usage. Corrections, adjustments and credits change what is paid, not what is
  saved.

So list cost - saved + corrections + adjustments + credits + commitments = billed, for any group of rows.

Invariant: an expression reads `r`, a row of `ledger(...)`, and every figure adds up over groups of rows. Where two figures of
the same month differ they look at other rows: by the time of the call (`/v1/usage`, in the tenant's days; the home page, in
UTC days), or by the period that the row was booked in (month reports and statements).
"""

from typing import Final

from billing.prices.savings import FURTHER_CALLS as FURTHER_STEP
from billing.prices.savings import OUR_OWN, STEPS

_OWN: Final = ", ".join(f"'{state}'" for state in sorted(OUR_OWN))
OWN_CALL: Final = f"r.cache_state IN ({_OWN})"
USAGE: Final = "r.kind = 'usage'"
_ASKED: Final = f"{USAGE} AND NOT {OWN_CALL}"
_BOUGHT: Final = f"{USAGE} AND r.usage_source <> 'gateway_cache'"

REQUEST: Final = f"{_ASKED} AND further.id IS NULL"
CALL: Final = _BOUGHT
LISTED: Final = REQUEST
HIT: Final = f"{REQUEST} AND r.usage_source = 'gateway_cache'"
ESTIMATED_REQUEST: Final = f"{REQUEST} AND r.usage_source = 'estimated'"

REQUESTS: Final = f"count(*) FILTER (WHERE {REQUEST})"
CALLS: Final = f"count(*) FILTER (WHERE {CALL})"
FURTHER_CALLS: Final = f"count(*) FILTER (WHERE {_BOUGHT} AND further.id IS NOT NULL)"
OWN_CALLS: Final = f"count(*) FILTER (WHERE {_BOUGHT} AND {OWN_CALL})"
HITS: Final = f"count(*) FILTER (WHERE {HIT})"
UNALLOCATED: Final = "r.missing_tags <> ''"
UNALLOCATED_REQUESTS: Final = f"count(*) FILTER (WHERE {REQUEST} AND {UNALLOCATED})"
ESTIMATED_REQUESTS: Final = f"count(*) FILTER (WHERE {ESTIMATED_REQUEST})"


def usd(column: str, where: str) -> str:
    """The sum of an amount over the rows for which a condition holds."""
    return f"coalesce(sum({column}) FILTER (WHERE {where}), 0)"


LIST_USD: Final = usd("r.list_cost", LISTED)
UNALLOCATED_USD: Final = usd("r.billed_cost", UNALLOCATED)
SAVED_USD: Final = f"({LIST_USD} - {usd('r.billed_cost', USAGE)})"
# What is paid besides usage, by the kind of its rows: each is a step of its own in every waterfall.
ENTRIES: Final = {
    "corrections": "correction",
    "adjustments": "adjustment",
    "credits": "credit",
    "commitments": "commitment",
}
# Rows that no call made: they have a reason, and neither quantities nor prices.
AMOUNTS_ALONE: Final = ("credit", "adjustment", "commitment")
ENTRIES_USD: Final = {name: usd("r.billed_cost", f"r.kind = '{kind}'") for name, kind in ENTRIES.items()}
# What each of our measures saved, by its step.
STEPS_USD: Final = {
    **{step: usd(f"(r.saving ->> '{step}')::numeric", USAGE) for step in STEPS},
    FURTHER_STEP: f"-{usd('r.list_cost', f'{USAGE} AND NOT ({LISTED})')}",
}

# How sure an amount is: what a correction has explained is exact, and the correction with it. Today, or with the corrections of
# the row's own period, as its statement knew it.
_CERTAINTY: Final = """CASE
    WHEN r.certainty = 'exact' THEN 'exact'
    WHEN (SELECT true FROM billing_usagerecord AS c WHERE c.attempt_id = r.attempt_id AND c.occurred_at = r.occurred_at
          AND c.kind = 'correction' AND c.certainty = 'exact' {as_booked} LIMIT 1) THEN 'exact'
    ELSE r.certainty END"""
# The bounds of a row whose certainty is `known`: an exact amount is its own; of an unread one the figures that were clear are
# certain, of an estimated one nothing; neither can be more than what was held for the call.
LEAST_USD: Final = f"""CASE
    WHEN known.certainty = 'exact' OR NOT {USAGE} THEN r.billed_cost
    WHEN known.certainty = 'unread' THEN (
        SELECT coalesce(sum(l.billed_cost), 0) FROM billing_usageline AS l
        WHERE l.record_id = r.id AND l.occurred_at = r.occurred_at AND l.meter <> 'hold')
    ELSE 0 END"""
MOST_USD: Final = f"""CASE
    WHEN known.certainty = 'exact' OR NOT {USAGE} THEN r.billed_cost
    ELSE greatest(r.billed_cost, (SELECT a.hold_usd FROM billing_attempt AS a WHERE a.id = r.attempt_id)) END"""


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


def sure_ledger(where: str, *, as_booked: bool = False) -> str:
    """The same, with how sure each row is: `known.certainty`, `bounds.least_usd` and `bounds.most_usd`.

    `as_booked`: as its period knew it, which does not change any more when that is closed.
    """
    certainty = _CERTAINTY.format(as_booked="AND c.period_id = r.period_id" if as_booked else "")
    return f"""{ledger(where)}
    CROSS JOIN LATERAL (SELECT {certainty} AS certainty) AS known
    CROSS JOIN LATERAL (SELECT {LEAST_USD} AS least_usd, {MOST_USD} AS most_usd) AS bounds"""
