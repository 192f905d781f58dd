"""Decides whether the nearest entry's answer may be served, and says why not.

Invariant: pure but for the draw of hits to check; a candidate that a guard speaks against is never served,
and without a threshold nothing is.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from caching.answers import CachedAnswer
from caching.embedder import Vector
from caching.guards import differences
from caching.scope import Scope
from caching.search import Neighbour
from caching.stats import Outcome
from caching.threshold import FLOOR
from tenants.policy import CachePolicy

# The share of a bounded scope's hits that is asked upstream all the same, to see whether they would have
# served.
CHECKED_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Candidate:
    """An entry that came near, and what speaks against it (flags of `guards`), as far as that was asked."""

    entry_id: int
    question: str
    similarity: float
    differences: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """How a look-up ended, and what the later steps need of it.

    `reason` is a stable word, empty on a plain hit. `best` is the nearest candidate that nothing speaks
    against, else the nearest. `scope` and `vector` are there unless the request was bypassed.
    """

    outcome: Outcome
    reason: str = ""
    best: Candidate | None = None
    candidates: tuple[Candidate, ...] = ()
    threshold: float | None = None
    answer: CachedAnswer | None = None
    scope: Scope | None = None
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
        """The facts as the receipt tells them. Questions are another user's words: shown where policy logs
        prompts.
        """
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
                    **({"question": candidate.question} if show_questions else {}),
                }
                for candidate in self.candidates
            ],
        }


def decide(
    scope: Scope,
    neighbours: Sequence[Neighbour],
    *,
    policy: CachePolicy,
    learnt: float | None,
    refresh: bool = False,
) -> Lookup:
    """What to do about a question's neighbours, nearest first. Pure but for the draw of hits to check."""
    if not neighbours:
        return Lookup(outcome="miss", reason="empty")
    threshold = policy.threshold if policy.semantic in ("static", "dry_run") else learnt
    near_enough = FLOOR if threshold is None else threshold
    candidates, best = _judge(scope.question, neighbours, near_enough=near_enough, policy=policy)
    nearest = candidates[0]
    outcome: Outcome = "miss"
    label_weight = 1.0
    if best.differences or best.similarity < near_enough:
        # What stopped it: the guard, if the words are all that kept the nearest entry from being near enough.
        is_guarded = nearest.differences and nearest.similarity >= near_enough
        reason = f"guard_{nearest.differences[0]}" if is_guarded else "below_threshold"
    elif threshold is None:
        reason = "closed"
    elif refresh:
        reason = "refresh"
    elif policy.semantic == "dry_run":
        outcome, reason = "would_hit", "dry_run"
    elif policy.semantic == "bounded" and random.random() < CHECKED_SHARE:
        reason, label_weight = "checked", 1 / CHECKED_SHARE
    else:
        outcome, reason = "hit", ""
    return Lookup(
        outcome=outcome,
        reason=reason,
        best=best,
        candidates=candidates,
        threshold=threshold,
        label_weight=label_weight,
    )


def _judge(
    question: str, neighbours: Sequence[Neighbour], *, near_enough: float, policy: CachePolicy
) -> tuple[tuple[Candidate, ...], Candidate]:
    """The candidates, and the best: the nearest that no guard speaks against, else the nearest.

    Guards are asked (0.1 ms each) only until one is silent, and only about entries near enough to be served, or to
    teach something where the cache learns.
    """
    learns = policy.semantic in ("bounded", "dry_run")
    from_similarity = min(near_enough, FLOOR) if learns else near_enough
    candidates: list[Candidate] = []
    best: Candidate | None = None
    for near in neighbours:
        asks = best is None and near.similarity >= from_similarity
        flags = differences(question, near.question) if asks else ()
        candidates.append(Candidate(near.entry_id, near.question, near.similarity, flags))
        if asks and not flags:
            best = candidates[-1]
    return tuple(candidates), best or candidates[0]
