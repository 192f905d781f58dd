"""The ids of budget windows as this process knows them.

Invariant: a known id is right as long as its budget exists; a caller that finds it gone calls `forget_ids` and looks it up again.
"""

import os
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from billing.budgets.windows import WindowKey
from billing.ledger import connection

# A crashed worker's hold comes back after this long; a stream that still writes its progress is left alone.
ATTEMPT_SECONDS: Final = 900
KNOWN_WINDOWS: Final = 50_000  # some 25 MB

ENSURE_WINDOWS = (
    "SELECT billing_ensure_windows(%s::bigint[], %s::text[], %s::timestamptz[], %s::timestamptz[], %s)"
)
_ids: dict[tuple[int, str, datetime, int], int] = {}


async def ids_of(
    windows: Iterable[WindowKey], *, worker: int | None = None
) -> dict[tuple[int, str, datetime], int]:
    """The ids of windows, made where they are not there yet. Known ones cost a dictionary look-up.

    Of a window in shards it is the one this process uses (`worker`: else its process id), so that the processes do not
    wait for each other.
    """
    keys = {(window.budget.id, window.subject, window.starts_at): window for window in windows}
    missing = [window for key, window in keys.items() if (*key, window.budget.shards) not in _ids]
    if missing:
        row = await connection.call(
            ENSURE_WINDOWS,
            (
                [window.budget.id for window in missing],
                [window.subject for window in missing],
                [window.starts_at for window in missing],
                [window.ends_at for window in missing],
                os.getpid() if worker is None else worker,
            ),
        )
        if len(_ids) > KNOWN_WINDOWS:
            _ids.clear()
        for window, window_id in zip(missing, row[0], strict=True):
            if window_id is not None:  # else its budget was deleted since the snapshot was built
                budget = window.budget
                _ids[budget.id, window.subject, window.starts_at, budget.shards] = window_id
    known = {key: _ids.get((*key, window.budget.shards)) for key, window in keys.items()}
    return {key: window_id for key, window_id in known.items() if window_id is not None}


def forget_ids() -> None:
    """Forget the known ids: one of them is no longer there."""
    _ids.clear()
