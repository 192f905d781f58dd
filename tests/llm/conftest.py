"""A model at several accounts of the sandbox, whose call log tells them apart by their keys."""

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.books import Books
from tests.stack import Stack
from tests.world import Deployment, declare_deployment


@dataclass
class Spread:
    """A model and its accounts, the first one first."""

    model: str
    accounts: list[Deployment]

    @property
    def keys(self) -> list[str]:
        return [account.account_key for account in self.accounts]

    def calls(self, books: Books) -> list[int]:
        """How many calls the sandbox had from each account."""
        return [len(books.calls(key=key)) for key in self.keys]


def declare_spread(
    sandbox_url: str, *, accounts: list[dict[str, Any]], kind: str = "openai", **model: Any
) -> tuple[Spread, dict[str, Any]]:
    """A model at so many accounts; each may say `weight`, `timeouts`, `prices` (of the deployment), `limits` and
    `base_url` (of its provider)."""
    first, *further = accounts
    own = {name: value for name, value in first.items() if name in ("limits", "base_url", "timeouts")}
    deployment, document = declare_deployment(
        sandbox_url, kind=kind, **own, **model, **({"weight": first["weight"]} if "weight" in first else {})
    )
    spread = Spread(deployment.model, [deployment])
    declared = []
    for facts in further:
        token = secrets.token_hex(4)
        account = Deployment(deployment.model, f"account-{token}", f"sk-sandbox-{token}")
        ours = {name: value for name, value in facts.items() if name in ("limits", "base_url")}
        provider = {**document["providers"][0], "limits": {}, "timeouts": {}, **ours}
        document["providers"].append(provider | {"name": account.provider, "api_key": account.account_key})
        theirs = {name: value for name, value in facts.items() if name not in ("limits", "base_url")}
        declared.append({"provider": account.provider, **theirs})
        spread.accounts.append(account)
    document["models"][0]["deployments"] = declared
    return spread, document


@pytest.fixture
def make_spread(stack: Stack, committed: None) -> Callable[..., Spread]:
    """Declare a model at several accounts as an operator would."""

    def make(*accounts: dict[str, Any], **model: Any) -> Spread:
        from llm.configuration import apply_configuration

        spread, document = declare_spread(stack.sandbox_url, accounts=list(accounts), **model)
        apply_configuration(json.dumps(document), source="spread.yaml", environ={}, dry_run=False)
        return spread

    return make
