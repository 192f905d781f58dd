"""The call's context: what every step of the pipeline takes and writes to.

Invariant: one Call is one request; `body` is never edited in place, a step that changes it puts a new one.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Protocol, TypeVar
from uuid import UUID

from billing.budgets.balances import Balance, tightest
from billing.budgets.windows import WindowKey, windows_for
from billing.ledger.waiting import Reserve
from billing.prices.savings import OUR_OWN
from billing.runs.opening import Envelope
from billing.scopes import Dimensions
from caching.embedders.registry import ready_embedder
from caching.entries.vectors import FindEmbedder
from caching.exact.flights import Flight
from caching.exact.store import ExactKey
from caching.learning.judging import Judge
from caching.scope import Fingerprint, fingerprint_of
from caching.semantic.cache import Lookup
from llm import long_work
from llm.calls.dimensions import NO_TRACE, allocation_of, dimensions_of, ledger_dims, trace_of
from llm.calls.headers import CallHeaders
from llm.calls.readings import Readings
from llm.calls.receipt import Receipt
from llm.calls.settled_cost import SettledCost
from llm.catalog.snapshot import TenantSnapshot
from llm.kept.responses import Kept
from llm.providers.target import Target
from llm.routing.decision import Route
from llm.routing.facts import RouteFacts
from llm.wire import RequestFacts, Source, WireFormat
from tenants.allocation import Allocation, Tags, no_tags
from tenants.limits.limiting import Slot
from tenants.policy import Policy
from tenants.principal import Principal

MOST_ANSWERS = 128  # that a provider gives to one call

Read = TypeVar("Read")


class Learner(Protocol):
    """What the caches learn from a call in the background, and with which helpers: see `llm.learning`."""

    @property
    def judge(self) -> Judge | None:
        """Who compares answers; None where the tenant has no judge."""
        ...

    @property
    def find_embedder(self) -> FindEmbedder: ...

    def check_soon(self, hit: "Call") -> None:
        """Ask upstream what a hit was served for, in the background, if it is drawn for that."""
        ...


@dataclass(slots=True)
class Call:
    """One request on its way through the pipeline."""

    request_id: UUID
    received_at: datetime
    endpoint: str
    wire: WireFormat
    source: Source
    body: dict[str, Any]
    facts: RequestFacts
    headers: CallHeaders
    passed_on: Mapping[str, str]
    principal: Principal
    snapshot: TenantSnapshot
    receipt: Receipt = field(default_factory=Receipt)
    readings: Readings = field(default_factory=Readings)

    id_text: str = field(init=False)  # of the request
    policy: Policy = field(init=False)
    # the end user's id: the person the key is bound to, else the one that the caller named; empty when there is none
    user: str = field(init=False)
    cache_state: str = "bypass"
    similarity: float | None = None
    no_cache: str | None = None  # why no cache may answer it, empty when they may; None: not looked yet
    route: Route | None = None
    previous: Kept | None = None  # the response that it continues
    keepers: dict[str, str] = field(default_factory=dict)  # the accounts that made what it refers to, by id
    tokens_before_compression: int | None = None
    tokens_after_compression: int | None = None
    balances: list[Balance] = field(default_factory=list)
    slot: Slot | None = None
    fingerprint: Fingerprint | None = None  # of the body as the client sent it, once it was read
    exact_key: ExactKey | None = None
    lookup: Lookup | None = None
    learner: "Learner | None" = None  # None: nothing is learnt from it
    flight: Flight | None = None  # led for the equal requests that wait
    joins_flights: bool = True  # False: waits for no equal request's answer, and has none wait for its own
    hit_id: UUID | None = None  # of its ledger row if it is answered from memory; None: a new one
    is_remembering: bool = False
    was_sent: bool = False  # a provider may have been asked
    ttft_ms: int | None = None
    structured: str = ""  # valid, repaired, invalid or unchecked, where a form was asked for
    refusal: dict[str, Any] | None = None
    booked: list[SettledCost] = field(default_factory=list)  # of each attempt, in the order they were settled
    # attempts that another one was faster than, on their way to the ledger
    cancelled: "list[asyncio.Task[None]]" = field(default_factory=list)
    tries: int = 0  # attempts that were begun, each with a number of its own
    outcome: SettledCost | None = None  # of the answer that was given
    broken: str = ""  # what its stream ended by before its answer did
    is_deferred: bool = False  # its job is queued: its answer comes later, and its row of the log with it
    envelope: Envelope | None = None  # of its run: it pays for the call, besides the budgets
    reserve: Reserve | None = None  # what holds its money while it waits
    block: dict[str, Any] | None = None  # the `purser` object of the answer that was given
    run_tags: Tags = field(default_factory=no_tags)  # of the run or session that it is part of
    _allocation: Allocation | None = None
    _dimensions: Dimensions | None = None
    _windows: dict[tuple[str, str], tuple[WindowKey, ...]] = field(
        default_factory=dict
    )  # by model and provider

    def __post_init__(self) -> None:
        self.id_text = str(self.request_id)
        self.policy = self.snapshot.policy
        self.user = self.principal.user or self.user_named

    @property
    def judge(self) -> Judge | None:
        """Of the answers that its own is compared with."""
        return self.learner.judge if self.learner else None

    @property
    def find_embedder(self) -> FindEmbedder:
        return self.learner.find_embedder if self.learner else ready_embedder

    def check_soon(self) -> None:
        """It was answered from memory: see `Learner`."""
        if self.learner:
            self.learner.check_soon(self)

    def next_attempt(self) -> int:
        """The number of another attempt."""
        self.tries += 1
        return self.tries

    def route_facts(self) -> RouteFacts:
        """What routing uses, of the body as it is now."""
        return self.readings.route_facts(self.body, declared_tier=self.headers.tier, asks=self.facts.asks)

    @property
    def user_named(self) -> str:
        """Whom the caller says it is for: the header's user, else the body's."""
        return self.headers.user or self.facts.user

    @property
    def session(self) -> str:
        """The session that the user's tool works in; empty when it names none."""
        return self.headers.session or self.facts.session

    @property
    def trace(self) -> Mapping[str, str]:
        """Where in whose work it was made, by the names of the ledger's columns; empty for most."""
        headers = self.headers
        if not (self.session or headers.run or headers.agent):
            return NO_TRACE
        return trace_of(session=self.session, run=headers.run, agent=headers.agent)

    @property
    def is_our_own(self) -> bool:
        """Whether no client asked for it: without the caches there would be no such call."""
        return self.cache_state in OUR_OWN

    @property
    def rough_tokens(self) -> int:
        """A first guess for the rate limit, set right when the call ends: four bytes a token."""
        return len(self.source.raw) // 4 + (self.facts.max_output_tokens or 0)

    def most_tokens_at(self, target: Target) -> int:
        """The same guess for the limits of a provider's account, and never more than the model can read and write."""
        read = min(len(self.source.raw) // 4, target.context_window)
        return read + self._expected_output_at(target) * min(self.facts.n, MOST_ANSWERS)

    def _expected_output_at(self, target: Target) -> int:
        if target.model_kind != "chat":
            return 0
        if (asked := self.facts.max_output_tokens) is not None:
            return min(asked, target.output_bound)
        usual = self.snapshot.estimates.usual_output_tokens(
            provider=target.provider, model=target.model, shape="tools" if self.facts.has_tools else "text"
        )
        return min(usual or self.policy.default_max_tokens.for_tier(target.tier), target.output_bound)

    async def read_by(self, work: Callable[[], Read]) -> Read:
        """Do work that reads the whole body: where that is long, off the event loop."""
        return await long_work.done(work, size=len(self.source.raw), tenant_id=self.principal.tenant_id)

    async def read_fingerprint(self) -> Fingerprint:
        """What the caches and an idempotency key know the request by; before anything has changed its body."""
        if self.fingerprint is None:
            self.fingerprint = await self.read_by(partial(fingerprint_of, self.body))
        return self.fingerprint

    def stranger_to(self, target: Target) -> str:
        """The field that refers to what the account of a target does not keep for this tenant; empty if none does."""
        if self.previous and self.previous.provider != target.provider:
            return "previous_response_id"
        if target.owner is not None:  # all that is there is the tenant's
            return ""
        strange = (one.param for one in self.facts.references if self.keepers.get(one.id) != target.provider)
        return next(strange, "")

    @property
    def allocation(self) -> Allocation:
        """Whose cost it is."""
        if self._allocation is None:
            self._allocation = allocation_of(
                self.snapshot,
                user=self.user,
                key_tags=self.principal.tags,
                tags=self.headers.tags,
                run_tags=self.run_tags,
            )
        return self._allocation

    @property
    def dimensions(self) -> Dimensions:
        """What budgets look at in the call, before a model is chosen."""
        if self._dimensions is None:
            self._dimensions = dimensions_of(
                self.allocation,
                user=self.user,
                key=self.principal.key_name,
                feature=self.headers.feature,
            )
        return self._dimensions

    def windows(self, *, model: str, provider: str) -> tuple[WindowKey, ...]:
        """The budget windows that count this call when that model answers it. Our own calls are no client's request."""
        if (known := self._windows.get((model, provider))) is not None:
            return known
        dimensions = self.dimensions.answered_by(model=model, provider=provider)
        budgets = self.snapshot.budgets
        if self.is_our_own:
            budgets = tuple(budget for budget in budgets if budget.unit != "requests")
        windows = windows_for(
            budgets, dimensions, at=self.received_at, timezone=self.snapshot.tenant.timezone
        )
        if self.envelope is not None:
            windows = *windows, self.envelope.window
        self._windows[model, provider] = windows
        return windows

    def ledger_dims(self) -> dict[str, Any]:
        """What the ledger keeps of the call besides its money."""
        return ledger_dims(
            self.allocation,
            endpoint=self.endpoint,
            model_asked=self.facts.model,
            tier=self.route.tier if self.route else "",
            cache_state=self.cache_state,
            trace=self.trace,
        )

    async def settle_cancelled(self) -> None:
        """Wait until the attempts that were called off are in the ledger."""
        await asyncio.gather(*self.cancelled, return_exceptions=True)

    def tightest_balance(self) -> Balance | None:
        """The budget with the least room left, as of the last time the ledger was asked."""
        return tightest(self.balances) if self.balances else None
