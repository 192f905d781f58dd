"""Decides whether the answer of a near entry may be served, and if not, why.

Invariant: pure, except for the draw that chooses the hits to check. In static mode a candidate that any guard flags is
never served. In bounded mode a candidate with another number, code or quotation is never served, regardless of what
was learnt, and without a threshold nothing is served. A dry run decides like bounded mode and serves nothing.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from caching.answers import CachedAnswer
from caching.embedders.base import Vector
from caching.entries.search import Neighbour
from caching.figures.counts import LookupOutcome
from caching.scope import AnswerScope
from caching.scoring.features import SERVED, Comparison, compare
from caching.scoring.guards import VETOES, differences, says_more
from caching.scoring.scope_state import NEW_SCOPE, ScopeState
from caching.scoring.threshold import FLOOR
from caching.scoring.verifier import Weights, certainties, shipped
from config.values import value_type
from tenants.policy import CachePolicy

# A number from 0 up to 1; below the share of hits to check, the hit is checked.
Draw = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A near entry, the guards' flags against it, and the certainty that its answer serves, where it was computed."""

    entry_id: int
    question: str
    similarity: float
    differences: tuple[str, ...] = ()
    certainty: float | None = None
    group: bytes = field(default=b"", repr=False)


@value_type
class Lookup:
    """The result of a look-up, and what later steps need from it.

    `reason` is a stable word, empty on a plain hit. `best` is the candidate that would be served first: where the scope
    learns, the most certain one; in static mode the nearest without a flag, or else the nearest. `threshold` is a
    certainty, in static mode a similarity. `comparison` is set where the cache learns. `scope` and `vector` are set
    unless the request was bypassed. If the vector did not arrive in time, only `scope` is set.
    """

    _: KW_ONLY
    outcome: LookupOutcome
    reason: str = ""
    best: Candidate | None = None
    candidates: tuple[Candidate, ...] = ()
    comparison: Comparison | None = field(default=None, repr=False)
    threshold: float | None = None
    answer: CachedAnswer | None = None
    scope: AnswerScope | None = None
    vector: Vector | None = field(default=None, repr=False)
    label_weight: float = 1.0

    @property
    def is_hit(self) -> bool:
        return self.outcome == "hit"

    @property
    def similarity(self) -> float | None:
        return self.best.similarity if self.best else None

    @property
    def entry_id(self) -> int | None:
        return self.best.entry_id if self.best else None

    def to_receipt(self, *, show_questions: bool) -> dict[str, Any]:
        """The facts for the receipt. Questions are another user's words: shown only where the policy logs prompts."""
        return {
            "outcome": self.outcome,
            "reason": self.reason,
            "threshold": self.threshold,
            "scope": self.scope.digest.hex()[:16] if self.scope else None,
            "embedder": self.scope.embedder if self.scope else None,
            "candidates": [
                {
                    "entry_id": candidate.entry_id,
                    "similarity": round(candidate.similarity, 4),
                    "differences": list(candidate.differences),
                    **({} if candidate.certainty is None else {"certainty": round(candidate.certainty, 4)}),
                    **({"question": candidate.question} if show_questions else {}),
                }
                for candidate in self.candidates
            ],
        }


def decide(
    scope: AnswerScope,
    neighbours: Sequence[Neighbour],
    *,
    policy: CachePolicy,
    learnt: ScopeState = NEW_SCOPE,
    weights: Weights | None = None,
    refresh: bool = False,
    draw: Draw = random.random,
) -> Lookup:
    """What to do with a question's neighbours, nearest first. Pure, except for `draw`, which chooses the hits to check."""
    if not neighbours:
        return Lookup(outcome="miss", reason="empty")
    comparison: Comparison | None = None
    threshold: float | None
    if policy.learns:
        if neighbours[0].similarity >= FLOOR:
            comparison = compare(scope.question, neighbours)
        threshold = learnt.threshold_for(policy.max_error_rate)
        candidates, best = _most_certain(neighbours, comparison, weights or shipped())
        reason = _why_uncertain(best, threshold)
    else:
        threshold = policy.threshold
        candidates, best = _nearest(scope.question, neighbours, threshold)
        reason = _why_too_far(best, candidates[0], threshold)
    outcome: LookupOutcome = "miss"
    label_weight = 1.0
    if reason:
        pass
    elif refresh:
        reason = "refresh"
    elif policy.semantic == "dry_run":
        outcome, reason = "would_hit", "dry_run"
    elif policy.semantic == "bounded" and draw() < learnt.checked_share:
        # the hit is served; in the background the caller also asks upstream
        outcome, reason, label_weight = "hit", "checked", 1 / learnt.checked_share
    else:
        outcome = "hit"
    return Lookup(
        outcome=outcome,
        reason=reason,
        best=best,
        candidates=candidates,
        comparison=comparison,
        threshold=threshold,
        label_weight=label_weight,
    )


def _most_certain(
    neighbours: Sequence[Neighbour], comparison: Comparison | None, weights: Weights
) -> tuple[tuple[Candidate, ...], Candidate]:
    """The candidates where the scope learns, nearest first, and the one to serve first."""
    if comparison is None:
        candidates = tuple(
            Candidate(near.entry_id, near.question, near.similarity, group=near.group)
            for near in neighbours[:SERVED]
        )
        return candidates, candidates[0]
    scored = zip(neighbours, comparison.flags, certainties(comparison, weights), strict=False)
    candidates = tuple(
        Candidate(near.entry_id, near.question, near.similarity, flags, certainty, near.group)
        for near, flags, certainty in scored
    )
    return candidates, max(candidates, key=lambda each: (_may_serve(each), each.certainty))


def _may_serve(candidate: Candidate) -> bool:
    return candidate.similarity >= FLOOR and VETOES.isdisjoint(candidate.differences)


def _why_uncertain(best: Candidate, threshold: float | None) -> str:
    """Why the most certain candidate is not served; empty if it may be."""
    if best.certainty is None or best.similarity < FLOOR:
        return "below_threshold"
    if vetoes := [flag for flag in best.differences if flag in VETOES]:
        return f"guard_{vetoes[0]}"
    if threshold is None:
        return "closed"
    return "" if best.certainty >= threshold else "below_threshold"


def _nearest(
    question: str, neighbours: Sequence[Neighbour], threshold: float
) -> tuple[tuple[Candidate, ...], Candidate]:
    """The candidates of static mode, and the nearest without a flag, or else the nearest.

    The guards (0.1 ms each) check only entries near enough to be served, and stop at the first without a flag.
    """
    candidates: list[Candidate] = []
    best: Candidate | None = None
    for near in neighbours[:SERVED]:
        asks = best is None and near.similarity >= threshold
        flags = _objections(question, near.question) if asks else ()
        candidates.append(Candidate(near.entry_id, near.question, near.similarity, flags, group=near.group))
        if asks and not flags:
            best = candidates[-1]
    return tuple(candidates), best or candidates[0]


def _objections(question: str, other: str) -> tuple[str, ...]:
    """The flags against an answer where there is no evidence for it: the guards', and words that only one question has."""
    return differences(question, other) or (("addition",) if says_more(question, other) else ())


def _why_too_far(best: Candidate, nearest: Candidate, threshold: float) -> str:
    if not best.differences and best.similarity >= threshold:
        return ""
    # The reason is the guard if the nearest entry was near enough and only a flag stopped it.
    is_guarded = nearest.differences and nearest.similarity >= threshold
    return f"guard_{nearest.differences[0]}" if is_guarded else "below_threshold"
