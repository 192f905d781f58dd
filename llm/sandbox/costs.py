"""Owns the cost reports, made from the call log: OpenAI's in dollars as JSON numbers, Anthropic's in cents as
text.

Invariant: a call belongs to the UTC day on which it ended, and the report's sum is the sum of the log's
calls.
"""

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from aiohttp import web

from llm.sandbox.catalog import cost_usd
from llm.sandbox.errors import ProviderError
from llm.sandbox.exchange import ANTHROPIC, OPENAI, Exchange

DAY = timedelta(days=1)
MOST_DAYS = 180
OPENAI_METERS = {
    "input": "input",
    "cache_read": "cached input",
    "cache_write_5m": "cache writes",
    "cache_write_1h": "cache writes",
    "output": "output",
}
ANTHROPIC_TOKEN_TYPES = {
    "input": "uncached_input_tokens",
    "cache_read": "cache_read_input_tokens",
    "cache_write_5m": "cache_creation.ephemeral_5m_input_tokens",
    "cache_write_1h": "cache_creation.ephemeral_1h_input_tokens",
    "output": "output_tokens",
}
Group = tuple[str, str, str, str]  # model, processing, meter, key


async def openai_costs(exchange: Exchange) -> web.StreamResponse:
    """GET /v1/organization/costs: one bucket per UTC day; group_by line_item, project_id, api_key_id."""
    query = exchange.request.query
    start = _moment(query.get("start_time"), "start_time")
    end = _moment(query["end_time"], "end_time") if "end_time" in query else datetime.now(UTC) + DAY
    groups = set(query.getall("group_by", [])) | set(query.getall("group_by[]", []))
    keys = set(query.getall("api_key_ids", [])) | set(query.getall("api_key_ids[]", []))
    buckets = [
        {
            "object": "bucket",
            "start_time": int(day.timestamp()),
            "end_time": int((day + DAY).timestamp()),
            "results": _openai_results(amounts, groups),
        }
        for day, amounts in _days(exchange, kind=OPENAI, start=start, end=end, keys=keys)
    ]
    return await exchange.answer({"object": "page", "data": buckets, "has_more": False, "next_page": None})


async def anthropic_costs(exchange: Exchange) -> web.StreamResponse:
    """GET /v1/organizations/cost_report: one bucket per UTC day; group_by description, workspace_id."""
    query = exchange.request.query
    start = _moment(query.get("starting_at"), "starting_at")
    end = _moment(query["ending_at"], "ending_at") if "ending_at" in query else datetime.now(UTC) + DAY
    groups = set(query.getall("group_by", [])) | set(query.getall("group_by[]", []))
    buckets = [
        {
            "starting_at": _text(day),
            "ending_at": _text(day + DAY),
            "results": _anthropic_results(amounts, by_description="description" in groups),
        }
        for day, amounts in _days(exchange, kind=ANTHROPIC, start=start, end=end, keys=set())
    ]
    return await exchange.answer({"data": buckets, "has_more": False, "next_page": None})


def _days(
    exchange: Exchange, *, kind: str, start: datetime, end: datetime, keys: set[str]
) -> list[tuple[datetime, dict[Group, Decimal]]]:
    first = start.replace(hour=0, minute=0, second=0, microsecond=0)
    count = min(MOST_DAYS, max(0, -((first - end) // DAY)))
    days: dict[datetime, dict[Group, Decimal]] = {
        first + DAY * index: defaultdict(Decimal) for index in range(count)
    }
    for call in exchange.sandbox.calls:
        if call.kind != kind or not call.billed or (keys and call.key not in keys):
            continue
        ended = datetime.fromtimestamp(call.at + call.seconds, UTC)
        day = days.get(ended.replace(hour=0, minute=0, second=0, microsecond=0))
        if day is not None:
            costs = cost_usd(call.model, call.billed, is_batch=call.processing == "batch")
            for meter, amount in costs.items():
                day[call.model, call.processing, meter, call.key] += amount
    return list(days.items())


def _openai_results(amounts: dict[Group, Decimal], groups: set[str]) -> list[dict[str, Any]]:
    sums: dict[tuple[str | None, str | None], Decimal] = defaultdict(Decimal)
    for (model, processing, meter, key), amount in amounts.items():
        prefix = f"{model} batch" if processing == "batch" else model
        line_item = f"{prefix}, {OPENAI_METERS[meter]}" if "line_item" in groups else None
        sums[line_item, key if "api_key_id" in groups else None] += amount
    return [
        {
            "object": "organization.costs.result",
            "amount": {"value": float(amount), "currency": "usd"},
            "line_item": line_item,
            "project_id": "proj_sandbox" if "project_id" in groups else None,
            "api_key_id": key,
            "organization_id": "org-sandbox",
            "quantity": None,
        }
        for (line_item, key), amount in sorted(sums.items(), key=str)
    ]


def _anthropic_results(amounts: dict[Group, Decimal], *, by_description: bool) -> list[dict[str, Any]]:
    sums: dict[tuple[str, str, str] | None, Decimal] = defaultdict(Decimal)
    for (model, processing, meter, _), amount in amounts.items():
        sums[(model, processing, meter) if by_description else None] += amount
    results = []
    for group, amount in sorted(sums.items(), key=str):
        model, processing, meter = group or ("", "", "")
        results.append(
            {
                "currency": "USD",
                "amount": format(amount * 100, "f"),
                "workspace_id": None,
                "description": f"{model} Usage - {meter}" if group else None,
                "cost_type": "tokens" if group else None,
                "context_window": "0-200k" if group else None,
                "model": model or None,
                "service_tier": ("batch" if processing == "batch" else "standard") if group else None,
                "token_type": ANTHROPIC_TOKEN_TYPES[meter] if meter else None,
                "inference_geo": None,
            }
        )
    return results


def _moment(value: str | None, name: str) -> datetime:
    """A query parameter as aware UTC: seconds since 1970 or ISO 8601."""
    if value is None:
        raise ProviderError(400, f"{name}: Field required", param=name)
    try:
        if value.isdigit():
            return datetime.fromtimestamp(int(value), UTC)
        moment = datetime.fromisoformat(value)
    except (ValueError, OverflowError, OSError) as error:
        raise ProviderError(400, f"{name}: not a time", param=name) from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
