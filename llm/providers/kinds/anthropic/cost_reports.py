"""How Anthropic is asked for an account's costs."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from billing.reconciliation.provider_reports import ANTHROPIC
from llm.providers.kinds.contract import Parameters


class AnthropicReports:
    """The costs, and the tokens too, which the report of the costs does not have. Each line names its workspace."""

    format: Final = ANTHROPIC
    can_filter_by_project: Final = False

    def requests(self, first: date, last: date, scope: Mapping[str, Any]) -> list[tuple[str, Parameters]]:
        starts, ends = (datetime.combine(day, time(), UTC) for day in (first, last + timedelta(days=1)))
        span = [("starting_at", f"{starts:%Y-%m-%dT%H:%M:%SZ}"), ("ending_at", f"{ends:%Y-%m-%dT%H:%M:%SZ}")]
        common = [*span, ("bucket_width", "1d"), ("limit", "31"), ("group_by[]", "workspace_id")]
        usage = [*common, ("group_by[]", "model"), ("group_by[]", "service_tier")]
        return [
            ("/v1/organizations/cost_report", [*common, ("group_by[]", "description")]),
            ("/v1/organizations/usage_report/messages", usage),
        ]
