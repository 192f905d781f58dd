"""The learnt state of a scope, as a look-up needs it: threshold, share of hits to check, weights.

Invariant: weights come from the scope's own row and are cached in this process by version. A scope without weights uses
the shipped ones. A threshold for a looser bound is not used for a stricter one.
"""

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from caching.scope import AnswerScope
from caching.scoring.verifier import Weights, shipped

# The share of a bounded scope's hits that are also asked upstream, to check them: while the threshold is based on few
# labels, when it is based on many, and after a wrong hit until the next labels have arrived.
CHECKED_SHARE = 0.05
SETTLED_SHARE = 0.03
ALERT_SHARE = 0.20
SETTLED_LABELS = 200

_MOST_KEPT = 200
_WEIGHTS = "SELECT weights FROM caching_scope WHERE tenant_id = %(tenant)s AND scope_digest = %(scope)s"
_kept: OrderedDict[tuple[bytes, datetime], Weights] = OrderedDict()


@dataclass(frozen=True, slots=True)
class ScopeState:
    """A scope's row. `threshold` is a certainty, None while closed, and is valid for the bound it was computed for."""

    threshold: float | None = None
    max_error_rate: float = 0.0
    checked_share: float = CHECKED_SHARE
    version: datetime | None = None

    def threshold_for(self, max_error_rate: float) -> float | None:
        return self.threshold if self.max_error_rate <= max_error_rate else None


NEW_SCOPE = ScopeState()


async def weights_of(connection: AsyncConnection[Any], scope: AnswerScope, learnt: ScopeState) -> Weights:
    """The scope's weights. One query if this process has not read this version yet."""
    if learnt.version is None:
        return shipped()
    key = (scope.digest, learnt.version)
    if (weights := _kept.get(key)) is not None:
        _kept.move_to_end(key)
        return weights
    cursor = await connection.execute(_WEIGHTS, {"tenant": scope.tenant_id, "scope": scope.digest})
    row = await cursor.fetchone()
    weights = (Weights.from_bytes(bytes(row[0])) if row and row[0] else None) or shipped()
    _kept[key] = weights
    while len(_kept) > _MOST_KEPT:
        _kept.popitem(last=False)
    return weights
