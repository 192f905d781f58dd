"""Anthropic, and servers that speak its API.

It owns all that differs there. It does not own the protocol of its bodies: `llm.wire` does.
"""

from typing import Final

from llm.providers.kinds.anthropic.cost_reports import AnthropicReports
from llm.providers.kinds.batch_api import BatchApi, BatchLimits
from llm.providers.kinds.contract import Account
from llm.providers.kinds.urls import joined

VERSION: Final = "2023-06-01"

name: Final = "anthropic"
label: Final = "Anthropic"
publisher: Final = "Anthropic"
example_url: Final = "https://api.anthropic.com"
options: Final[frozenset[str]] = frozenset()
answers: Final = {
    "openai.chat": "anthropic.messages",
    "openai.responses": "anthropic.messages",
    "anthropic.messages": "anthropic.messages",
}
passed_on: Final = ("anthropic-",)
keeps_responses: Final = False
flex: Final[frozenset[str]] = frozenset()
needs_output_limit: Final = True
lists_what_is_called: Final = True
counts_output_limit: Final = False
batch_limits: Final = BatchLimits(lines=100_000, bytes=256_000_000)
reports: Final = AnthropicReports()


def auth_headers(api_key: str) -> dict[str, str]:
    return {"x-api-key": api_key, "anthropic-version": VERSION}


def url(account: Account, path: str, *, model: str, streamed: bool) -> str:
    return joined(account.base_url, path)


def models_url(account: Account) -> str:
    return joined(account.base_url, "/v1/models?limit=1000")


def tokenizer(upstream: str) -> str:
    """The gateway's name of a model may be anything, and so may an account's prefix before Claude's."""
    return upstream[upstream.find("claude") :] if "claude" in upstream else "claude"


def batches(account: Account) -> BatchApi:
    from llm.providers.kinds.anthropic import message_batches  # noqa: PLC0415 the SDK takes a second to load

    return message_batches.AnthropicBatches(base_url=account.base_url, api_key=account.api_key)
