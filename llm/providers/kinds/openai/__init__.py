"""OpenAI, and the many servers that speak its API.

It owns all that differs there. It does not own the protocol of its bodies: `llm.wire` does.
"""

from typing import Final

from llm.providers.kinds.batch_api import BatchApi, BatchLimits
from llm.providers.kinds.contract import Account
from llm.providers.kinds.openai.cost_reports import OpenAIReports
from llm.providers.kinds.urls import joined

name: Final = "openai"
label: Final = "OpenAI"
publisher: Final = "OpenAI"
example_url: Final = "https://api.openai.com/v1"
options: Final[frozenset[str]] = frozenset()
answers: Final = {
    "openai.chat": "openai.chat",
    "openai.responses": "openai.responses",
    "openai.embeddings": "openai.embeddings",
    "openai.completions": "openai.completions",
    "anthropic.messages": "openai.chat",
}
passed_on: Final = ("openai-",)
keeps_responses: Final = True
flex: Final = frozenset({"openai.chat", "openai.responses"})
needs_output_limit: Final = False
lists_what_is_called: Final = True
counts_output_limit: Final = True
batch_limits: Final = BatchLimits(lines=50_000, bytes=200_000_000)
reports: Final = OpenAIReports()


def auth_headers(api_key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {api_key}"}


def url(account: Account, path: str, *, model: str, streamed: bool) -> str:
    return joined(account.base_url, path)


def models_url(account: Account) -> str:
    return joined(account.base_url, "/models")


def tokenizer(upstream: str) -> str:
    return upstream


def batches(account: Account) -> BatchApi:
    from llm.providers.kinds.openai import file_batches  # noqa: PLC0415 the SDK takes a second to load

    return file_batches.OpenAIBatches(base_url=account.base_url, api_key=account.api_key)
