"""Judges a look-up's candidates against a fresh answer: by rules, then by vectors, then in doubt by a judge, if any.

Invariant: entries of one group have the same answer and are judged once. Only a few answers are compared by vectors,
and only about these a judge is asked. If the judge gives no clear answer, the vectors decide. How the judge is called
and what it costs is not known here.
"""

from collections.abc import Awaitable, Callable
from functools import partial

from caching.decision import Lookup
from caching.embedders.batching import BatchingEmbedder
from caching.embedders.registry import ready_minilm
from caching.entries import search
from caching.learning.agreement import Judgement, judge_by_meaning, judge_by_rules, leaves_doubt
from caching.scope import AnswerScope
from caching.scoring.threshold import FLOOR

# Takes a question in its scope, the fresh answer and the cached one. Returns whether the cached one serves as well; None
# for no clear answer. Never raises.
Judge = Callable[[AnswerScope, str, str], Awaitable[bool | None]]

MOST_MEANINGS_COMPARED = 3


async def judge_candidates(
    lookup: Lookup, fresh_answer: str, *, judge: Judge | None = None
) -> dict[int, Judgement]:
    """The verdict on each candidate whose answer can still be read, by entry id; the best one's if possible.

    Rules judge all candidates. Where no rule decides, only a few answers are compared by vectors, because embedding a
    long answer takes longer than a whole look-up. Raises what the database and the embedder raise.
    """
    assert lookup.scope is not None
    assert lookup.best is not None
    near = [each for each in lookup.candidates if each.similarity >= FLOOR and each != lookup.best]
    answers = await search.read_answers(lookup.scope, [each.entry_id for each in (lookup.best, *near)])
    embedder = await ready_minilm()
    by_group: dict[bytes, Judgement] = {}
    verdicts: dict[int, Judgement] = {}
    meanings = 0
    for candidate in (lookup.best, *near):
        if (cached := answers.get(candidate.entry_id)) is None:
            continue
        judgement = by_group.get(candidate.group) or judge_by_rules(fresh_answer, cached.text)
        if judgement is None and meanings < MOST_MEANINGS_COMPARED:
            meanings += 1
            judgement = await _compare(lookup.scope, fresh_answer, cached.text, embedder, judge)
        if judgement is not None:
            verdicts[candidate.entry_id] = by_group[candidate.group] = judgement
    return verdicts


async def _compare(
    scope: AnswerScope, fresh: str, cached: str, embedder: BatchingEmbedder, judge: Judge | None
) -> Judgement:
    """Judge by the vectors of the answers, and where they are not clear by the judge."""
    embed = partial(embedder.embed_one, tenant_id=scope.tenant_id)
    vectors = await embed(fresh), await embed(cached)
    by_meaning = judge_by_meaning(vectors)
    if judge is None:
        return by_meaning
    is_cut = embedder.embedder.truncates(fresh) or embedder.embedder.truncates(cached)
    if not leaves_doubt(vectors, is_cut=is_cut):
        return by_meaning
    serves = await judge(scope, fresh, cached)
    return by_meaning if serves is None else Judgement(not serves, "judge")
