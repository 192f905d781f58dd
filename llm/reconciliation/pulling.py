"""Pulls the providers' cost reports, and reconciles an account with what was pulled or uploaded.

Invariant: this is the only place that asks a provider for its bill; it reads, and what it reads goes to
`billing.reconciliation.comparing` whole or not at all: a page that is missing is an error, never a smaller bill. The admin key
is sent to the account's own server only.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import aiohttp
import orjson
import structlog
from django.contrib.auth.models import User
from django.utils.timezone import now

from billing.models import CostComparison, CostReport
from billing.reconciliation.comparing import BilledAccount, compare, store_report
from billing.reconciliation.price_sentinel import watch_prices
from billing.reconciliation.provider_reports import (
    InvalidReport,
    ProviderReport,
    parse_json,
    read_file,
    read_pages,
)
from llm.models import LanguageModel, Provider
from llm.providers.kinds import KINDS, ReportApi
from llm.providers.kinds.contract import Parameters

DAY = timedelta(days=1)
DAYS_BACK = 3  # the providers revise their figures for a while
TIMEOUT = aiohttp.ClientTimeout(total=60, connect=10)
TRIES, FIRST_PAUSE_SECONDS = 4, 1.0
MOST_PAGES = 400
RETRIED = frozenset({408, 409, 429, 500, 502, 503, 504, 529})

log = structlog.get_logger(__name__)


class CannotPull(Exception):
    """The provider did not hand out its report; the text says why."""


@dataclass(frozen=True, slots=True)
class Reconciled:
    """The result for an account's days."""

    report: CostReport
    comparisons: list[CostComparison]

    @property
    def open_count(self) -> int:
        return sum(row.status == CostComparison.Status.OPEN for row in self.comparisons)


def pull(
    provider: Provider,
    *,
    first: date,
    last: date,
    at: datetime | None = None,
    acting_user: User | None = None,
) -> Reconciled:
    """Fetch an account's report of these UTC days and compare them. Raises CannotPull; takes seconds."""
    if last < first:
        raise CannotPull("the last day lies before the first")
    reports = KINDS[provider.kind].reports
    if reports is None:
        raise CannotPull(f"{provider.name} is of kind {provider.kind}, which has no cost reports")
    days = frozenset(first + DAY * n for n in range((last - first).days + 1))
    answers = asyncio.run(pull_pages(provider, reports, first=first, last=last))
    report = ProviderReport(days, ())
    for pages in answers:
        try:
            part = read_pages(reports.format, [parse_json(page) for page in pages])
        except ValueError as error:
            raise CannotPull(f"{provider.name}: {error}") from None
        if left_out := days - part.days:
            raise CannotPull(f"{provider.name} left out {', '.join(map(str, sorted(left_out)))}")
        report = ProviderReport(days, report.lines + part.lines)
    stored = store_report(
        account_of(provider),
        report.of_projects(() if reports.can_filter_by_project else _projects(provider)),
        source=CostReport.Source.PULL,
        content=b"\n".join(page for pages in answers for page in pages),
        days=days,
        acting_user=acting_user,
    )
    compared = compare(provider.name, first=first, last=last, at=at)
    watch_prices(provider.name, last=last)
    return Reconciled(stored, compared)


def upload(
    provider: Provider,
    content: bytes,
    *,
    file_name: str = "",
    first: date | None = None,
    last: date | None = None,
    at: datetime | None = None,
    acting_user: User | None = None,
) -> Reconciled:
    """Take a report as a file, all its days or a span of them. Raises InvalidReport, or ValidationError."""
    reports = KINDS[provider.kind].reports
    if reports is None:
        raise InvalidReport(f"{provider.name} is of kind {provider.kind}, which has no cost reports")
    report = read_file(reports.format, content).of_projects(_projects(provider))
    if not report.days:
        raise InvalidReport("the file covers no day")
    begins, ends = first or min(report.days), last or max(report.days)
    stored = store_report(
        account_of(provider),
        report,
        source=CostReport.Source.UPLOAD,
        content=content,
        days=frozenset(day for day in report.days if begins <= day <= ends),
        file_name=file_name,
        acting_user=acting_user,
    )
    compared = compare(provider.name, first=stored.first_day, last=stored.last_day, at=at)
    watch_prices(provider.name, last=stored.last_day)
    return Reconciled(stored, compared)


def pull_due(*, at: datetime | None = None) -> int:
    """Pull the last days of every account that has an admin key; how many were. One that fails stops no other."""
    today = (at or now()).astimezone(UTC).date()
    pulled = 0
    for provider in Provider.objects.filter(is_active=True).order_by("pk"):
        if not provider.admin_api_key:
            continue
        try:
            done = pull(provider, first=today - DAYS_BACK * DAY, last=today - DAY, at=at)
        except CannotPull as error:
            log.error("cost_report_not_pulled", provider=provider.name, error=str(error))
            continue
        pulled += 1
        log.info("reconciled", provider=provider.name, rows=len(done.comparisons), open_rows=done.open_count)
    return pulled


def account_of(provider: Provider) -> BilledAccount:
    """The account as the ledger and the reports name it; a model that was switched off is still one of its own."""
    models = LanguageModel.objects.filter(provider=provider).values_list("name", "upstream")
    return BilledAccount(provider=provider.name, kind=provider.kind, upstreams=dict(models))


async def pull_pages(provider: Provider, reports: ReportApi, *, first: date, last: date) -> list[list[bytes]]:
    """The pages of each request."""
    if not provider.admin_api_key:
        raise CannotPull(f"{provider.name} has no admin key: upload the report as a file")
    headers = {**KINDS[provider.kind].auth_headers(provider.admin_api_key), "user-agent": "purser"}
    async with aiohttp.ClientSession(timeout=TIMEOUT, headers=headers) as session:
        return [
            await _all_pages(session, provider, path=path, parameters=parameters)
            for path, parameters in reports.requests(first, last, provider.report_scope)
        ]


async def _all_pages(
    session: aiohttp.ClientSession, provider: Provider, *, path: str, parameters: Parameters
) -> list[bytes]:
    pages: list[bytes] = []
    following: list[tuple[str, str]] = []
    base = provider.base_url.rstrip("/").removesuffix("/v1")
    for _ in range(MOST_PAGES):
        raw = await _get(session, provider, f"{base}{path}", [*parameters, *following])
        pages.append(raw)
        page = _decoded(provider, raw)
        if not page.get("has_more"):
            return pages
        if not page.get("next_page") or following == [("page", page["next_page"])]:
            raise CannotPull(f"{provider.name} has more of its report, but does not say where")
        following = [("page", str(page["next_page"]))]
    raise CannotPull(f"the report of {provider.name} does not end after {MOST_PAGES} pages")


async def _get(session: aiohttp.ClientSession, provider: Provider, url: str, parameters: Parameters) -> bytes:
    """One page; what may pass is tried again with growing pauses."""
    problem = ""
    for attempt in range(TRIES):
        if attempt:
            await asyncio.sleep(FIRST_PAUSE_SECONDS * 2 ** (attempt - 1))
        try:
            async with session.get(url, params=parameters, allow_redirects=False) as response:
                raw = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            problem = f"{provider.name} cannot be reached ({type(error).__name__})"
            continue
        if response.status == 200:
            return raw
        problem = f"{provider.name} answered {response.status}: {_message(raw)}"
        if response.status not in RETRIED:
            break
    raise CannotPull(problem)


def _decoded(provider: Provider, raw: bytes) -> Mapping[str, Any]:
    try:
        page = orjson.loads(raw)
    except orjson.JSONDecodeError:
        page = None
    if not isinstance(page, dict):
        raise CannotPull(f"{provider.name} answered with something that is no report")
    return page


def _message(raw: bytes) -> str:
    """What the provider's envelope says of an error, at most a line."""
    try:
        return str(orjson.loads(raw)["error"]["message"])[:300]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return "no explanation"


def _projects(provider: Provider) -> list[str]:
    """The projects or workspaces that are the account's; empty is all of them."""
    return list(provider.report_scope.get("projects", ()))
