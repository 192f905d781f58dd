"""Four processes, sixty-four callers, three stacked budgets, and somebody outside who looks all the time."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.billing.conftest import Account

pytestmark = pytest.mark.slow

PROCESSES, WORKERS, ROUNDS = 4, 16, 30
CALLERS = PROCESSES * WORKERS
CALLS = CALLERS * ROUNDS
HOLD_USD, HOLD_TOKENS = Decimal("0.01"), 1500
COST_USD, TOKENS = Decimal("0.002"), 1200  # of a call of `Account.settlement`
LOOK_EVERY_SECONDS = 0.003
ROOT = Path(__file__).resolve().parents[3]

LOOK = """
SELECT b.tenant_id, sum(w.spent + w.held), b.limit_amount FROM billing_budgetwindow w
JOIN billing_budget b ON b.id = w.budget_id WHERE b.tenant_id = ANY (%s) GROUP BY b.id, w.subject, w.starts_at
"""
WINDOWS = """
SELECT unit, sum(held), sum(spent), sum(overrun) FROM billing_budgetwindow WHERE tenant_id = %s GROUP BY budget_id, unit
"""
LEDGER = """
SELECT count(*), count(DISTINCT attempt_id), sum(billed_cost), sum(input_tokens + output_tokens)
FROM billing_usagerecord WHERE tenant_id = %s
"""
DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
STATES = "SELECT state, count(*) FROM billing_attempt WHERE tenant_id = %s GROUP BY state"


@pytest.mark.parametrize("shards", [1, 4])
def test_an_outside_observer_never_sees_more_than_a_limit_and_room_is_never_refused(
    make_account: Callable[..., Account], tests_database_url: str, shards: int
) -> None:
    # the room of this one ends in the middle of the test
    narrow = make_account(
        {"limit": COST_USD * CALLS / 2, "shards": shards},
        {"scope": "user", "unit": "usd", "period": "month", "limit": COST_USD * CALLS / 5, "shards": shards},
        {"unit": "tokens", "period": "total", "limit": TOKENS * CALLS * 2 // 5},
    )
    # and this one has room to the last cent for all calls, if nothing is ever held or counted twice
    roomy = make_account(
        {"limit": COST_USD * CALLS + HOLD_USD * CALLERS, "shards": shards},
        {"scope": "user", "unit": "usd", "period": "month", "limit": COST_USD * CALLS + HOLD_USD * CALLERS},
        {
            "unit": "tokens",
            "period": "total",
            "limit": TOKENS * CALLS + HOLD_TOKENS * CALLERS,
            "shards": shards,
        },
    )
    with psycopg.connect(tests_database_url, autocommit=True) as watch:
        deadlocks = watch.execute(DEADLOCKS).fetchone()
        fullest, looks, counts = _observe(watch, [narrow, roomy], tests_database_url)

        assert watch.execute(DEADLOCKS).fetchone() == deadlocks
        assert looks > 100
        assert fullest[narrow.tenant_id] <= 1
        assert fullest[roomy.tenant_id] <= 1
        assert fullest[narrow.tenant_id] > Decimal("0.9"), "the limit was never put to the test"
        assert counts[narrow.slug]["refused"] > 0
        assert counts[roomy.slug] == Counter(
            admitted=CALLS, settled=counts[roomy.slug]["settled"], voided=counts[roomy.slug]["voided"]
        )
        for account in (narrow, roomy):
            _check_books(watch, account, counts[account.slug])


def _observe(
    watch: psycopg.Connection[Any], accounts: list[Account], database_url: str
) -> tuple[dict[int, Decimal], int, dict[str, Counter[str]]]:
    """Let the processes call and look until they have ended: the fullest a budget of each tenant ever was."""
    order = {
        "accounts": [{"id": account.tenant_id, "slug": account.slug} for account in accounts],
        "workers": WORKERS,
        "rounds": ROUNDS,
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.billing.ledger.caller", json.dumps(order)],
            cwd=ROOT,
            env={**os.environ, "DATABASE_URL": database_url},
            stdout=subprocess.PIPE,
        )
        for _ in range(PROCESSES)
    ]
    try:
        tenant_ids = [account.tenant_id for account in accounts]
        fullest = dict.fromkeys(tenant_ids, Decimal(0))
        looks = 0
        while any(process.poll() is None for process in processes):
            for tenant_id, used, limit in watch.execute(LOOK, [tenant_ids], prepare=True).fetchall():
                fullest[tenant_id] = max(fullest[tenant_id], used / limit)
                looks += 1
            time.sleep(LOOK_EVERY_SECONDS)
        counts = {account.slug: Counter[str]() for account in accounts}
        for process in processes:
            output, _ = process.communicate()
            assert process.returncode == 0
            for slug, found in json.loads(output.splitlines()[-1]).items():
                counts[slug].update(found)
        return fullest, looks, counts
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _check_books(watch: psycopg.Connection[Any], account: Account, counts: Counter[str]) -> None:
    """Nothing is held, every budget has spent what the ledger says, and the ledger what the callers say."""
    settled = counts["settled"]
    cost, tokens = COST_USD * settled, TOKENS * settled
    assert counts["refused though there was room"] == 0
    assert counts["admitted"] == settled + counts["voided"]
    assert watch.execute(LEDGER, [account.tenant_id]).fetchone() == (settled, settled, cost, tokens)
    assert dict(watch.execute(STATES, [account.tenant_id]).fetchall()) == {
        "captured": settled,
        "voided": counts["voided"],
    }
    windows = watch.execute(WINDOWS, [account.tenant_id]).fetchall()
    assert sorted(unit for unit, *_ in windows) == ["tokens", "usd", "usd"]
    for unit, held, spent, overrun in windows:
        assert (held, spent, overrun) == (0, cost if unit == "usd" else tokens, 0)
