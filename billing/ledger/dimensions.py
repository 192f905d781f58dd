"""The one list of the dimensions of ledger rows in figures.

Invariant: sums by day, month reports, exports, the groups of `/v1/usage` and the digest take their columns from here. A new
dimension is a column of UsageRecord and UsageDaily with its migration, an entry here, and its value in `llm.calls.dimensions`.
"""

from dataclasses import dataclass
from typing import Final

__all__ = ["DAILY", "DIMENSIONS", "REPORTED", "TAGS", "USAGE_GROUPS", "Dimension"]


@dataclass(frozen=True, slots=True)
class Dimension:
    """A column of the ledger, and where figures are cut by it."""

    column: str
    group: str = ""  # the name of its groups in /v1/usage; empty: there are none
    section: str = ""  # the title of its section in a month report; empty: there is none
    is_daily: bool = True  # a column of the sums by day
    is_reported: bool = True  # a column of a month report's detail
    is_tag: bool = False  # FOCUS shows it among the tags


DIMENSIONS: Final = (
    Dimension("user_id", group="user", section="By user"),
    Dimension("key_id", group="key", section="By API key"),
    Dimension("feature", group="feature", section="By feature", is_tag=True),
    Dimension("project", group="project", section="By project", is_tag=True),
    Dimension("cost_center", group="cost_center", section="By cost centre", is_tag=True),
    Dimension("missing_tags", group="missing_tag", section="By missing tags"),
    Dimension("endpoint", group="endpoint", is_reported=False),
    Dimension("provider", group="provider"),
    Dimension("model", group="model", section="By model"),
    Dimension("tier", is_reported=False),
    Dimension("service_tier", is_daily=False),
    Dimension("processing"),
    Dimension("region", is_daily=False),
    Dimension("cache_state", is_reported=False),
    Dimension("kind"),
    Dimension("charge_class"),
    Dimension("usage_source"),
)

DAILY: Final = tuple(one.column for one in DIMENSIONS if one.is_daily)
REPORTED: Final = tuple(one.column for one in DIMENSIONS if one.is_reported)
TAGS: Final = tuple(one.column for one in DIMENSIONS if one.is_tag)
USAGE_GROUPS: Final = {one.group: one.column for one in DIMENSIONS if one.group}
