"""A settled answer: what every step after the call takes, for whole, streamed and remembered answers.

Invariant: it is in the ledger, and made into the client's protocol once: the client, the caches and what is stored get the
same object.
"""

from collections.abc import Callable, Iterable

from config.values import value_type
from llm.calls.call import Call
from llm.calls.settled_cost import SettledCost
from llm.providers.client import ProviderReply
from llm.providers.errors import ProviderError
from llm.steps.planning import PlannedAttempt
from llm.steps.underway import Underway
from llm.wire import Body


@value_type
class Settled:
    """An answer that is in the ledger. `chunks` gives the bytes for the client that are still to come, with the `purser`
    object in them: all of a whole answer, the last event of a stream."""

    answer: Body | None  # in the client's protocol; None: a stream that cannot be put together
    outcome: SettledCost
    chunks: Callable[[Body], Iterable[bytes]]
    attempt: PlannedAttempt | None = None  # None: from memory
    is_exact: bool = True  # exactly what the provider said: it may be kept and replayed
    is_streamed: bool = False  # the client has it already, but for its end

    @property
    def is_remembered(self) -> bool:
        """Whether no provider was asked for it."""
        return self.attempt is None


async def capture(call: Call, answering: Underway, reply: ProviderReply) -> Settled:
    """Settle a whole answer. Raises ProviderError for one that cannot be translated into the client's protocol."""
    async with answering:
        await call.settle_cancelled()
        outcome = await answering.capture(reply.body, upstream_id=reply.request_id)
    attempt = answering.attempt
    answer = _answer_of(attempt, reply)

    def chunks(block: Body) -> Iterable[bytes]:
        return (attempt.exchange.answer_bytes(answer, reply.raw, block),)

    return Settled(answer, outcome, chunks, attempt, is_exact=reply.is_exact)


def _answer_of(attempt: PlannedAttempt, reply: ProviderReply) -> Body:
    try:
        return attempt.exchange.answer(reply.body)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ProviderError(
            f"{attempt.target.provider} gave an answer that is not as its protocol says ({type(error).__name__}).",
            upstream_status=200,
            upstream_request_id=reply.request_id,
        ) from None
