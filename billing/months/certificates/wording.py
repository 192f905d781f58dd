"""A certificate in words: the same on every page and in every file.

Invariant: pure; says what the certificate says, and rounds nothing up.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from billing.months.certificates.claims import EXPLAINED


def headline(claims: Mapping[str, Any]) -> str:
    """What a certificate says in one sentence."""
    if not claims["is_made"]:
        return (
            "No report of a provider was imported for this month: nothing is claimed of the providers' bills."
        )
    shares = {group["group"]: group["share"] for group in claims["calls"]["groups"]}
    explained = percent(shares.get(EXPLAINED, "0"))
    return f"{explained} of what is billed for calls is explained to the token by the providers' own reports."


def percent(share: str) -> str:
    """A share as text; a dash for one of nothing."""
    return f"{Decimal(share) * 100:.4f} %" if share else "–"


def closed_rows(closed: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Who closed the month, and who approved it."""
    rows = [("Closed by", closed["closed_by"])]
    if closed["asked_by"]:
        rows = [("Asked for by", closed["asked_by"]), ("Confirmed by", closed["confirmed_by"] or "nobody")]
    four = "required: two people" if closed["four_eyes"] else "not required by the tenant's policy"
    rows.append(("Four eyes", four))
    if closed["forced_reason"]:
        rows.append(("Before its time, because", closed["forced_reason"]))
    return rows
