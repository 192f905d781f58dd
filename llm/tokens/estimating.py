"""Estimates how long a prompt is: counted here, and corrected by the errors of past counts.

Invariant: pure. The figure leans upwards; a prompt is compared with prompts of its own shape only, because images and
tools are counted by other rules than text.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from config.values import value_type
from llm.catalog.snapshot import TenantSnapshot
from llm.providers.target import Target
from llm.tokens.counting import count_prompt, count_text, has_exact_vocabulary
from llm.tokens.inputs import count_input
from llm.wire import Body, Exchange, RequestFacts, Untranslatable, WireFormat, prepare

PLAIN: Final = "gpt-4o"
UNKNOWN_VOCABULARY_PERCENT: Final = 75  # of the plain count: larger vocabularies than that are known
LONGER: Final = "context-1m"


Count = Callable[[WireFormat, Mapping[str, Any], str], int]


@value_type
class InputEstimate:
    """A prompt's tokens as counted, the most they may be, and the most that the provider may add of what it keeps.

    Holds are made of `most_tokens`; what has to fit into a window is `likely_tokens`, without the margin for a model
    that is not known yet.
    """

    counted_tokens: int
    most_tokens: int
    likely_tokens: int
    shape: str
    kept_tokens: int = 0

    def to_dims(self) -> dict[str, Any]:
        """What the ledger keeps of it, so that it can be compared with what came; nothing where we saw but a part."""
        if self.kept_tokens:
            return {"shape": self.shape}
        return {"counted_input_tokens": self.counted_tokens, "shape": self.shape}


def estimate_exchange(
    exchange: Exchange,
    facts: RequestFacts,
    *,
    target: Target,
    snapshot: TenantSnapshot,
    count: Count = count_input,
) -> InputEstimate:
    """Count and bound the prompt of a request that is ready to go out; `facts` are of what the client sent."""
    counted = count(exchange.upstream, exchange.body, target.tokenizer)
    estimate = _estimate(counted, shape_of(facts), target, snapshot)
    if not facts.is_continued:
        return estimate
    return replace(estimate, kept_tokens=max(0, target.context_window - estimate.most_tokens))


def estimate_input(
    wire: WireFormat, body: Body, facts: RequestFacts, *, target: Target, snapshot: TenantSnapshot
) -> InputEstimate:
    """Count a prompt for a model, and bound it, whether or not it could go out."""
    return _estimate(
        count_input(*_as_sent(wire, body, target), target.tokenizer), shape_of(facts), target, snapshot
    )


def longest_input(exchange: Exchange, estimate: InputEstimate, *, target: Target) -> int:
    """The input tokens that have to fit into the model's window: all of them; of texts to embed, the longest one's.

    Texts are only counted again where all of them together do not fit.
    """
    if estimate.likely_tokens <= target.context_window:
        return estimate.likely_tokens
    given = exchange.body.get("input")
    if target.model_kind != "embedding" or not isinstance(given, list):
        return estimate.likely_tokens
    longest = max(
        (count_prompt(one, target.tokenizer) for one in given if isinstance(one, str | list)), default=0
    )
    if not longest:  # one text, as tokens
        return estimate.likely_tokens
    return -(-longest * estimate.likely_tokens // max(1, estimate.counted_tokens))


def least_input(
    wire: WireFormat, body: Body, *, target: Target, passed_on: Mapping[str, str] = MappingProxyType({})
) -> int:
    """The least tokens of the prompt that must fit: its texts, without what is counted by guess.

    0 where the provider shortens it before it counts, or was asked for a longer window.
    """
    if shortens_itself(body, passed_on):
        return 0
    is_exact = has_exact_vocabulary(target.tokenizer)
    vocabulary = target.tokenizer if is_exact else PLAIN
    if target.model_kind == "embedding":
        given = body.get("input")
        pieces = given if isinstance(given, list) else [given]
        least = max((_plain(one, vocabulary) for one in pieces if isinstance(one, str | list)), default=0)
        least = max(least, len(pieces) if all(isinstance(one, int) for one in pieces) else 0)
    else:
        least = sum(_plain(text, vocabulary) for text in wire.facts(body).texts)
    # whose own tokens have not been fewer than the plain ones
    if is_exact or target.tokenizer.startswith("claude"):
        return least
    return least * UNKNOWN_VOCABULARY_PERCENT // 100


def shortens_itself(body: Mapping[str, Any], passed_on: Mapping[str, str]) -> bool:
    """Whether the provider may read less of the prompt than is sent, or more than its window says."""
    asked = body.get("context_management")
    edits = asked.get("edits") if isinstance(asked, dict) else asked
    is_edited = any(map(_clears_texts, edits)) if isinstance(edits, list) else bool(edits)
    betas = passed_on.get("anthropic-beta", "")
    return is_edited or body.get("truncation") == "auto" or LONGER in betas


def _clears_texts(edit: Any) -> bool:
    """Whether an edit of the context takes more out than thinking, which is not counted here."""
    return not (isinstance(edit, dict) and str(edit.get("type")).startswith("clear_thinking_"))


def shape_of(facts: RequestFacts) -> str:
    """`media` with anything that is not text, `tools` with tools or a schema, else `text`."""
    if facts.has_images or facts.has_audio or facts.has_files:
        return "media"
    return "tools" if facts.has_tools or facts.wants_json else "text"


def _estimate(counted: int, shape: str, target: Target, snapshot: TenantSnapshot) -> InputEstimate:
    """Of what is sent: the provider counts tools and turns by its own protocol's rules."""
    book, model = snapshot.estimates, {"provider": target.provider, "model": target.model, "shape": shape}
    likely = book.likely_input_tokens(counted, **model)
    most = min(book.most_input_tokens(counted, **model), max(target.context_window, likely))
    return InputEstimate(counted, most, likely, shape)


def _as_sent(wire: WireFormat, body: Body, target: Target) -> tuple[WireFormat, Body]:
    """What would go out; the client's own where nothing can."""
    try:
        exchange = prepare(
            wire, body, kind=target.kind, upstream_model=target.upstream, max_output_tokens=None
        )
    except Untranslatable:  # so it never goes out
        return wire, body
    return exchange.upstream, exchange.body


def _plain(text: str | list[Any], vocabulary: str) -> int:
    return count_text(text, vocabulary) if isinstance(text, str) else len(text)
