"""How OpenAI is asked for an account's costs."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from billing.reconciliation.provider_reports import OPENAI
from llm.providers.kinds.contract import Parameters


class OpenAIReports:
    """The costs of an organization, of the projects and keys that are the account's alone."""

    format: Final = OPENAI
    can_filter_by_project: Final = True

    def requests(self, first: date, last: date, scope: Mapping[str, Any]) -> list[tuple[str, Parameters]]:
        starts, ends = (datetime.combine(day, time(), UTC) for day in (first, last + timedelta(days=1)))
        span = [("start_time", str(int(starts.timestamp()))), ("end_time", str(int(ends.timestamp())))]
        groups = [("group_by[]", "line_item"), ("group_by[]", "project_id")]
        only = [("project_ids[]", each) for each in scope.get("projects", ())]
        only += [("api_key_ids[]", each) for each in scope.get("api_keys", ())]
        parameters = [*span, ("bucket_width", "1d"), ("limit", "180"), *groups, *only]
        return [("/v1/organization/costs", parameters)]
