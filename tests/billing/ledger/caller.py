"""One process of callers: `python -m tests.billing.ledger.caller '{"accounts": [...], "workers": 16, "rounds": 40}'`.

Each of its workers admits and settles for real, one call after the other; prints what came of them as one JSON object.
Every seventh call is given back, every tenth is settled twice.
"""

import asyncio
import json
import sys
from collections import Counter
from decimal import Decimal
from typing import Any

import django


async def call_all(order: dict[str, Any]) -> dict[str, dict[str, int]]:
    """Let the workers call in each account; how many calls were admitted, refused, settled, voided."""
    from billing.budgets.windows import load_budgets
    from config.resources import resources
    from tests.billing.conftest import Account
    from tests.orm import in_thread

    accounts = [
        Account(one["id"], one["slug"], "Europe/Berlin", await in_thread(load_budgets, one["id"]))
        for one in order["accounts"]
    ]
    counts = {account.slug: Counter[str]() for account in accounts}
    async with resources():
        await asyncio.gather(
            *(
                _work(account, counts[account.slug], number=number, rounds=order["rounds"])
                for number in range(order["workers"])
                for account in accounts
            )
        )
    return {slug: dict(counter) for slug, counter in counts.items()}


async def _work(account: Any, counts: Counter[str], *, number: int, rounds: int) -> None:
    from billing.budgets.balances import BudgetExceeded
    from billing.ledger.holds import admit
    from billing.ledger.settlements import settle, void

    for turn in range(rounds):
        attempt = account.attempt(usd="0.01", tokens=1500, user=f"user-{number % 3}")
        try:
            await admit(attempt)
        except BudgetExceeded as refusal:
            has_room = refusal.balance.remaining >= (
                attempt.hold_usd if refusal.balance.unit == "usd" else Decimal(attempt.hold_tokens)
            )
            counts["refused though there was room" if has_room else "refused"] += 1
            continue
        counts["admitted"] += 1
        await asyncio.sleep(0)
        if turn % 7 == 6:
            await void(attempt.id, reason="test")
            counts["voided"] += 1
            continue
        settlement = account.settlement(attempt.id)
        if turn % 10 == 3:
            await asyncio.gather(settle(settlement), settle(settlement))
        else:
            await settle(settlement)
        counts["settled"] += 1


if __name__ == "__main__":
    django.setup()
    print(json.dumps(asyncio.run(call_all(json.loads(sys.argv[1])))))
