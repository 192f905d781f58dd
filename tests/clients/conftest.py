"""What the tests of the clients share: the models of both kinds of provider, and what the books say of an answer.

Invariant: a client is told the truth: the tokens that its SDK shows are those of the ledger and of the receipt.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from tests.books import Books, eventually
from tests.world import World

GPT, CLAUDE = "gpt-4o-mini", "claude-haiku-4-5"
MODELS = [GPT, CLAUDE]

WEATHER = {"Paris": "18 degrees and sun", "Berlin": "12 degrees and rain"}
ASKS_FOR_WEATHER = "What is the weather in Paris and what is the weather in Berlin?"

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQAYJ7xVAAAAAElFTkSuQmCC"  # a PNG
)

CheckBooks = Callable[..., dict[str, Any]]


@pytest.fixture
def check_books(world: World, books: Books) -> CheckBooks:
    """Assert that ledger and receipt have this request as its client saw it; returns the receipt."""

    def check(
        request_id: str, *, model: str, endpoint: str, input_tokens: int, output_tokens: int
    ) -> dict[str, Any]:
        row = books.row(request_id)
        assert (row.model, row.endpoint, row.usage_source) == (model, endpoint, "provider")
        assert row.input_tokens + row.cache_read_tokens + row.cache_write_tokens == input_tokens > 0
        assert row.output_tokens == output_tokens
        status, receipt = eventually(
            lambda: world.get(f"/v1/requests/{request_id}"), until=lambda answer: answer[0] == 200
        )
        assert status == 200
        assert (receipt["endpoint"], receipt["status"], receipt["error_code"]) == (endpoint, 200, None)
        result = receipt["result"]
        assert (result["model"], result["tokens"]["input"]) == (model, input_tokens)
        assert result["tokens"]["output"] == output_tokens
        assert Decimal(result["cost_usd"]) == row.billed_cost > 0
        assert [attempt["attempt"] for attempt in receipt["attempts"]] == [1]
        return receipt

    return check
