"""Our own calls go to one known model: to it alone, and once."""

from collections.abc import Awaitable, Callable
from typing import Final

from llm.calls.call import Call
from llm.providers.retries import RetryPolicy
from llm.providers.target import Target
from llm.steps.hops import Manner

ONCE: Final = Manner(retries=RetryPolicy(max_attempts=1))


def always(target: Target) -> Callable[[Call], Awaitable[list[Target]]]:
    """Finds that target for every call."""

    async def find(call: Call) -> list[Target]:
        return [target]

    return find
