"""What the lines of a file are: which can be sent, what is wrong with the others, and how many tokens they may need.

Invariant: pure, and a step at a time; what is kept of the lines is sums, and of their problems the first ones. Tokens are summed
by what their price depends on, so that the sums can be priced as exactly as the lines.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from billing.prices.book import Rates
from billing.usage.served import contexts
from llm.batches.lines import LONGEST_MESSAGE, BatchLine, LineReader, Problem
from llm.batches.offers import lane_at, offers
from llm.catalog.snapshot import TenantSnapshot
from llm.errors import ContextLengthExceeded
from llm.providers.target import Target
from llm.routing.facts import read_route_facts
from llm.routing.rules import expected_output
from llm.tokens.estimating import (
    InputEstimate,
    estimate_exchange,
    estimate_input,
    least_input,
    longest_input,
)
from llm.wire import Exchange
from tenants.errors import Api, ClientError

MAX_PROBLEMS: Final = 1_000
PROBLEMS_IN_WORDS: Final = 3
# the share of its limit that an answer is taken to have, where nothing is known of the model's answers
UNKNOWN_OUTPUT_SHARE: Final = 0.25
MOST_USERS, MOST_SUMS = 200, 2_000  # users whose lines are summed apart
PAUSE_SECONDS: Final = 0.0  # lets the event loop go on between two lines


@dataclass(slots=True, kw_only=True)
class Sum:
    """Lines whose tokens have the same prices: of one model, for one user (None: for many), whose prompts reach the same tier
    of prices."""

    model: str
    user: str | None
    writes_cache: bool
    lines: int = 0
    input_tokens: int = 0
    most_input_tokens: int = 0
    longest_input: int = 0
    output_tokens: int = 0
    most_output_tokens: int = 0

    def to_json(self) -> dict[str, Any]:
        """As the report keeps it."""
        return {name: getattr(self, name) for name in self.__slots__}


class Check:
    """Reads a file once, from `pieces`, for a key: as lines of `endpoint`, or of the one that the first line names."""

    def __init__(
        self,
        pieces: Iterable[bytes],
        *,
        snapshot: TenantSnapshot,
        key_id: int,
        at: datetime,
        endpoint: str = "",
    ) -> None:
        self.problems: list[Problem] = []
        self.problem_count = 0
        self.bytes = 0
        self._snapshot, self._at = snapshot, at
        self._reader = LineReader(find=offers(snapshot, key_id=key_id, at=at), endpoint=endpoint)
        self._found = self._reader.read(self._measured(pieces))
        self._sums: dict[tuple[str, str | None, bool, int], Sum] = {}
        self._users: set[str] = set()
        self._tiers: dict[str, tuple[int, ...]] = {}

    def advance(self, *, seconds: float) -> bool:
        """Check for about so long; whether all is read."""
        until = time.monotonic() + seconds
        for found in self._found:
            self._take(found)
            time.sleep(PAUSE_SECONDS)
            if time.monotonic() >= until:
                return False
        return True

    def report(self) -> dict[str, Any]:
        """What is kept of the file, once all is read: `lines`, `bytes`, `models` with their lines and tokens, `problem_count`,
        the first problems in words as `details`, the `endpoint`, and the `sums`."""
        models: dict[str, dict[str, int]] = {}
        for one in self._sums.values():
            facts = models.setdefault(one.model, {"lines": 0, "input_tokens": 0, "max_output_tokens": 0})
            facts["lines"] += one.lines
            facts["input_tokens"] += one.input_tokens
            facts["max_output_tokens"] += one.most_output_tokens
        return {
            "lines": self._reader.count,
            "bytes": self.bytes,
            "models": models,
            "problem_count": self.problem_count,
            "details": self._details(),
            "endpoint": self._reader.endpoint,
            "sums": [one.to_json() for one in self._sums.values()],
        }

    def listed_problems(self) -> list[dict[str, Any]]:
        """The first problems, as the API lists them."""
        return [problem.to_json() for problem in self.problems]

    def _take(self, found: BatchLine | Problem) -> None:
        """Count what was found of a line."""
        if not isinstance(found, Problem):
            try:
                self._count(found)
                return
            except ClientError as error:
                api = Api.ANTHROPIC if self._reader.endpoint == "/v1/messages" else Api.OPENAI
                message = error.message_for(api)
                found = Problem(found.number, error.code, message, error.param, found.custom_id)
        self.problem_count += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(found)

    def _measured(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self.bytes += len(piece)
            yield piece

    def _count(self, line: BatchLine) -> None:
        """Estimate a line and add it to its sum. Raises ContextLengthExceeded."""
        target, facts, exchange = line.target, line.facts, line.exchange
        if exchange is None:
            estimate = estimate_input(line.wire, line.body, facts, target=target, snapshot=self._snapshot)
        else:
            estimate = estimate_exchange(exchange, facts, target=target, snapshot=self._snapshot)
            _check_length(line, exchange, estimate)
        limit = expected_output(
            target,
            facts=read_route_facts(line.body),
            policy=self._snapshot.policy,
            input_tokens=estimate.counted_tokens,
        )
        usual = self._snapshot.estimates.usual_output_tokens(
            provider=target.provider, model=target.model, shape=estimate.shape
        )
        one = self._sum_of(line, most_input=estimate.most_tokens)
        one.lines += 1
        one.input_tokens += estimate.likely_tokens
        one.most_input_tokens += estimate.most_tokens
        one.longest_input = max(one.longest_input, estimate.most_tokens)
        one.most_output_tokens += limit * facts.n
        one.output_tokens += min(limit, usual or round(limit * UNKNOWN_OUTPUT_SHARE)) * facts.n

    def _sum_of(self, line: BatchLine, *, most_input: int) -> Sum:
        user: str | None = line.facts.user
        is_full = len(self._users) >= MOST_USERS or len(self._sums) >= MOST_SUMS
        if is_full and user not in self._users:
            user = None
        else:
            self._users.add(line.facts.user)
        writes_cache = line.writes_cache
        tiers = self._tiers_of(line.facts.model, line.target)
        tier = sum(most_input > threshold for threshold in tiers)
        key = (line.facts.model, user, writes_cache, tier)
        if key not in self._sums:
            self._sums[key] = Sum(model=line.facts.model, user=user, writes_cache=writes_cache)
        return self._sums[key]

    def _tiers_of(self, model: str, target: Target) -> tuple[int, ...]:
        """From how many input tokens on a model has other prices."""
        if model not in self._tiers:
            rates = batch_rates(self._snapshot, target, at=self._at)
            offered = contexts(self._snapshot.prices, rates, at=self._at, processings=frozenset())
            self._tiers[model] = tuple(
                sorted(
                    {
                        tier.above_input_tokens
                        for one in offered
                        for tiers in one.meters.values()
                        for tier in tiers
                    }
                )
            )
        return self._tiers[model]

    def _details(self) -> str:
        """The first problems in words."""
        words = [
            f"line {problem.line}: {problem.message[:LONGEST_MESSAGE]}"
            if problem.line
            else problem.message[:LONGEST_MESSAGE]
            for problem in self.problems[:PROBLEMS_IN_WORDS]
        ]
        further = self.problem_count - len(words)
        return " ".join(words) + (f" And {further:,} more." if further else "")


def _check_length(line: BatchLine, exchange: Exchange, estimate: InputEstimate) -> None:
    """Raise ContextLengthExceeded for a prompt that no doubt is longer than its model takes."""
    target = line.target
    longest = longest_input(exchange, estimate, target=target)
    if longest <= target.context_window:
        return
    least = least_input(line.wire, line.body, target=target)
    if least > target.context_window:
        raise ContextLengthExceeded(
            tokens=max(least, min(longest, estimate.counted_tokens)),
            most_tokens=target.context_window,
            model=target.model,
            param="messages" if line.wire.is_chat else "input",
        )


def batch_rates(snapshot: TenantSnapshot, target: Target, *, at: datetime) -> Rates:
    """The prices of a model in the lane that its lines take."""
    lane = lane_at(target, prices=snapshot.prices, at=at)
    return snapshot.prices.rates(target.provider, target.model, at=at, processing=lane)
