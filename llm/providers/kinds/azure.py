"""Azure OpenAI, its classic deployments: a model is a deployment, named in the address.

Invariant: only what a deployment answers itself is asked of it. Batches, kept responses and costs have other addresses and
other credentials at Azure: they are refused by name.
"""

from typing import Final
from urllib.parse import quote, urlencode

from llm.providers.kinds.contract import Account

name: Final = "azure"
label: Final = "Azure OpenAI"
publisher: Final = "Microsoft"
example_url: Final = "https://NAME.openai.azure.com"
options: Final = frozenset({"api_version"})
answers: Final = {
    "openai.chat": "openai.chat",
    "openai.embeddings": "openai.embeddings",
    "openai.completions": "openai.completions",
    "anthropic.messages": "openai.chat",
}
passed_on: Final = ("openai-",)
keeps_responses: Final = False
flex: Final[frozenset[str]] = frozenset()
needs_output_limit: Final = False
lists_what_is_called: Final = False
counts_output_limit: Final = True
batches: Final = None
batch_limits: Final = None
reports: Final = None


def auth_headers(api_key: str) -> dict[str, str]:
    return {"api-key": api_key}


def url(account: Account, path: str, *, model: str, streamed: bool) -> str:
    """As the official client builds it, whose endpoint may or may not end in /openai."""
    return _address(account, f"/deployments/{quote(model, safe='')}{path}")


def models_url(account: Account) -> str:
    """Those that it could deploy. Its deployments are listed where only its owner may ask."""
    return _address(account, "/models")


def _address(account: Account, path: str) -> str:
    base = account.base_url.rstrip("/").removesuffix("/openai")
    query = urlencode({"api-version": account.options["api_version"]})
    return f"{base}/openai{path}?{query}"


def tokenizer(upstream: str) -> str:
    """A deployment that is named after its model is counted as that model, one that is not as the newest."""
    return upstream
