"""Whatever is repeated, in whatever order: the books are those of a model with a dictionary and four sums."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.budgets.balances import BudgetExceeded
from billing.ledger import settlements
from billing.ledger.holds import admit
from billing.prices.book import Price, rates_of
from billing.prices.rating import rate
from tests.billing.conftest import Account
from tests.orm import in_thread

MakeAccount = Callable[..., Account]
ATTEMPTS = 4
LIMIT_USD = Decimal("0.025")
HOLD_USD, HOLD_TOKENS = Decimal("0.01"), 2000

pytestmark = pytest.mark.usefixtures("loop_resources")
on_postgres = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

BOOKS = """
SELECT (SELECT jsonb_object_agg(unit, jsonb_build_array(held::text, spent::text))
        FROM billing_budgetwindow WHERE tenant_id = %(t)s),
       (SELECT coalesce(sum(billed_cost), 0) FROM billing_usagerecord WHERE tenant_id = %(t)s),
       (SELECT coalesce(sum(billed_cost), 0) FROM billing_usageline WHERE tenant_id = %(t)s),
       (SELECT coalesce(sum(input_tokens + output_tokens), 0) FROM billing_usagerecord WHERE tenant_id = %(t)s),
       (SELECT count(*) FROM billing_usagerecord WHERE tenant_id = %(t)s AND kind = 'usage' AND usage_source <> 'gateway_cache'),
       (SELECT count(*) FROM billing_usagerecord WHERE tenant_id = %(t)s AND usage_source = 'gateway_cache'),
       (SELECT coalesce(jsonb_object_agg(id, state), '{}') FROM billing_attempt WHERE tenant_id = %(t)s)
"""

attempt = st.integers(0, ATTEMPTS - 1)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("admit"), attempt),
        st.tuples(st.just("settle"), attempt, st.integers(0, 2000), st.integers(0, 400)),
        st.tuples(st.just("estimate"), attempt, st.integers(0, 2000), st.integers(0, 400)),
        st.tuples(st.just("void"), attempt),
        st.tuples(st.just("progress"), attempt, st.integers(0, 400)),
        st.tuples(st.just("hit"), attempt),
    ),
    max_size=16,
)


@dataclass
class Model:
    """What the books must say after the steps so far; `took_effect` are those that changed something."""

    states: dict[int, str] = field(default_factory=dict)
    costs: dict[int, tuple[Decimal, int]] = field(default_factory=dict)
    hits: set[int] = field(default_factory=set)
    took_effect: list[tuple[Any, ...]] = field(default_factory=list)

    @property
    def holding(self) -> int:
        return sum(state == "sent" for state in self.states.values())

    @property
    def spent(self) -> tuple[Decimal, int]:
        return sum((usd for usd, _ in self.costs.values()), Decimal(0)), sum(
            tokens for _, tokens in self.costs.values()
        )

    def take(self, step: tuple[Any, ...]) -> None:
        before = dict(self.states), set(self.hits)
        getattr(self, step[0])(*step[1:])
        if before != (self.states, self.hits):
            self.took_effect.append(step)

    def admit(self, number: int) -> None:
        if number not in self.states and self.spent[0] + (self.holding + 1) * HOLD_USD <= LIMIT_USD:
            self.states[number] = "sent"

    def settle(self, number: int, read: int, written: int) -> None:
        if self.states.get(number, "captured") != "captured":
            self.states[number], self.costs[number] = "captured", _usage(read, written)

    def estimate(self, number: int, read: int, written: int) -> None:
        if self.states.get(number) in ("sent", "voided"):
            self.states[number], self.costs[number] = "estimated", _usage(read, written)

    def void(self, number: int) -> None:
        if self.states.get(number) == "sent":
            self.states[number] = "voided"

    def progress(self, number: int, written: int) -> None: ...

    def hit(self, number: int) -> None:
        self.hits.add(number)


class Books:
    """The same steps for real."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.attempts = [account.attempt(usd=str(HOLD_USD), tokens=HOLD_TOKENS) for _ in range(ATTEMPTS)]
        self.hits = [account.hit() for _ in range(ATTEMPTS)]

    async def take(self, step: tuple[Any, ...]) -> None:
        verb, number, *numbers = step
        identity = self.attempts[number].id
        if verb == "admit":
            await admit(self.attempts[number])
        elif verb == "settle":
            await settlements.settle(self.account.settlement(identity, read=numbers[0], written=numbers[1]))
        elif verb == "estimate":
            await settlements.settle(
                self.account.settlement(
                    identity, read=numbers[0], written=numbers[1], usage_source="estimated"
                )
            )
        elif verb == "void":
            await settlements.void(identity, reason="test")
        elif verb == "progress":
            await settlements.progress(identity, {"input_tokens": 1, "output_tokens": numbers[0]})
        else:
            await settlements.record_hit(self.hits[number])

    async def read(self) -> tuple[Any, ...]:
        def work() -> tuple[Any, ...]:
            with connection.cursor() as cursor:
                cursor.execute(BOOKS, {"t": self.account.tenant_id})
                windows, *sums, states = cursor.fetchone()
                return json.loads(windows or "{}"), *sums, json.loads(states)

        return await in_thread(work)


@on_postgres
@given(steps=steps, twice=st.sets(st.integers(0, 15)), order=st.randoms(use_true_random=False))
async def test_replay_of_anything_changes_nothing(
    make_account: MakeAccount, steps: list[tuple[Any, ...]], twice: set[int], order: Any
) -> None:
    account = await in_thread(
        make_account,
        {"limit": LIMIT_USD},
        {"unit": "tokens", "limit": 10**6},
        {"unit": "requests", "limit": 10**6},
    )
    books, model = Books(account), Model()
    for position, step in enumerate(steps):
        model.take(step)
        times = 2 if position in twice else 1
        replies = await asyncio.gather(*(books.take(step) for _ in range(times)), return_exceptions=True)
        assert all(reply is None or isinstance(reply, BudgetExceeded) for reply in replies)
    found = await books.read()
    _check(found, books, model)
    replayed = list(model.took_effect) * 2
    order.shuffle(replayed)
    await asyncio.gather(*(books.take(step) for step in replayed))
    assert await books.read() == found


@on_postgres
@given(
    parts=st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 900)), min_size=1, max_size=12),
    group=st.integers(1, 12),
    order=st.randoms(use_true_random=False),
)
async def test_parts_add_up_to_the_whole_however_requests_are_split_and_ordered(
    make_account: MakeAccount, parts: list[tuple[int, int]], group: int, order: Any
) -> None:
    """One request of all tokens costs what many of a part each cost: in rating, in the ledger, in every budget."""
    account = await in_thread(make_account, {"limit": 100}, {"unit": "tokens", "limit": 10**9})
    order.shuffle(parts)
    for start in range(0, len(parts), group):
        together = [
            (account.attempt(usd="0.02", tokens=6000), *part) for part in parts[start : start + group]
        ]
        await asyncio.gather(*(admit(one) for one, *_ in together))
        await asyncio.gather(
            *(
                settlements.settle(account.settlement(one.id, read=read, written=wrote))
                for one, read, wrote in together
            )
        )
    read, wrote = (sum(column) for column in zip(*parts, strict=True))
    usd, tokens = _usage(read, wrote)
    windows, billed, of_lines, in_ledger, *_ = await Books(account).read()
    assert (billed, of_lines, in_ledger) == (usd, usd, tokens)
    assert {unit: tuple(map(Decimal, both)) for unit, both in windows.items()} == {
        "usd": (0, usd),
        "tokens": (0, tokens),
    }


METERS = ("input", "cache_read", "cache_write_5m", "output")


@given(
    prices=st.lists(st.decimals("0", "200", places=6), min_size=4, max_size=4),
    requests=st.lists(
        st.dictionaries(st.sampled_from(METERS), st.integers(1, 10**8), max_size=4), min_size=1, max_size=20
    ),
    multiplier=st.sampled_from((1, 10, 1000)),
)
def test_any_split_over_meters_and_requests_is_rated_the_same(
    prices: list[Decimal], requests: list[dict[str, int]], multiplier: int
) -> None:
    """Prices of a million tokens with six places are exact at twelve, so that nothing is ever rounded away."""
    rows = [Price(meter, usd) for meter, usd in zip(METERS, prices, strict=True)]
    rates = rates_of(rows, provider="p", model="m")
    whole = Counter[str]()
    for meters in requests:
        whole.update({meter: quantity * multiplier for meter, quantity in meters.items()})
    apart = [
        rate({meter: quantity}, rates).cost_usd
        for meters in requests
        for meter, quantity in meters.items()
        for _ in range(multiplier if multiplier <= 10 else 1)
    ]
    if multiplier <= 10:
        assert sum(apart, Decimal(0)) == rate(whole, rates).cost_usd
    together = sum((rate(meters, rates).cost_usd for meters in requests), Decimal(0))
    assert together * multiplier == rate(whole, rates).cost_usd


def _usage(read: int, written: int) -> tuple[Decimal, int]:
    return Decimal(read) / 10**6 + Decimal(written) * 5 / 10**6, read + written


def _check(found: tuple[Any, ...], books: Books, model: Model) -> None:
    windows, billed, of_lines, in_ledger, rows, hits, states = found
    usd, tokens = model.spent
    assert states == {str(books.attempts[number].id): state for number, state in model.states.items()}
    assert (billed, of_lines, in_ledger) == (usd, usd, tokens)
    assert (rows, hits) == (len(model.costs), len(model.hits))
    if not windows:  # nobody has asked for one yet
        assert not model.states
        assert not model.hits
        return
    assert {unit: tuple(map(Decimal, both)) for unit, both in windows.items()} == {
        "usd": (model.holding * HOLD_USD, usd),
        "tokens": (model.holding * HOLD_TOKENS, tokens),
        "requests": (model.holding, len(model.costs)),
    }
