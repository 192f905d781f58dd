"""The tags of runs and sessions: said once, with any of their calls, and inherited by those that follow.

Invariant: a run is its owner's (`billing.runs.opening.Owner`), so nobody names the tags of another one's; it keeps its first tags
for as long as an envelope would last. What this process knows of a run is at most ABSENT_SECONDS old.
"""

import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

import orjson

from billing.ledger import connection
from billing.runs.opening import Owner
from tenants.allocation import NO_TAGS, Tags

KEEP: Final = "SELECT billing_run_tags(%s, %s, %s, %s, %s::jsonb, %s, %s)"
MOST_RUNS: Final = 1_000  # with tags of their own, of each owner
MOST_KNOWN: Final = 20_000
ABSENT_SECONDS: Final = 10.0  # for which a run without tags is taken for one

_Key = tuple[int, str, str, str]
_known: dict[_Key, tuple[datetime, Tags]] = {}
_absent: dict[_Key, float] = {}


async def of_run(
    tenant_id: int, owner: Owner, run: str, *, said: Mapping[str, str], at: datetime, hours: int
) -> Tags:
    """The tags of a run; `said` become them if it has none yet. Raises LedgerUnavailable."""
    key = tenant_id, owner.id, owner.user, run
    if (known := _known.get(key)) and known[0] > at:
        return known[1]
    if not said and _absent.get(key, 0) > time.monotonic():
        return NO_TAGS
    until = at + timedelta(hours=hours)
    wanted = orjson.dumps(dict(said)).decode() if said else None
    (kept,) = await connection.twice(lambda: connection.call(KEEP, (*key, wanted, until, MOST_RUNS)))
    if max(len(_known), len(_absent)) > MOST_KNOWN:
        _known.clear()
        _absent.clear()
    if not kept:
        _absent[key] = time.monotonic() + ABSENT_SECONDS
        return NO_TAGS
    _known[key] = until, kept
    return _known[key][1]
