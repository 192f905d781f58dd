"""Which values of tags a tenant's callers may bring along: so many names, and so many values of each, in a month.

Invariant: PostgreSQL admits and counts, whatever worker asks; what it has admitted in a month stays admitted. A caller makes no
more groups in sums, files and budgets than the tenant's quotas allow: whatever else it names is counted together, as OTHER.
"""

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from billing.ledger import connection

ADMIT: Final = "SELECT billing_admit_tags(%s, %s, %s::text[], %s::text[], %s, %s)"
OTHER: Final = "(other)"
ADMITTED, NAME_ONLY, NOTHING = 2, 1, 0  # as the function answers
MOST_KNOWN: Final = 100_000
REFUSED_SECONDS: Final = 60.0  # for which a value that did not fit is not asked for again

_Tag = tuple[int, str, str, str]
_admitted: set[_Tag] = set()
_refused: dict[_Tag, tuple[float, int]] = {}


async def admitted(
    tenant_id: int, tags: Mapping[str, str], *, at: datetime, most_names: int, most_values: int
) -> dict[str, str]:
    """The tags, with OTHER for what does not fit; a value that this process knows costs a look into a set. Raises
    LedgerUnavailable."""
    month = f"{at:%Y-%m}"
    keys = [(tenant_id, month, name, value) for name, value in tags.items() if value]
    asked = [key for key in keys if key not in _admitted and _refusal_of(key) is None]
    if asked:
        await _ask(asked, most_names=most_names, most_values=most_values)
    kept = {}
    for key in keys:
        name, value = key[2:]
        if key in _admitted:
            kept[name] = value
        else:
            kept[name if _refusal_of(key) == NAME_ONLY else OTHER] = OTHER
    return kept


async def _ask(keys: list[_Tag], *, most_names: int, most_values: int) -> None:
    tenant_id, month = keys[0][:2]
    names, values = [key[2] for key in keys], [key[3] for key in keys]
    parameters = (tenant_id, month, names, values, most_names, most_values)
    (answers,) = await connection.twice(lambda: connection.call(ADMIT, parameters))
    if max(len(_admitted), len(_refused)) > MOST_KNOWN:
        _admitted.clear()
        _refused.clear()
    until = time.monotonic() + REFUSED_SECONDS
    for key, answer in zip(keys, answers, strict=True):
        if answer == ADMITTED:
            _admitted.add(key)
        else:
            _refused[key] = until, answer


def _refusal_of(key: _Tag) -> int | None:
    """How a value was refused lately; None if it was not."""
    until, answer = _refused.get(key, (0.0, NOTHING))
    return answer if until > time.monotonic() else None
