"""What a run did to the answers: wrong hits, requests served by a smaller model than they need, and what that costs.

Invariant: pure. Right and wrong come from the workload's labels; nothing here asks the product.

Of moderate and complex questions it was published whether a strong and a weaker model answered them. A question that the
premium tier served counts as the strong model's outcome, any other as the weaker's, a wrong hit as wrong. The models of that
publication are older than those of the markets; the difference shows what routing down does to such questions, not to the
answers of a particular model. Simple questions have no published outcomes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.savings.bounds import Mean, Share, mean, share
from benchmarks.savings.sending import Reply
from benchmarks.savings.workload import SHARES, Ask
from llm.compression import compress
from llm.tokens import counting
from tenants.policy import CompressionPolicy

TIERS = ("simple", "standard", "complex")


@dataclass(frozen=True, slots=True)
class Quality:
    """Of one run. Means are of correct answers, in shares of one."""

    wrong_exact: Share  # of exact hits
    wrong_semantic: Share  # of semantic hits
    wrong_of_all: Share  # wrong hits, of all requests
    reworded_hits: Share  # of reworded requests, whose answer was there
    under_served: Share  # complex requests served below the complex tier
    over_served: Share  # the other requests served by the complex tier
    tiers: dict[str, dict[str, int]]  # kind of work, tier of the model that answered: requests
    correct_premium: float  # of questions with published outcomes, were all served by the strong model
    correct_here: float
    correct_weaker: float  # were all served by the weaker one
    loss: Mean  # by which fewer are correct here than with the strong model
    loss_of_complex: Mean


def quality(asks: Sequence[Ask], replies: Sequence[Reply], tier_of: Mapping[str, str]) -> Quality:
    """Compare the replies with the labels. `tier_of` are the tiers of the models."""
    served = list(zip(asks, replies, strict=True))
    exact = [(ask, reply) for ask, reply in served if reply.cache == "exact"]
    semantic = [(ask, reply) for ask, reply in served if reply.cache == "semantic"]
    reworded = [(ask, reply) for ask, reply in served if ask.novelty == "reworded"]
    complex_ = [tier_of[reply.model] for ask, reply in served if ask.kind == "complex"]
    others = [tier_of[reply.model] for ask, reply in served if ask.kind != "complex"]
    tiers = {kind: dict.fromkeys(TIERS, 0) for kind in SHARES}
    for ask, reply in served:
        tiers[ask.kind][tier_of[reply.model]] += 1
    outcomes = [
        (ask.kind, *ask.outcomes, _outcome(ask, reply, tier_of)) for ask, reply in served if ask.outcomes
    ]
    return Quality(
        wrong_exact=share(_wrong(exact), len(exact)),
        wrong_semantic=share(_wrong(semantic), len(semantic)),
        wrong_of_all=share(_wrong(exact) + _wrong(semantic), len(served)),
        reworded_hits=share(sum(reply.cache == "semantic" for _, reply in reworded), len(reworded)),
        under_served=share(sum(tier != "complex" for tier in complex_), len(complex_)),
        over_served=share(others.count("complex"), len(others)),
        tiers=tiers,
        correct_premium=_mean_of(strong for _, strong, _, _ in outcomes),
        correct_here=_mean_of(here for _, _, _, here in outcomes),
        correct_weaker=_mean_of(weak for _, _, weak, _ in outcomes),
        loss=mean([strong - here for _, strong, _, here in outcomes]),
        loss_of_complex=mean([strong - here for kind, strong, _, here in outcomes if kind == "complex"]),
    )


def _outcome(ask: Ask, reply: Reply, tier_of: Mapping[str, str]) -> float:
    assert ask.outcomes is not None
    if reply.answer != ask.answer:
        return 0.0
    strong, weak = ask.outcomes
    return strong if tier_of[reply.model] == "complex" else weak


def _wrong(hits: Sequence[tuple[Ask, Reply]]) -> int:
    return sum(reply.answer != ask.answer for ask, reply in hits)


def _mean_of(values: Any) -> float:
    listed = list(values)
    return sum(listed) / len(listed) if listed else 0.0


@dataclass(frozen=True, slots=True)
class Dropped:
    """What compression takes out of the requests of a day: tokens, and characters that are no blanks."""

    requests: int
    shortened: int
    tokens: int
    of_tokens: int
    characters: int


def dropped(bodies: Sequence[dict[str, Any]], *, model: str) -> Dropped:
    """Compress each body by the product's own function, with the default policy."""
    shortened = tokens = of_tokens = characters = 0
    for body in bodies:
        result = compress(
            {**body, "model": model},
            protocol="openai.chat",
            policy=CompressionPolicy(enabled=True),
            count=lambda shorter: counting.count_chat(shorter, model),
        )
        shortened += result.saved_tokens > 0
        tokens += result.saved_tokens
        of_tokens += result.tokens_before
        characters += _characters(body) - _characters(result.body)
    return Dropped(len(bodies), shortened, tokens, of_tokens, characters)


def _characters(body: Mapping[str, Any]) -> int:
    return sum(len("".join(message["content"].split())) for message in body["messages"])
