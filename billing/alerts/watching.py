"""One round of all watches: sums what is new, looks, and counts what was found in alerts. Run by beat, every minute.

Invariant: a watch that fails stops no other one; its error is logged, and raised when the round is over.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

import structlog
from django.utils.timezone import now

from billing import incidents
from billing.alerts import budget_watches, jump, loops, spans, watches
from billing.alerts.findings import Finding, report

Watch = Callable[..., Sequence[Finding]]  # of what happened before the moment `at`

WATCHES: Final[tuple[Watch, ...]] = (
    watches.day_spend,
    jump.find,
    watches.hit_rate,
    watches.old_holds,
    loops.find,
    budget_watches.envelopes,
)

log = structlog.get_logger(__name__)


def watch(*, at: datetime | None = None) -> int:
    """Look at every tenant; how many alerts were opened."""
    at = at or now()
    if not spans.catch_up(at=at):
        return 0
    opened = look(WATCHES, at=at)
    incidents.resolve_ended(at=at)
    return opened


def look(watches: Sequence[Watch], *, at: datetime) -> int:
    """Count what some watches find; how many alerts were opened."""
    opened, failures = 0, []
    for find in watches:
        try:
            opened += report(find(at=at))
        except Exception as failure:
            log.exception("watch_failed", watch=f"{find.__module__}.{find.__name__}")
            failures.append(failure)
    if failures:
        raise ExceptionGroup("watches failed", failures)
    return opened
