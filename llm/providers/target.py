"""One model at one provider account, as frozen facts in memory.

Invariant: pure data, built in one place (`llm.catalog.loading`) and never edited.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from llm.providers.kinds import ProviderKind

ModelKind = Literal["chat", "embedding"]


@dataclass(frozen=True, slots=True)
class Target:
    """One model at one provider account: everything a call to it needs.

    `model` is the name clients use, `upstream` the provider's; `context_window` counts tokens in and out together;
    `max_output_tokens` is 0 where it is not declared.
    """

    model: str
    provider: str
    kind: ProviderKind = field(repr=False)
    base_url: str
    api_key: str = field(repr=False)
    upstream: str
    model_kind: ModelKind = "chat"
    tier: str = ""
    context_window: int = 128_000
    max_output_tokens: int = 0
    capabilities: frozenset[str] = frozenset()
    fallbacks: tuple[str, ...] = ()
    limits: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    timeouts: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    weight: float = 1.0
    options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    created_at: int = 0
    owner: int | None = None  # the tenant whose own account it is

    @property
    def output_bound(self) -> int:
        """No answer is longer: the model's maximum, or its whole window where that is not declared."""
        return self.max_output_tokens or self.context_window

    @property
    def tokenizer(self) -> str:
        """The name to count tokens by."""
        return self.kind.tokenizer(self.upstream)

    def speaks(self, api: str) -> bool:
        """Whether it is asked in the API of a client that speaks `api`, without a translation."""
        return self.kind.answers.get(api) == api

    def url(self, path: str, *, streamed: bool = False) -> str:
        """Where to ask for this model."""
        return self.kind.url(self, path, model=self.upstream, streamed=streamed)
