"""A hundred faults in the cost reports of the sandbox's providers: each is found and named, and nothing else is."""

import asyncio
import hashlib
import json
import random
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import orjson
import pytest
from aiohttp.test_utils import TestClient, TestServer
from django.db import connections

from billing.models import CostComparison
from billing.reconciliation.comparing import BilledAccount, compare, store_report
from billing.reconciliation.provider_reports import (
    ANTHROPIC,
    OPENAI,
    InvalidReport,
    ProviderReport,
    parse_json,
    read_pages,
)
from llm.providers.kinds import KINDS
from llm.sandbox.calls import Call
from llm.sandbox.catalog import offer_of
from llm.sandbox.server import build_app
from llm.sandbox.state import Sandbox
from tests.billing.reconciliation import planted
from tests.billing.shop import month_ago, open_shop

DAYS = 7
FAULTS = 100
FORMATS = {"openai": OPENAI, "anthropic": ANTHROPIC}
UPSTREAMS = {"openai": ("gpt-4o", "gpt-4o-mini"), "anthropic": ("claude-haiku-4-5", "claude-sonnet-4-5")}
METERS = ("input", "cache_read", "output")


@dataclass
class Account:
    """An account with a week of calls in our books and in the sandbox's, and what the provider says of it."""

    kind: str
    name: str
    project: str
    models: dict[str, str]  # the provider's names to ours
    first: date
    spare: tuple[date, str]
    pages: list[Any]

    @property
    def last(self) -> date:
        return self.first + timedelta(days=DAYS - 1)

    def report(self, seed: int) -> planted.Report:
        """The pages, to be changed."""
        prices = {
            (name, meter): offer_of(name).price(meter, is_batch=False) / 1_000_000
            for name in self.models
            for meter in METERS
        }
        pages = json.loads(json.dumps(self.pages))
        return planted.Report(self.kind, pages, self.models, prices, self.spare, random.Random(seed))

    def differences(self, pages: list[Any]) -> planted.Found:
        """What is found when the provider says this."""
        read = read_pages(FORMATS[self.kind], [parse_json(orjson.dumps(page)) for page in pages])
        account = BilledAccount(self.name, self.kind, {ours: name for name, ours in self.models.items()})
        days = frozenset(self.first + timedelta(days=number) for number in range(DAYS))
        store_report(
            account,
            ProviderReport(days, read.lines).of_projects([self.project]),
            source="upload",
            content=b"x",
        )
        rows = compare(self.name, first=self.first, last=self.last, is_quiet=True)
        return {
            (row.day, row.model, row.meter): row.cause or "no cause"
            for row in rows
            if row.kind != CostComparison.Kind.MATCH
        }


def open_account(kind: str) -> Account:
    """A week of two models: online and in batches, with a prompt cache; the same calls here and there."""
    rng = random.Random(kind)
    shop = open_shop()
    shop.provider = f"account-{secrets.token_hex(4)}"
    key = hashlib.sha256(shop.provider.encode()).hexdigest()[:16]
    shops = {name: replace(shop, model=f"{name}-{secrets.token_hex(3)}") for name in UPSTREAMS[kind]}
    sandbox = Sandbox()
    for name, one in shops.items():
        for meter in METERS:
            for processing in ("online", "batch"):
                price = offer_of(name).price(meter, is_batch=processing == "batch")
                one.price(meter, price, processing=processing)
    first = month_ago().date()
    for number in range(DAYS):
        for name, one in shops.items():
            for processing in ("online", "online", "batch"):
                at = datetime.combine(first + timedelta(days=number), time(9), UTC)
                at += timedelta(minutes=rng.randint(0, 600))
                meters = {
                    "input": rng.randint(2_000_000, 4_000_000),
                    "cache_read": rng.randint(1_000_000, 2_000_000),
                    "output": rng.randint(400_000, 900_000),
                }
                one.call(at, meters, processing=processing)
                sandbox.calls.begin(_call(kind, name, at, key, processing, meters))
    spare = first + timedelta(days=4), next(iter(shops.values()))
    spare[1].open_attempt(datetime.combine(spare[0], time(20), UTC), hold=Decimal(50))
    prefix = "proj" if kind == "openai" else "wrkspc"
    return Account(
        kind=kind,
        name=shop.provider,
        project=f"{prefix}_{key}",
        models={name: one.model for name, one in shops.items()},
        first=first,
        spare=(spare[0], spare[1].model),
        pages=asyncio.run(_pages(sandbox, kind, first)),
    )


def _call(kind: str, model: str, at: datetime, key: str, processing: str, meters: dict[str, int]) -> Call:
    return Call(
        id=secrets.token_hex(8), at=at.timestamp(), kind=kind, method="POST", path="/v1", key=key, body_digest="",
        model=model, processing=processing, status=200, outcome="completed", billed=meters,
    )  # fmt: skip


async def _pages(sandbox: Sandbox, kind: str, first: date) -> list[Any]:
    """What the sandbox's own endpoints answer when we ask as we ask a provider."""
    reports = KINDS[kind].reports
    assert reports is not None
    pages = []
    async with TestClient(TestServer(build_app(sandbox))) as client:
        for path, parameters in reports.requests(first, first + timedelta(days=DAYS - 1), {}):
            answer = await client.get(path, params=parameters, headers=KINDS[kind].auth_headers("sk-admin"))
            assert answer.status == 200, await answer.text()
            page = await answer.json()
            assert not page["has_more"]
            pages.append(page)
    return pages


@pytest.fixture
def accounts(committed: None) -> Iterator[dict[str, Account]]:
    yield {kind: open_account(kind) for kind in FORMATS}
    connections.close_all()


def test_it_works(accounts: dict[str, Account]) -> None:
    """A hundred faults, one after the other; after the last one the books match as before the first."""
    wrong = []
    for seed in range(FAULTS):
        kind, fault = planted.fault_of(seed)
        account = accounts[kind]
        report = account.report(seed)
        try:
            expected: planted.Found | str = fault(report)
        except planted.Refused as refused:
            expected = str(refused)
        try:
            found: planted.Found | str = account.differences(report.pages)
        except InvalidReport as error:
            found = expected if isinstance(expected, str) and expected in str(error) else str(error)
        if found != expected:
            wrong.append(f"{seed} {kind} {fault.__name__}: expected {expected}, found {found}")
    assert not wrong, "\n".join(wrong)
    for account in accounts.values():
        assert account.differences(account.pages) == {}


def shuffled(report: planted.Report) -> None:
    for page in report.pages:
        report.rng.shuffle(page["data"])
        for bucket in page["data"]:
            report.rng.shuffle(bucket["results"])


def in_pages(report: planted.Report) -> None:
    """Each day on a page of its own, in any order."""
    report.pages = [{"data": [bucket]} for page in report.pages for bucket in page["data"]]
    report.rng.shuffle(report.pages)


def with_zeros(report: planted.Report) -> None:
    """A line without cost and tokens."""
    for day in report.days:
        row = json.loads(json.dumps(report.rows(day)[0]))
        report.put_usd(row, Decimal(0))
        if "quantity" in row:
            row["quantity"] = 0
        report.add(day, row)


def batches_unnamed(report: planted.Report) -> None:
    """The words of batches left out: amounts and tokens are what they were."""
    for day in report.days:
        for row in report.rows(day, processing="batch"):
            if report.kind == "openai":
                row["line_item"] = row["line_item"].replace(" batch", "")


def with_others(report: planted.Report) -> None:
    """The usage of other projects of the organization, of the same models."""
    for day in report.days:
        for row in report.rows(day):
            copy = json.loads(json.dumps(row))
            copy["project_id" if report.kind == "openai" else "workspace_id"] = "another"
            report.put_usd(copy, report.usd(row) * 3)
            report.add(day, copy)


@pytest.mark.parametrize("kind", sorted(FORMATS))
def test_nothing_is_invented_in_a_faultless_month(kind: str, accounts: dict[str, Account]) -> None:
    harmless: list[Callable[[planted.Report], None]] = [
        lambda report: None, shuffled, in_pages, with_zeros, batches_unnamed, with_others,
    ]  # fmt: skip
    for seed, change in enumerate(harmless):
        report = accounts[kind].report(seed)
        change(report)
        assert accounts[kind].differences(report.pages) == {}, change.__name__
