"""The interface of a provider kind: the Protocol that the module of every kind satisfies.

Invariant: a kind says everything, and nothing has a default. What a kind does not have is None, False or empty, and is
refused by name.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any, Protocol

from billing.reconciliation.provider_reports import ReportFormat
from llm.providers.kinds.batch_api import BatchApi, BatchLimits

Parameters = Sequence[tuple[str, str]]


class Account(Protocol):
    """Where an account is and who it is. A `Target` is one, and so is a row of the table of providers."""

    @property
    def base_url(self) -> str: ...

    @property
    def api_key(self) -> str: ...

    @property
    def options(self) -> Mapping[str, str]: ...


class ReportApi(Protocol):
    """How an account's cost reports are pulled."""

    @property
    def format(self) -> ReportFormat:
        """How its pages and its files are read."""
        ...

    @property
    def can_filter_by_project(self) -> bool:
        """Whether its server leaves out the projects that were not asked for; else the gateway does."""
        ...

    def requests(self, first: date, last: date, scope: Mapping[str, Any]) -> list[tuple[str, Parameters]]:
        """The paths to ask for, each with its parameters. `scope` is {projects, api_keys}, lists of ids."""
        ...


class ProviderKind(Protocol):
    """One kind of provider: where and how its servers are asked, and what they have."""

    @property
    def name(self) -> str:
        """What `kind` is in the configuration and in the database."""
        ...

    @property
    def label(self) -> str:
        """Its name for people."""
        ...

    @property
    def publisher(self) -> str:
        """Its name as a publisher in FOCUS files."""
        ...

    @property
    def example_url(self) -> str:
        """A base URL as its accounts have it."""
        ...

    @property
    def options(self) -> frozenset[str]:
        """What an account must have besides its base URL and its key."""
        ...

    @property
    def answers(self) -> Mapping[str, str]:
        """Which of its APIs answers which of the gateway's."""
        ...

    @property
    def passed_on(self) -> tuple[str, ...]:
        """How the names of the headers begin that it gets to see of a client that speaks its API."""
        ...

    @property
    def keeps_responses(self) -> bool:
        """Whether a response can be continued and read by its id."""
        ...

    @property
    def flex(self) -> frozenset[str]:
        """Those of its APIs that take `service_tier: flex`."""
        ...

    @property
    def needs_output_limit(self) -> bool:
        """Whether it refuses a request that names no limit of the output."""
        ...

    @property
    def counts_output_limit(self) -> bool:
        """Whether the limit of the output counts against the account's tokens a minute."""
        ...

    @property
    def batches(self) -> Callable[[Account], BatchApi] | None:
        """Opens an account's batch API. Loads the official SDK: not for the event loop."""
        ...

    @property
    def batch_limits(self) -> BatchLimits | None:
        """The most that one of its batches may have, as it publishes it; an account may have others."""
        ...

    @property
    def reports(self) -> ReportApi | None: ...

    def auth_headers(self, api_key: str) -> dict[str, str]: ...

    def url(self, account: Account, path: str, *, model: str, streamed: bool) -> str:
        """The address of an exchange: `path` is that of its wire format, `model` the provider's name of the model."""
        ...

    def models_url(self, account: Account) -> str:
        """The address that lists models, and costs nothing."""
        ...

    @property
    def lists_what_is_called(self) -> bool:
        """Whether the names in that list are those by which the account's models are called."""
        ...

    def tokenizer(self, upstream: str) -> str:
        """The name by which the tokens of a model are counted."""
        ...
