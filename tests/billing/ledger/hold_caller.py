"""One process that only holds: `python -m tests.billing.ledger.hold_caller '{"id": ..., "slug": ..., "calls": 50}'`.

Asks for all its calls at once and prints how many were admitted and how many refused, as one JSON object.
"""

import asyncio
import json
import sys
from collections import Counter
from typing import Any

import django


async def hold_all(order: dict[str, Any]) -> dict[str, int]:
    from billing.budgets.balances import BudgetExceeded
    from billing.budgets.windows import load_budgets
    from billing.ledger.holds import admit
    from config.resources import resources
    from tests.billing.conftest import Account
    from tests.orm import in_thread

    budgets = await in_thread(load_budgets, order["id"])
    account = Account(order["id"], order["slug"], "Europe/Berlin", budgets)
    async with resources():
        replies = await asyncio.gather(
            *(admit(account.attempt(usd="0.01")) for _ in range(order["calls"])), return_exceptions=True
        )
    return dict(
        Counter(
            "admitted"
            if isinstance(reply, list)
            else "refused"
            if isinstance(reply, BudgetExceeded)
            else repr(reply)
            for reply in replies
        )
    )


if __name__ == "__main__":
    django.setup()
    print(json.dumps(asyncio.run(hold_all(json.loads(sys.argv[1])))))
