"""What the driver needs from a provider's batch API, and how a call to one can end.

Invariant: a failure says whether the provider can have taken the job: only then is it looked up before it is
sent again.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

ALREADY_OVER: Final = frozenset({400, 404, 409})  # answers to a cancellation that comes too late


@dataclass(frozen=True, slots=True)
class JobLine:
    """One request as it is sent: `name` is our own, unique at every provider, and valid at each."""

    name: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """The most that one job may have at a provider, as that publishes it."""

    lines: int
    bytes: int


@dataclass(frozen=True, slots=True)
class JobOrder:
    """A job to submit: our name for it, the path of its lines' wire format, and its lines.

    `lines` gives them in their order, anew each time it is called; `has` says whether a name is one of theirs. What is sent
    has no more than `most_bytes`.
    """

    public_id: str
    path: str
    lines: Callable[[], Iterator[JobLine]]
    count: int
    has: Callable[[str], bool]
    submitting_at: datetime
    most_bytes: int


@dataclass(frozen=True, slots=True)
class JobState:
    """How far a job is. `failure` says why the provider refused it as a whole."""

    status: str
    is_over: bool
    failure: str = ""


@dataclass(frozen=True, slots=True)
class LineResult:
    """The result of one line: the provider's answer, or its error ({code, message}). Exactly one of them is
    set."""

    name: str
    status: int
    answer: dict[str, Any] | None
    error: dict[str, Any] | None


class UpstreamError(Exception):
    """A call to a batch API failed.

    `may_have_arrived`: the provider can have done what was asked. `is_final`: it will refuse it again.
    `status`: of the answer, 0 where there was none.
    """

    def __init__(
        self, message: str, *, may_have_arrived: bool = False, is_final: bool = False, status: int = 0
    ) -> None:
        super().__init__(message)
        self.status = status
        self.may_have_arrived = may_have_arrived
        self.is_final = is_final


class TooLargeError(Exception):
    """The job has more bytes than its provider takes; nothing was sent."""


class NotSubmittedError(LookupError):
    """The provider has no such job: it may be submitted."""


class NotCertainError(LookupError):
    """The provider has something that may be the job; look again later."""


class BatchApi(Protocol):
    """One provider's batch API. Every method makes calls and may raise UpstreamError; no method has all lines in memory."""

    def upload(self, order: JobOrder) -> str:
        """Put the lines where `submit` refers to them, if this API wants that; harmless when done twice. Raises
        TooLargeError."""
        ...

    def submit(self, order: JobOrder, *, file_id: str) -> str:
        """Start the job and return its id there. Never retried by itself. Raises TooLargeError."""
        ...

    def find(self, order: JobOrder, *, is_taken: Callable[[str], bool]) -> str:
        """The id of a job whose answer was lost; raises NotSubmittedError or NotCertainError."""
        ...

    def look(self, upstream_id: str) -> JobState: ...

    def results(self, upstream_id: str) -> Iterator[LineResult]:
        """Every result of a job that is over, in any order."""
        ...

    def cancel(self, upstream_id: str) -> None: ...
