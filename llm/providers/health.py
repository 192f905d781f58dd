"""Which deployments are well, and how well, as far as this process knows.

Invariant: a deployment is one model at one provider account; what stops it are its own failures, never a request's
faults and never a rate limit, which only make its share of the calls smaller.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from config.breaker import Breaker, BreakerPolicy, State
from llm.providers.balancing import Candidate
from llm.providers.outcomes import ProviderFailure, ProviderRejected, ProviderUnavailable
from llm.providers.standing import Standing
from llm.providers.tally import Tally
from llm.providers.target import Target

Deployment = tuple[str, str]

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
        self._standings: dict[Deployment, Standing] = {}
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
        standings = [(target, self._standing(target)) for target in targets]
        seconds = [standing.seconds(streamed=streamed) for _, standing in standings]
        best = min((one for one in seconds if one is not None), default=None)
        found = []
        for target, standing in standings:
            worth = standing.worth(now, best_seconds=best, streamed=streamed)
            why = "" if worth == 1.0 else "slower or failing" if worth else "its provider asked for a pause"
            if not self.is_well(target):
                worth, why = 0.0, RESTING
            found.append(Candidate(target, worth, why))
        return found

    @contextmanager
    def watch(self, target: Target, *, streamed: bool = False) -> Iterator[None]:
        """Judge the call inside; raise ProviderUnavailable at once when the deployment is not to be asked."""
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
                self._note(target, self._standing(target).took(now - began, streamed=streamed))
            raise
        now = self._clock()
        self._set(target, self._of(target).succeeded())
        self._tallies[target.provider, target.model].add(now, failed=False)
        self._note(target, self._standing(target).answered(now, seconds=now - began, streamed=streamed))

    def failed(self, target: Target) -> None:
        """A call that `watch` took for answered failed later: its stream broke."""
        now = self._clock()
        self._set(target, self._of(target).failed(now, self._policy))
        self._tallies[target.provider, target.model].add(now, failed=True)
        self._note(target, self._standing(target).failed(now))

    def states(self) -> dict[Deployment, State]:
        """The deployments that are not simply well."""
        return {deployment: breaker.state for deployment, breaker in self._breakers.items()}

    def report(self) -> list[dict[str, Any]]:
        """All deployments that were called, as JSON: for people to look at."""
        now = self._clock()
        told = []
        for deployment, standing in self._standings.items():
            provider, model = deployment
            breaker = self._breakers.get(deployment, Breaker())
            calls, failures = self._tallies[deployment].last_hour(now)
            told.append(
                {
                    "provider": provider,
                    "model": model,
                    "state": breaker.state,
                    "rest_seconds": 0.0 if breaker.state is State.CLOSED else max(0.0, breaker.until - now),
                    "failing": round(standing.failing_share(now), 4),
                    "stream_seconds": standing.seconds(streamed=True),
                    "whole_seconds": standing.seconds(streamed=False),
                    "calls": calls,
                    "failures": failures,
                }
            )
        return told

    def _judge(self, target: Target, failure: ProviderFailure) -> None:
        if isinstance(failure, ProviderRejected):
            self._set(target, self._of(target).succeeded())
        elif failure.upstream_status == _LIMITED:
            now = self._clock()
            self._set(target, self._of(target).abandoned(now))
            self._tallies[target.provider, target.model].add(now, failed=True)
            self._note(target, self._standing(target).failed(now).avoided(now + (failure.retry_after or 0.0)))
        else:
            self.failed(target)

    def _of(self, target: Target) -> Breaker:
        return self._breakers.get((target.provider, target.model), Breaker())

    def _standing(self, target: Target) -> Standing:
        return self._standings.get((target.provider, target.model)) or Standing()

    def _note(self, target: Target, standing: Standing) -> None:
        self._standings[target.provider, target.model] = standing

    def _set(self, target: Target, breaker: Breaker) -> None:
        deployment = (target.provider, target.model)
        if breaker == Breaker():
            self._breakers.pop(deployment, None)
        else:
            self._breakers[deployment] = breaker


health = Health()
