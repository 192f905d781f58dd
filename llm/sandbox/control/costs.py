"""Owns the cost and usage reports, made from the call log: OpenAI's in dollars as JSON numbers, Anthropic's in cents
as text, its tokens in a report of their own.

Invariant: a call belongs to the UTC day on which it ended (and was booked, see `booked_after_s`), and the report's
sum is the sum of the log's calls. Each API key is a project, or workspace, of its own.
"""

from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from aiohttp import web

from llm.sandbox.catalog import cost_usd
from llm.sandbox.errors import ProviderError
from llm.sandbox.exchange import ANTHROPIC, OPENAI, Exchange

DAY = timedelta(days=1)
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


class Group(NamedTuple):
    """What the reports can be cut by."""

    model: str
    processing: str
    meter: str
    key: str


class Sum(NamedTuple):
    """What a group's calls cost, and how many tokens they had."""

    usd: Decimal = Decimal(0)
    tokens: int = 0


class Query(NamedTuple):
    """A report as it was asked for."""

    first: datetime
    last: datetime  # not included
    groups: frozenset[str]
    keys: frozenset[str]
    limit: int
    page: str


async def openai_costs(exchange: Exchange) -> web.StreamResponse:
    """GET /v1/organization/costs: one bucket per UTC day; group_by line_item, project_id, api_key_id."""
    query = _query(exchange, "start_time", "end_time", keys=("api_key_ids", "project_ids"), most_days=180)
    days, following = _days(exchange, query, kind=OPENAI)
    buckets = [
        {
            "object": "bucket",
            "start_time": int(day.timestamp()),
            "end_time": int((day + DAY).timestamp()),
            "results": _openai_results(sums, query.groups),
        }
        for day, sums in days
    ]
    return await exchange.answer(
        {"object": "page", "data": buckets, "has_more": bool(following), "next_page": following}
    )


async def anthropic_costs(exchange: Exchange) -> web.StreamResponse:
    """GET /v1/organizations/cost_report: one bucket per UTC day; group_by description, workspace_id."""
    return await _anthropic_report(exchange, keys=(), results=_anthropic_cost_results)


async def anthropic_usage(exchange: Exchange) -> web.StreamResponse:
    """GET /v1/organizations/usage_report/messages by the day; group_by model, service_tier, workspace_id."""
    keys = ("api_key_ids", "workspace_ids")
    return await _anthropic_report(exchange, keys=keys, results=_anthropic_usage_results)


async def _anthropic_report(
    exchange: Exchange,
    *,
    keys: tuple[str, ...],
    results: Callable[[dict[Group, Sum], frozenset[str]], list[dict[str, Any]]],
) -> web.StreamResponse:
    query = _query(exchange, "starting_at", "ending_at", keys=keys, most_days=31)
    days, following = _days(exchange, query, kind=ANTHROPIC)
    buckets = [
        {"starting_at": _text(day), "ending_at": _text(day + DAY), "results": results(sums, query.groups)}
        for day, sums in days
    ]
    return await exchange.answer({"data": buckets, "has_more": bool(following), "next_page": following})


def _query(
    exchange: Exchange, start_name: str, end_name: str, *, keys: tuple[str, ...], most_days: int
) -> Query:
    asked = exchange.request.query

    def values(name: str) -> list[str]:
        return [*asked.getall(name, []), *asked.getall(f"{name}[]", [])]

    if asked.get("bucket_width", "1d") != "1d":
        raise ProviderError(400, "bucket_width: only 1d is supported", param="bucket_width")
    limit = asked.get("limit", "7")
    if not limit.isdigit() or not 1 <= int(limit) <= most_days:
        raise ProviderError(400, f"limit: must be between 1 and {most_days}", param="limit")
    start = _moment(asked.get(start_name), start_name)
    end = _moment(asked[end_name], end_name) if end_name in asked else datetime.now(UTC) + DAY
    first = start.replace(hour=0, minute=0, second=0, microsecond=0)
    wanted = frozenset(value.rpartition("_")[2] for name in keys for value in values(name))
    return Query(first, end, frozenset(values("group_by")), wanted, int(limit), asked.get("page", ""))


def _days(
    exchange: Exchange, query: Query, *, kind: str
) -> tuple[list[tuple[datetime, dict[Group, Sum]]], str | None]:
    """A page of days with their sums, and the token of the page that follows."""
    first = _moment(query.page.removeprefix("page_"), "page") if query.page else query.first
    count = min(query.limit, max(0, -((first - query.last) // DAY)))
    days: dict[datetime, dict[Group, Sum]] = {first + DAY * index: defaultdict(Sum) for index in range(count)}
    booked_after = exchange.sandbox.settings.booked_after_s
    for call in exchange.sandbox.calls:
        if call.kind != kind or not call.billed or (query.keys and call.key not in query.keys):
            continue
        ended = datetime.fromtimestamp(call.at + call.seconds + booked_after, UTC)
        day = days.get(ended.replace(hour=0, minute=0, second=0, microsecond=0))
        if day is not None:
            costs = cost_usd(call.model, call.billed, is_batch=call.processing == "batch")
            for meter, amount in costs.items():
                group = Group(call.model, call.processing, meter, call.key)
                day[group] = Sum(day[group].usd + amount, day[group].tokens + call.billed[meter])
    following = first + DAY * count
    return list(days.items()), f"page_{_text(following)}" if following < query.last and count else None


def _openai_results(sums: dict[Group, Sum], groups: frozenset[str]) -> list[dict[str, Any]]:
    cut: dict[tuple[str | None, str | None, str | None], Sum] = defaultdict(Sum)
    for group, (usd, tokens) in sums.items():
        prefix = f"{group.model} batch" if group.processing == "batch" else group.model
        place = (
            f"{prefix}, {OPENAI_METERS[group.meter]}" if "line_item" in groups else None,
            f"proj_{group.key}" if "project_id" in groups else None,
            f"key_{group.key}" if "api_key_id" in groups else None,
        )
        cut[place] = Sum(cut[place].usd + usd, cut[place].tokens + tokens)
    return [
        {
            "object": "organization.costs.result",
            "amount": {"value": float(usd), "currency": "usd"},
            "line_item": line_item,
            "project_id": project,
            "api_key_id": key,
            "organization_id": "org-sandbox",
            "quantity": tokens if line_item else None,
            "quantity_unit": "tokens" if line_item else None,
        }
        for (line_item, project, key), (usd, tokens) in sorted(cut.items(), key=str)
    ]


def _anthropic_cost_results(sums: dict[Group, Sum], groups: frozenset[str]) -> list[dict[str, Any]]:
    cut: dict[tuple[tuple[str, str, str] | None, str | None], Decimal] = defaultdict(Decimal)
    for group, (usd, _) in sums.items():
        described = (group.model, group.processing, group.meter) if "description" in groups else None
        cut[described, _workspace(group, groups)] += usd
    results = []
    for (described, workspace), amount in sorted(cut.items(), key=str):
        model, processing, meter = described or ("", "", "")
        results.append(
            {
                "currency": "USD",
                "amount": format(amount * 100, "f"),
                "workspace_id": workspace,
                "description": f"{model} Usage - {meter}" if described else None,
                "cost_type": "tokens" if described else None,
                "context_window": "0-200k" if described else None,
                "model": model or None,
                "service_tier": _tier(processing) if described else None,
                "token_type": ANTHROPIC_TOKEN_TYPES[meter] if meter else None,
                "inference_geo": None,
            }
        )
    return results


def _anthropic_usage_results(sums: dict[Group, Sum], groups: frozenset[str]) -> list[dict[str, Any]]:
    cut: dict[tuple[str | None, str | None, str | None], dict[str, int]] = defaultdict(
        lambda: dict.fromkeys(ANTHROPIC_TOKEN_TYPES, 0)
    )
    for group, (_, tokens) in sums.items():
        place = (
            group.model if "model" in groups else None,
            _tier(group.processing) if "service_tier" in groups else None,
            _workspace(group, groups),
        )
        cut[place][group.meter] += tokens
    return [
        {
            "model": model,
            "service_tier": tier,
            "workspace_id": workspace,
            "api_key_id": None,
            "context_window": None,
            "uncached_input_tokens": tokens["input"],
            "cache_read_input_tokens": tokens["cache_read"],
            "cache_creation": {
                "ephemeral_5m_input_tokens": tokens["cache_write_5m"],
                "ephemeral_1h_input_tokens": tokens["cache_write_1h"],
            },
            "output_tokens": tokens["output"],
            "server_tool_use": {"web_search_requests": 0},
        }
        for (model, tier, workspace), tokens in sorted(cut.items(), key=str)
    ]


def _workspace(group: Group, groups: frozenset[str]) -> str | None:
    return f"wrkspc_{group.key}" if "workspace_id" in groups else None


def _tier(processing: str) -> str:
    return "batch" if processing == "batch" else "standard"


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
