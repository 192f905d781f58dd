"""`make bench-money`: how many calls a second a hot budget can admit and settle, and what that adds to each.

Every pair is one `admit` and one `settle` of the product against an embedded PostgreSQL of its own with fsync on, through
three windows (a tenant's day and month, a user's tokens); in the last rows also through that of a prepaid balance. One by one:
a transaction for each, eight connections at once. In groups: as the product does. After each run the books are checked to
the last digit, or the benchmark fails.

    make bench-money            SECONDS=3 per row by default
"""

import asyncio
import gc
import os
import resource
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import cycle
from typing import Any
from uuid import UUID

import uuid_utils
import uvloop

from benchmarks import results_file
from benchmarks.own_servers import own_postgres

IN_FLIGHT = (1, 16, 64, 256)
SECONDS = float(os.environ.get("SECONDS", "3"))
WARM_SECONDS = 0.5
TENANTS_SPREAD = 8
CONNECTIONS_ONE_BY_ONE = 8
RUNS = 8
ENVELOPES = "envelopes"
PREPAID = "prepaid"
METERS = {"input": 120, "output": 60}
RAW_USAGE = {"prompt_tokens": 120, "completion_tokens": 60, "total_tokens": 180}
# the same on this kind of machine (2 cores), by a sketch with four narrow tables, before the product was written
REFERENCE_PAIRS = {("one by one", 64): 159, ("groups", 64): 3295, ("groups", 256): 9510}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. Latencies are what admission and settlement add to a call, together."""

    how: str
    tenants: int
    in_flight: int
    pairs: int
    pairs_per_second: float
    p50_ms: float
    p99_ms: float
    admitted_per_group: float
    settled_per_group: float
    cpu_us_per_pair: float


def main() -> None:
    machine = results_file.machine()
    with own_postgres() as url:
        rows = uvloop.run(_measure_all(url))
    figures = [
        asdict(row) | {"of_reference": round(row.pairs_per_second / REFERENCE_PAIRS[key], 2) if key else None}
        for row in rows
        for key in [_reference_key(row)]
    ]
    path = results_file.write(
        "money", {"machine": machine, "seconds_per_row": SECONDS, "fsync": True, "rows": figures}
    )
    print(f"books exact after every row; written to {path.relative_to(path.parents[2])}")


async def _measure_all(url: str) -> list[Row]:
    from config.resources import resources

    rows = []
    gc.collect()
    gc.freeze()  # as a web worker does: else the collector's pauses are the slowest hundredth
    print(f"{'':24}in flight  pairs/s   p50 ms   p99 ms  group in/out  CPU us  of reference")
    async with resources():
        for how, tenants in (
            ("one by one", 1),
            ("groups", 1),
            ("groups", TENANTS_SPREAD),
            (ENVELOPES, 1),
            (PREPAID, 1),
        ):
            for in_flight in IN_FLIGHT if tenants == 1 else IN_FLIGHT[1:]:
                row = await _measure(url, how=how, tenants=tenants, in_flight=in_flight)
                rows.append(row)
                _print(row)
    return rows


async def _measure(url: str, *, how: str, tenants: int, in_flight: int) -> Row:
    """Keep `in_flight` pairs under way for a while and check the books."""
    from billing.ledger import holds, ledger_group, settlements

    runs = RUNS if how == ENVELOPES else 0
    is_prepaid = how == PREPAID
    accounts = await asyncio.to_thread(
        lambda: [_make_account(runs, is_prepaid=is_prepaid) for _ in range(tenants)]
    )
    gate = asyncio.Semaphore(CONNECTIONS_ONE_BY_ONE)

    async def alone(kind: Any, request: Any) -> None:
        async with gate:
            (reply,) = await ledger_group.execute([(kind, request)])
        if isinstance(reply, Exception):
            raise reply

    if how != "one by one":
        admit, settle = holds.admit, settlements.settle
    else:
        admit = lambda attempt: alone(holds.ADMISSIONS, attempt)  # noqa: E731
        settle = lambda settlement: alone(settlements.SETTLEMENTS, settlement)  # noqa: E731
    sizes: list[tuple[int, int]] = []
    added: list[float] = []
    ended = [0] * tenants
    settlement_of = _settlements()

    async def keep_calling(number: int, until: float) -> None:
        account = accounts[number % tenants]
        while time.perf_counter() < until:
            attempt = account()
            began = time.perf_counter()
            await admit(attempt)
            settlement = settlement_of(attempt.id)
            await settle(settlement)
            added.append(time.perf_counter() - began)
            ended[number % tenants] += 1

    async def run(seconds: float) -> None:
        until = time.perf_counter() + seconds
        await asyncio.gather(*(keep_calling(number, until) for number in range(in_flight)))

    with _SizesOf(ledger_group._group, holds.ADMISSIONS, sizes):
        await run(WARM_SECONDS)
        warm = sum(ended)
        added.clear()
        sizes.clear()
        began, cpu = time.perf_counter(), _cpu_seconds()
        await run(SECONDS)
        seconds, cpu = time.perf_counter() - began, _cpu_seconds() - cpu
    pairs = sum(ended) - warm
    for account, count in zip(accounts, ended, strict=True):
        await _check_books(url, account.tenant_id, count, usd_windows=2 + bool(runs) + is_prepaid)
    added.sort()
    return Row(
        how=how,
        tenants=tenants,
        in_flight=in_flight,
        pairs=pairs,
        pairs_per_second=round(pairs / seconds, 1),
        p50_ms=round(added[len(added) // 2] * 1000, 2),
        p99_ms=round(added[int(len(added) * 0.99)] * 1000, 2),
        admitted_per_group=_mean([admitted for admitted, _ in sizes]),
        settled_per_group=_mean([settled for _, settled in sizes]),
        cpu_us_per_pair=round(cpu / pairs * 1e6, 1),
    )


class _SizesOf:
    """Notes the sizes of the groups that are executed: how many of a kind, and how many others."""

    def __init__(self, group: Any, kind: Any, sizes: list[tuple[int, int]]) -> None:
        self.group, self.kind, self.execute, self.sizes = group, kind, group._execute, sizes

    def __enter__(self) -> None:
        async def execute(entries: list[Any]) -> list[Any]:
            of_kind = sum(kind is self.kind for kind, _ in entries)
            self.sizes.append((of_kind, len(entries) - of_kind))
            replies: list[Any] = await self.execute(entries)
            return replies

        self.group._execute = execute

    def __exit__(self, *_: object) -> None:
        self.group._execute = self.execute


class _Account:
    """A tenant with three stacked windows, and those of its runs' envelopes in turns; calling it makes the next attempt."""

    def __init__(self, tenant_id: int, budgets: tuple[Any, ...], envelopes: list[Any]) -> None:
        self.tenant_id, self.budgets = tenant_id, budgets
        self.envelopes = cycle([(one.window,) for one in envelopes] or [()])

    def __call__(self) -> Any:
        from billing.budgets.windows import windows_for
        from billing.ledger.holds import NewAttempt
        from billing.scopes import Dimensions

        at, identity = datetime.now(UTC), UUID(bytes=uuid_utils.uuid7().bytes)
        dimensions = Dimensions(user="alice", key="main", model="gpt-test", provider="openai")
        return NewAttempt(
            id=identity,
            tenant_id=self.tenant_id,
            request_id=identity,
            attempt_no=1,
            key_id=1,
            provider="openai",
            model="gpt-test",
            occurred_at=at,
            hold_usd=Decimal("0.0005"),
            hold_tokens=1000,
            windows=(
                *windows_for(self.budgets, dimensions, at=at, timezone="Europe/Berlin"),
                *next(self.envelopes),
            ),
            user="alice",
            dims={"endpoint": "/v1/chat/completions", "model_asked": "gpt-test", "cache_state": "miss"},
        )


def _make_account(runs: int, *, is_prepaid: bool) -> _Account:
    from django.db import connection

    from billing.budgets.editing import set_budget
    from billing.budgets.windows import load_budgets
    from billing.contracts import prepaid
    from billing.models import RunEnvelope
    from billing.runs.envelopes import open_run
    from billing.runs.opening import Envelope
    from tenants.models import Tenant
    from tenants.policy import EnvelopePolicy

    tenant = Tenant.objects.create(slug=f"bench-{uuid_utils.uuid7()}", name="Bench", timezone="Europe/Berlin")
    for scope, unit, period in (
        ("tenant", "usd", "day"),
        ("tenant", "usd", "month"),
        ("user", "tokens", "day"),
    ):
        set_budget(tenant, scope=scope, unit=unit, period=period, limit_amount=Decimal(10**9))
    policy = EnvelopePolicy(opens="run", most_usd=1_000_000)
    for number in range(runs):
        open_run(tenant, person="alice", run=f"run-{number}", usd=Decimal(1_000_000), policy=policy)
    if is_prepaid:
        prepaid.open_balance(tenant, first_usd=Decimal(10**9), first_reason="invoice 1")
    envelopes = [
        Envelope(one.pk, one.run, one.budget.limit_amount, one.expires_at)
        for one in RunEnvelope.objects.filter(tenant=tenant).select_related("budget")
    ]
    account = _Account(tenant.pk, load_budgets(tenant.pk), envelopes)
    connection.close()
    return account


def _settlements() -> Callable[[UUID], Any]:
    """How every attempt ends: the same usage, rated once, as rating is not what is measured here."""
    from billing.ledger.settlements import Settlement

    rated = _rated()

    def settlement(attempt_id: UUID) -> Settlement:
        return Settlement(attempt_id, "provider", rated, METERS, rated.cost_usd, raw_usage=RAW_USAGE)

    return settlement


def _rated() -> Any:
    from billing.prices.book import Price, rates_of
    from billing.prices.rating import rate

    prices = [Price("input", Decimal("0.15")), Price("output", Decimal("0.60"))]
    return rate(METERS, rates_of(prices, provider="openai", model="gpt-test"))


async def _check_books(url: str, tenant_id: int, pairs: int, *, usd_windows: int) -> None:
    """Every pair is one captured attempt and one row; windows hold nothing and have spent what the ledger says."""
    import psycopg

    cost = _rated().cost_usd * pairs
    async with await psycopg.AsyncConnection.connect(url) as connection:

        async def ask(query: str) -> list[tuple[Any, ...]]:
            return await (await connection.execute(query, [tenant_id])).fetchall()

        windows = await ask("SELECT unit, held, spent FROM billing_budgetwindow WHERE tenant_id = %s")
        states = await ask("SELECT state, count(*) FROM billing_attempt WHERE tenant_id = %s GROUP BY 1")
        rows = await ask("SELECT count(*), sum(billed_cost) FROM billing_usagerecord WHERE tenant_id = %s")
        lines = await ask(
            "SELECT sum(quantity), sum(billed_cost) FROM billing_usageline WHERE tenant_id = %s"
        )
    tokens = sum(METERS.values()) * pairs
    expected = {"usd": cost, "tokens": tokens}
    is_exact = (
        states == [("captured", pairs)]
        and rows == [(pairs, cost)]
        and lines == [(tokens, cost)]
        and len(windows) >= 3
        and all(held == 0 for _, held, _ in windows)
        and sum(spent for unit, _, spent in windows if unit == "usd") == usd_windows * expected["usd"]
        and sum(spent for unit, _, spent in windows if unit == "tokens") == expected["tokens"]
    )
    if not is_exact:
        raise SystemExit(f"the books are not exact: {pairs} pairs, {windows=} {states=} {rows=} {lines=}")


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _mean(sizes: list[int]) -> float:
    return round(sum(sizes) / len(sizes), 1) if sizes else 1.0


def _reference_key(row: Row) -> tuple[str, int] | None:
    key = row.how, row.in_flight
    return key if row.tenants == 1 and key in REFERENCE_PAIRS else None


def _print(row: Row) -> None:
    key = _reference_key(row)
    ratio = f"{row.pairs_per_second / REFERENCE_PAIRS[key]:.2f} of {REFERENCE_PAIRS[key]:,}" if key else ""
    name = row.how + (f", {row.tenants} tenants" if row.tenants > 1 else ", one hot budget")
    name = f"{row.how}, {RUNS} runs" if row.how == ENVELOPES else name
    name = "groups, prepaid balance" if row.how == PREPAID else name
    group = f"{row.admitted_per_group:g}/{row.settled_per_group:g}"
    print(
        f"{name:24}{row.in_flight:>9}{row.pairs_per_second:>9,.0f}{row.p50_ms:>9.1f}{row.p99_ms:>9.1f}"
        f"{group:>14}{row.cpu_us_per_pair:>8.0f}  {ratio}",
        flush=True,
    )


if __name__ == "__main__":
    main()
