"""Which deployments are well, as far as this process knows.

Invariant: a deployment is one model at one provider account; what it is judged by are its own failures, never
a request's faults and never a rate limit.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from llm.catalog import Target
from llm.providers.breaker import Breaker, BreakerPolicy, State
from llm.providers.outcomes import ProviderFailure, ProviderRejected, ProviderUnavailable

Deployment = tuple[str, str]

_LIMITED = 429


class Health:
    """The breakers of one process. Use the module's `health`; tests make their own."""

    def __init__(
        self, *, policy: BreakerPolicy | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._policy = policy or BreakerPolicy()
        self._clock = clock
        self._breakers: dict[Deployment, Breaker] = {}

    def is_well(self, target: Target) -> bool:
        """Whether a call may go there now: for choosing among deployments."""
        return self._of(target).permits(self._clock())

    @contextmanager
    def watch(self, target: Target) -> Iterator[None]:
        """Judge the call inside; raise ProviderUnavailable at once when the deployment is not to be asked."""
        now = self._clock()
        breaker = self._of(target)
        if not breaker.permits(now):
            raise ProviderUnavailable(
                f"{target.provider} keeps failing for '{target.model}' and is given a rest.",
                retry_after=max(0.0, breaker.until - now),
                sent=False,
            )
        self._set(target, breaker.begun(now, self._policy))
        try:
            yield
        except ProviderFailure as failure:
            self._judge(target, failure)
            raise
        except BaseException:
            self._set(target, self._of(target).abandoned(self._clock()))
            raise
        self._set(target, self._of(target).succeeded())

    def failed(self, target: Target) -> None:
        """A call that `watch` took for answered failed later: its stream broke."""
        self._set(target, self._of(target).failed(self._clock(), self._policy))

    def states(self) -> dict[Deployment, State]:
        """The deployments that are not simply well."""
        return {deployment: breaker.state for deployment, breaker in self._breakers.items()}

    def _judge(self, target: Target, failure: ProviderFailure) -> None:
        if isinstance(failure, ProviderRejected):
            self._set(target, self._of(target).succeeded())
        elif failure.upstream_status == _LIMITED:
            self._set(target, self._of(target).abandoned(self._clock()))
        else:
            self.failed(target)

    def _of(self, target: Target) -> Breaker:
        return self._breakers.get((target.provider, target.model), Breaker())

    def _set(self, target: Target, breaker: Breaker) -> None:
        deployment = (target.provider, target.model)
        if breaker == Breaker():
            self._breakers.pop(deployment, None)
        else:
            self._breakers[deployment] = breaker


health = Health()
