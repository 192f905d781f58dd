"""The health of the deployments, as far as this process knows.

Invariant: a deployment is one model at one provider account; what stops it are its own failures, never a request's
faults and never a rate limit, which only make its share of the calls smaller.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final, TypedDict

from config.breaker import WELL, Breaker, BreakerPolicy, State
from llm.providers.balancing import Candidate
from llm.providers.errors import ProviderFailure, ProviderRejected, ProviderUnavailable
from llm.providers.tally import Tally
from llm.providers.target import Target
from llm.providers.track_record import TrackRecord

Deployment = tuple[str, str]


class DeploymentReport(TypedDict):
    """What one process knows of a deployment that it called, as JSON; seconds are means, None before the first."""

    provider: str
    model: str
    state: State
    rest_seconds: float
    failing: float
    stream_seconds: float | None
    whole_seconds: float | None
    calls: int
    failures: int


_LIMITED = 429
RESTING: Final = "keeps failing, given a rest"


class Health:
    """The breakers of one process. Use the module's `health`; tests make their own."""

    def __init__(
        self, *, policy: BreakerPolicy | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._policy = policy or BreakerPolicy()
        self._clock = clock
        self._breakers: dict[Deployment, Breaker] = {}
        self._records: dict[Deployment, TrackRecord] = {}
        self._tallies: defaultdict[Deployment, Tally] = defaultdict(Tally)

    def is_well(self, target: Target) -> bool:
        """Whether a call may go there now: for choosing among deployments."""
        return self._of(target).permits(self._clock())

    def require_well(self, target: Target) -> None:
        """Raise ProviderUnavailable when the deployment is not to be asked."""
        now, breaker = self._clock(), self._of(target)
        if not breaker.permits(now):
            raise ProviderUnavailable(
                f"{target.provider} keeps failing for '{target.model}' and is given a rest.",
                retry_after=max(0.0, breaker.until - now),
                sent=False,
                facts={"provider": target.provider, "model": target.model, "breaker": "open"},
            )

    def candidates(self, targets: Iterable[Target], *, streamed: bool) -> list[Candidate]:
        """The deployments of one model with what each is worth now: slower and failing ones less, resting ones nothing."""
        now = self._clock()
        records = [(target, self._record_of(target)) for target in targets]
        seconds = [record.seconds(streamed=streamed) for _, record in records]
        best = min((one for one in seconds if one is not None), default=None)
        found = []
        for target, record in records:
            worth = record.worth(now, best_seconds=best, streamed=streamed)
            why = "" if worth == 1.0 else "slower or failing" if worth else "its provider asked for a pause"
            if not self.is_well(target):
                worth, why = 0.0, RESTING
            found.append(Candidate(target, worth, why))
        return found

    @contextmanager
    def watch(self, target: Target, *, streamed: bool = False) -> Iterator[None]:
        """Judge the call inside; raise ProviderUnavailable immediately when the deployment is not to be asked."""
        self.require_well(target)
        began = self._clock()
        self._set(target, self._of(target).begun(began, self._policy))
        try:
            yield
        except ProviderFailure as failure:
            self._judge(target, failure)
            raise
        except BaseException as error:
            now = self._clock()
            self._set(target, self._of(target).abandoned(now))
            if isinstance(error, asyncio.CancelledError):
                # another account was faster: this one took at least so long
                self._note(target, self._record_of(target).took(now - began, streamed=streamed))
            raise
        now = self._clock()
        self._set(target, self._of(target).succeeded())
        self._tallies[target.provider, target.model].add(now, failed=False)
        self._note(target, self._record_of(target).answered(now, seconds=now - began, streamed=streamed))

    def failed(self, target: Target) -> None:
        """A call that `watch` took for answered failed later: its stream broke."""
        now = self._clock()
        self._set(target, self._of(target).failed(now, self._policy))
        self._tallies[target.provider, target.model].add(now, failed=True)
        self._note(target, self._record_of(target).failed(now))

    def states(self) -> dict[Deployment, State]:
        """The deployments that are not simply well."""
        return {deployment: breaker.state for deployment, breaker in self._breakers.items()}

    def report(self) -> list[DeploymentReport]:
        """All deployments that were called, as JSON: for people to look at."""
        now = self._clock()
        report: list[DeploymentReport] = []
        for deployment, record in self._records.items():
            provider, model = deployment
            breaker = self._breakers.get(deployment, WELL)
            calls, failures = self._tallies[deployment].last_hour(now)
            report.append(
                {
                    "provider": provider,
                    "model": model,
                    "state": breaker.state,
                    "rest_seconds": 0.0 if breaker.state is State.CLOSED else max(0.0, breaker.until - now),
                    "failing": round(record.failing_share(now), 4),
                    "stream_seconds": record.seconds(streamed=True),
                    "whole_seconds": record.seconds(streamed=False),
                    "calls": calls,
                    "failures": failures,
                }
            )
        return report

    def _judge(self, target: Target, failure: ProviderFailure) -> None:
        if isinstance(failure, ProviderRejected):
            self._set(target, self._of(target).succeeded())
        elif failure.upstream_status == _LIMITED:
            now = self._clock()
            self._set(target, self._of(target).abandoned(now))
            self._tallies[target.provider, target.model].add(now, failed=True)
            self._note(
                target, self._record_of(target).failed(now).avoided(now + (failure.retry_after or 0.0))
            )
        else:
            self.failed(target)

    def _of(self, target: Target) -> Breaker:
        return self._breakers.get((target.provider, target.model), WELL)

    def _record_of(self, target: Target) -> TrackRecord:
        return self._records.get((target.provider, target.model)) or TrackRecord()

    def _note(self, target: Target, record: TrackRecord) -> None:
        self._records[target.provider, target.model] = record

    def _set(self, target: Target, breaker: Breaker) -> None:
        deployment = (target.provider, target.model)
        if breaker is WELL:
            self._breakers.pop(deployment, None)
        else:
            self._breakers[deployment] = breaker


health = Health()
