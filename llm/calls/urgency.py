"""When the answer to a call is wanted: now, when it is cheapest, or by a moment.

Invariant: pure; a header that is present is well formed, or the request is refused naming it.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from llm.errors import InvalidRequest

HEADER: Final = "x-purser-urgency"
LONGEST_WAIT: Final = timedelta(hours=72)
_WITHIN: Final = re.compile(r"([1-9]\d{0,5})(s|m|h)")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours"}


@dataclass(frozen=True, slots=True)
class Urgency:
    """Whether a call may wait, and until when: a moment, a time from its arrival, or else as the tenant's policy says."""

    may_wait: bool = False
    by: datetime | None = None
    within: timedelta | None = None

    def deadline(self, *, at: datetime, usual: timedelta) -> datetime:
        """When the answer must be there to a call that arrived `at`. Raises InvalidRequest for a moment that is past, or too
        far away."""
        deadline = self.by or at + (self.within or usual)
        if deadline <= at:
            raise InvalidRequest(f"Header {HEADER} names a moment in the past.", param=HEADER)
        if deadline - at > LONGEST_WAIT:
            hours = LONGEST_WAIT // timedelta(hours=1)
            raise InvalidRequest(f"Header {HEADER} may name a moment within {hours} hours.", param=HEADER)
        return deadline


NOW: Final = Urgency()


def parse_urgency(value: str) -> Urgency:
    """Read the header's value, or raise InvalidRequest."""
    value = value.strip()
    if value.lower() in ("", "now"):
        return NOW
    if value.lower() == "deferred":
        return Urgency(may_wait=True)
    kind, _, rest = value.partition("=")
    if kind.strip().lower() == "by":
        return Urgency(may_wait=True, by=_moment(rest.strip()))
    if kind.strip().lower() == "within":
        return Urgency(may_wait=True, within=_span(rest.strip().lower()))
    raise InvalidRequest(
        f"Header {HEADER} must be now, deferred, by=<RFC 3339> or within=<n>s, <n>m or <n>h.", param=HEADER
    )


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text.upper()) if len(text) > len("2026-12-01") else None
        utc = moment.astimezone(UTC) if moment is not None and moment.utcoffset() is not None else None
    except (ValueError, OverflowError):  # a zone may lead out of the years there are
        utc = None
    if utc is None:
        raise InvalidRequest(
            f"Header {HEADER} takes by= with a moment of RFC 3339, such as 2026-12-01T09:00:00Z.",
            param=HEADER,
        )
    return utc


def _span(text: str) -> timedelta:
    found = _WITHIN.fullmatch(text)
    if found is None:
        raise InvalidRequest(
            f"Header {HEADER} takes within= with a number and s, m or h, such as within=90m.", param=HEADER
        )
    return timedelta(**{_UNITS[found[2]]: int(found[1])})
