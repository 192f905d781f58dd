"""Stores a label for each look-up that was judged, and learns each scope's weights and threshold from its labels.

Invariant: a threshold always follows from its scope's last labels and the tenant's bound. The labels are scored by
weights that were not trained on them. Labels are only added. Everything here runs in the background.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, LiteralString

import numpy as np
import orjson
from psycopg import AsyncConnection

from caching.decision import Lookup
from caching.learning import noise
from caching.learning.agreement import Judgement
from caching.learning.noise import Noise, Repeats
from caching.metrics import LABELS
from caching.scoring.features import NAMES, VERSION
from caching.scoring.scope_state import ALERT_SHARE, CHECKED_SHARE, SETTLED_LABELS, SETTLED_SHARE
from caching.scoring.threshold import WINDOW, Label, Threshold, find_threshold
from caching.scoring.verifier import Event, Weights, learn, shipped
from tenants.rls import tenant_connection

# New labels before a scope learns again: this many, or this share of its labels.
STEP = 25
GROWTH = 0.08
# The reason of a look-up for a question that the exact cache has answered and that is asked again to test the judge.
ASKED_AGAIN = "asked_again"

_ADD_LABEL = """
INSERT INTO caching_label (
    tenant_id, scope_digest, entry_id, similarity, certainty, is_wrong, weight, source, is_repeat, verdict, evidence, at)
VALUES (
    %(tenant)s, %(scope)s, %(entry)s, %(similarity)s, %(certainty)s, %(is_wrong)s, %(weight)s, %(source)s,
    %(is_repeat)s, %(verdict)s, %(evidence)s, %(now)s)
"""

_COUNT_LABEL = """
INSERT INTO caching_scope (
    tenant_id, scope_digest, circle, endpoint, route, embedder, prompt_version, max_error_rate, labels,
    labels_since_update, created_at, updated_at)
VALUES (
    %(tenant)s, %(scope)s, %(circle)s, %(endpoint)s, %(route)s, %(embedder)s, %(prompt_version)s,
    %(max_error_rate)s, 1, 1, %(now)s, %(now)s)
ON CONFLICT (tenant_id, scope_digest) DO UPDATE
SET labels = caching_scope.labels + 1, labels_since_update = caching_scope.labels_since_update + 1
RETURNING labels, labels_since_update, max_error_rate, checked_share
"""

# Questions asked again to test the judge are no evidence about this cache: the exact cache would have served them.
_WINDOW = """
SELECT evidence, is_wrong, weight FROM caching_label
WHERE tenant_id = %(tenant)s AND scope_digest = %(scope)s AND source <> 'repeat'
ORDER BY id DESC LIMIT %(window)s
"""

# Each question once, with its latest verdict: among the scope's last labels, or among all scopes of its route.
_REPEATS = """
SELECT count(*), count(*) FILTER (WHERE is_wrong) FROM (
    SELECT DISTINCT ON (entry_id) is_wrong FROM (
        SELECT id, entry_id, is_repeat, is_wrong FROM caching_label
        WHERE tenant_id = %(tenant)s AND scope_digest = %(scope)s ORDER BY id DESC LIMIT %(window)s) newest
    WHERE is_repeat ORDER BY entry_id, id DESC) questions
"""
_REPEATS_OF_ROUTE = """
SELECT count(*), count(*) FILTER (WHERE is_wrong) FROM (
    SELECT DISTINCT ON (entry_id) is_wrong FROM (
        SELECT l.id, l.entry_id, l.is_wrong
        FROM caching_scope s JOIN caching_label l USING (tenant_id, scope_digest)
        WHERE s.tenant_id = %(tenant)s AND s.route = %(route)s AND l.is_repeat
        ORDER BY l.id DESC LIMIT %(window)s) newest
    ORDER BY entry_id, id DESC) questions
"""

# The weights of the tenant's other scopes, preferably of the same route, are a better start than the shipped ones.
_NEXT_OF_KIN = """
SELECT weights FROM caching_scope
WHERE tenant_id = %(tenant)s AND embedder = %(embedder)s AND scope_digest <> %(scope)s
  AND weights IS NOT NULL AND labels >= %(enough)s
ORDER BY route = %(route)s DESC, labels DESC LIMIT 1
"""
_ENOUGH_TO_INHERIT = 300

_SET_LEARNT = """
UPDATE caching_scope
SET threshold = %(threshold)s, error_rate = %(error_rate)s, error_rate_upper = %(upper)s, weights = %(weights)s,
    checked_share = %(checked_share)s, max_error_rate = %(max_error_rate)s, labels_since_update = 0,
    noise_floor = %(noise_floor)s, repeats = %(repeats)s, repeats_wrong = %(repeats_wrong)s,
    repeats_from = %(repeats_from)s, updated_at = clock_timestamp()
WHERE tenant_id = %(tenant)s AND scope_digest = %(scope)s
"""


async def add_label(lookup: Lookup, verdicts: Mapping[int, Judgement], *, max_error_rate: float) -> None:
    """Store the verdicts of a fresh answer on a look-up's candidates, by entry id. The best candidate's is required.

    The scope learns again when there are enough new labels, when a checked hit was wrong, or when the bound changed.
    """
    scope, best = lookup.scope, lookup.best
    assert scope is not None
    assert best is not None
    is_check = lookup.label_weight > 1
    is_wrong = verdicts[best.entry_id].is_wrong
    parameters = {
        "tenant": scope.tenant_id,
        "scope": scope.digest,
        "circle": scope.origin.circle[:255],
        "endpoint": scope.origin.endpoint,
        "route": scope.origin.route[:255],
        "embedder": scope.embedder,
        "prompt_version": scope.origin.prompt_version,
        "entry": best.entry_id,
        "similarity": best.similarity,
        "certainty": best.certainty,
        "is_wrong": is_wrong,
        "weight": lookup.label_weight,
        "source": _source(lookup),
        "is_repeat": best.question == scope.question,
        "verdict": verdicts[best.entry_id].rule,
        "evidence": None if lookup.reason == ASKED_AGAIN else _pack(lookup, verdicts),
        "max_error_rate": max_error_rate,
        "now": datetime.now(UTC),
    }
    async with tenant_connection(scope.tenant_id) as connection:
        await connection.execute(_ADD_LABEL, parameters)
        cursor = await connection.execute(_COUNT_LABEL, parameters)
        row = await cursor.fetchone()
        assert row is not None
        labels, since, bound, share = row
        is_alert = is_check and is_wrong
        enough = STEP if share >= ALERT_SHARE else max(STEP, GROWTH * min(labels, WINDOW))
        is_due = since >= enough or bound != max_error_rate or is_alert
        window = await _window(connection, parameters) if is_due else None
    LABELS.labels(parameters["source"], "wrong" if is_wrong else "right").inc()
    if window is not None:
        await _relearn(window, parameters, is_alert=is_alert)


def _source(lookup: Lookup) -> str:
    if lookup.reason == ASKED_AGAIN:
        return "repeat"
    if lookup.label_weight > 1:
        return "check"
    return "would_hit" if lookup.outcome == "would_hit" else "miss"


def _pack(lookup: Lookup, verdicts: Mapping[int, Judgement]) -> bytes | None:
    """The features and differing words of the judged candidates, as of the look-up."""
    if lookup.comparison is None:
        return None
    places = [place for place, each in enumerate(lookup.candidates) if each.entry_id in verdicts]
    stored = {
        "version": VERSION,
        "words": [lookup.comparison.words[place] for place in places],
        "wrong": [verdicts[lookup.candidates[place].entry_id].is_wrong for place in places],
    }
    rows = lookup.comparison.rows[places].astype(np.float16)
    return orjson.dumps(stored) + b"\n" + rows.tobytes()


def _unpack(evidence: bytes | None, weight: float) -> Event | None:
    """None for a label without features, or with features of another version."""
    if evidence is None:
        return None
    text, _, numbers = bytes(evidence).partition(b"\n")
    stored = orjson.loads(text)
    if stored["version"] != VERSION:
        return None
    rows = np.frombuffer(numbers, np.float16).astype(np.float32).reshape(-1, len(NAMES))
    return Event(rows, tuple(map(tuple, stored["words"])), tuple(stored["wrong"]), weight)


@dataclass(frozen=True, slots=True)
class _Window:
    """A scope's last labels (oldest first), the weights to start from, and the noise of the labels."""

    rows: list[tuple[bytes | None, bool, float]]
    start: Weights
    noise: Noise


async def _window(connection: AsyncConnection[Any], parameters: dict[str, Any]) -> _Window:
    cursor = await connection.execute(_WINDOW, parameters | {"window": WINDOW})
    rows = (await cursor.fetchall())[::-1]
    start = await start_weights(connection, parameters)
    return _Window(rows, start, await _noise(connection, parameters | {"window": WINDOW}))


async def start_weights(connection: AsyncConnection[Any], parameters: dict[str, Any]) -> Weights:
    """The prior of a scope's weights. The threshold has no prior: it uses only the scope's own labels."""
    cursor = await connection.execute(_NEXT_OF_KIN, parameters | {"enough": _ENOUGH_TO_INHERIT})
    inherited = await cursor.fetchone()
    return (Weights.from_bytes(bytes(inherited[0])) if inherited else None) or shipped()


async def _noise(connection: AsyncConnection[Any], parameters: dict[str, Any]) -> Noise:
    scope = await _repeats(connection, _REPEATS, parameters)
    if scope.count >= noise.ENOUGH:
        return noise.estimate(scope, Repeats())
    return noise.estimate(scope, await _repeats(connection, _REPEATS_OF_ROUTE, parameters))


async def _repeats(
    connection: AsyncConnection[Any], query: LiteralString, parameters: dict[str, Any]
) -> Repeats:
    cursor = await connection.execute(query, parameters)
    row = await cursor.fetchone()
    assert row is not None
    return Repeats(*row)


async def _relearn(window: _Window, parameters: dict[str, Any], *, is_alert: bool) -> None:
    weights, found = await asyncio.to_thread(_learn, window, parameters["max_error_rate"])
    learnt = {
        "threshold": found.certainty,
        "error_rate": found.error_rate,
        "upper": found.error_rate_upper,
        "weights": weights.to_bytes(),
        "checked_share": checked_share_of(found, is_alert=is_alert),
        "noise_floor": window.noise.floor,
        "repeats": window.noise.repeats.count,
        "repeats_wrong": window.noise.repeats.wrong,
        "repeats_from": window.noise.source,
    }
    async with tenant_connection(parameters["tenant"]) as connection:
        await connection.execute(_SET_LEARNT, parameters | learnt)


def checked_share_of(found: Threshold, *, is_alert: bool) -> float:
    if is_alert:
        return ALERT_SHARE
    return SETTLED_SHARE if found.is_open and found.labels >= SETTLED_LABELS else CHECKED_SHARE


def _learn(window: _Window, max_error_rate: float) -> tuple[Weights, Threshold]:
    events = [_unpack(evidence, weight) for evidence, _, weight in window.rows]
    judged = [event for event in events if event is not None]
    if not judged:
        return window.start, Threshold(None, None, None, 0)
    learnt = learn(judged, window.start)
    scored = iter(zip(learnt.certainties.tolist(), learnt.wrong.tolist(), strict=True))
    labels = []
    for event, (_, is_wrong, weight) in zip(events, window.rows, strict=True):
        if event is not None:
            certainty, was_wrong = next(scored)
            if certainty >= 0:
                labels.append(Label(certainty, was_wrong, weight))
        elif is_wrong:
            # A complaint: the answer was served, so it counts against every threshold.
            labels.append(Label(1.0, True, weight))
    return learnt.weights, find_threshold(labels, max_error_rate=max_error_rate, noise=window.noise.used)
