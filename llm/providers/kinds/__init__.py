"""The kinds of providers, and the only place that lists them.

It owns what differs between kinds: addresses, credentials, headers, tokenizers, batches, cost reports. It does not own the
wire formats, which several kinds share (`llm.wire`), nor what an operator declares of an account (`llm.models`).

Invariant: no other module compares the name of a kind. To add one, write its module and name it here.
"""

from collections.abc import Mapping
from typing import Any, Final

from llm.providers.kinds import anthropic, azure, openai
from llm.providers.kinds.contract import Account, ProviderKind, ReportApi

__all__ = ["KINDS", "Account", "ProviderKind", "ReportApi", "kind_choices", "problem_with_options"]

_ALL: Final[tuple[ProviderKind, ...]] = (openai, anthropic, azure)
KINDS: Final[Mapping[str, ProviderKind]] = {kind.name: kind for kind in _ALL}


def kind_choices() -> list[tuple[str, str]]:
    """The choices of a column that holds a kind's name. A callable, so that a new kind needs no migration."""
    return [(kind.name, kind.label) for kind in KINDS.values()]


def problem_with_options(name: str, options: Any) -> str:
    """Why these cannot be the options of an account of the kind; empty if they can."""
    if not isinstance(options, dict):
        return "must be an object"
    wanted = KINDS[name].options if name in KINDS else frozenset(options)
    if missing := sorted(wanted - options.keys()):
        return f"a provider of kind {name} needs {', '.join(missing)}"
    if unknown := sorted(options.keys() - wanted):
        return f"a provider of kind {name} has no {', '.join(unknown)}"
    if wrong := sorted(key for key, value in options.items() if not isinstance(value, str) or not value):
        return f"{', '.join(wrong)} must be a text"
    return ""
