"""Counts the lines, jobs and money of batches, so that no page and no alert has to.

Invariant: one statement for many batches, each only as often as its size allows; counting again changes nothing but the
time. `progressed_at` moves when a count has changed, and not otherwise.
"""

import json
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import connection
from django.utils.timezone import now as current

from llm.models import Batch, BatchProgress

MOST_AT_A_TIME: Final = 500
CHUNK: Final = 20
MOST_SECONDS: Final = 20.0
COUNTED_FOR_A_PAGE: Final = 5_000  # lines, in some 20 milliseconds
EVERY: Final = timedelta(seconds=10)
# a batch of 50,000 lines takes 0.2 seconds to count: at most every minute
EVERY_LINE: Final = timedelta(milliseconds=1)
REMEMBERED: Final = timedelta(days=3)  # an ended batch that is older is not counted any more

OPEN: Final = (
    Batch.Status.VALIDATING,
    Batch.Status.IN_PROGRESS,
    Batch.Status.FINALIZING,
    Batch.Status.CANCELLING,
)
_OPEN: Final = f"({', '.join(repr(str(status)) for status in OPEN)})"
DUE: Final = f"""
SELECT batch.id FROM llm_batch AS batch
LEFT JOIN llm_batchprogress AS progress ON progress.batch_id = batch.id
WHERE batch.status IN {_OPEN}
  AND (progress.batch_id IS NULL OR progress.counted_at <= %(now)s - %(every)s - batch.line_count * %(every_line)s)
UNION
SELECT batch.id FROM llm_batch AS batch
LEFT JOIN llm_batchprogress AS progress ON progress.batch_id = batch.id
WHERE batch.status NOT IN {_OPEN} AND batch.created_at > %(remembered)s
  AND progress.batch_status IS DISTINCT FROM batch.status
ORDER BY id LIMIT {MOST_AT_A_TIME}
"""
FIGURES: Final = """
WITH chosen AS (
    SELECT id, tenant_id, status FROM llm_batch WHERE id = ANY(%(ids)s)
), by_status AS (
    SELECT batch_id, status, count(*) AS lines, sum(cost_usd) AS cost_usd, sum(list_cost_usd) AS list_cost_usd
    FROM llm_batchitem WHERE batch_id = ANY(%(ids)s) GROUP BY batch_id, status
), lines AS (
    SELECT batch_id, jsonb_object_agg(status, lines) AS lines, sum(cost_usd) AS cost_usd, sum(list_cost_usd) AS list_cost_usd
    FROM by_status GROUP BY batch_id
), by_state AS (
    SELECT batch_id, state, count(*) AS jobs FROM llm_batchjob WHERE batch_id = ANY(%(ids)s) GROUP BY batch_id, state
), jobs AS (
    SELECT batch_id, jsonb_object_agg(state, jobs) AS jobs FROM by_state GROUP BY batch_id
), held AS (
    SELECT item.batch_id, sum(attempt.hold_usd) AS held_usd
    FROM llm_batchitem AS item
    JOIN billing_attempt AS attempt ON attempt.id = item.attempt_id AND attempt.state IN ('held', 'sent')
    WHERE item.batch_id = ANY(%(ids)s) AND item.settled_at IS NULL GROUP BY item.batch_id
)
SELECT chosen.id AS batch_id, chosen.tenant_id, chosen.status AS batch_status, coalesce(lines, '{}') AS lines,
       coalesce(jobs, '{}') AS jobs, coalesce(held_usd, 0) AS held_usd, coalesce(cost_usd, 0) AS cost_usd,
       coalesce(list_cost_usd, 0) AS list_cost_usd
FROM chosen
LEFT JOIN lines ON lines.batch_id = chosen.id
LEFT JOIN jobs ON jobs.batch_id = chosen.id
LEFT JOIN held ON held.batch_id = chosen.id
"""
KEEP: Final = f"""
INSERT INTO llm_batchprogress AS kept (batch_id, tenant_id, batch_status, lines, jobs, held_usd, cost_usd, list_cost_usd,
                                       counted_at, progressed_at, stuck, notified)
SELECT figures.*, %(now)s, %(now)s, '', '[]' FROM ({FIGURES}) AS figures
ON CONFLICT (batch_id) DO UPDATE SET
    batch_status = excluded.batch_status, lines = excluded.lines, jobs = excluded.jobs, held_usd = excluded.held_usd,
    cost_usd = excluded.cost_usd, list_cost_usd = excluded.list_cost_usd, counted_at = excluded.counted_at,
    progressed_at = CASE
        WHEN (kept.batch_status, kept.lines, kept.jobs) IS DISTINCT FROM (excluded.batch_status, excluded.lines, excluded.jobs)
        THEN excluded.progressed_at ELSE kept.progressed_at END
"""


def due_batches(*, now: datetime | None = None) -> list[int]:
    """The ids of the batches that are to be counted: open ones now and then, ended ones once more."""
    now = now or current()
    parameters: dict[str, Any] = {
        "now": now,
        "every": EVERY,
        "every_line": EVERY_LINE,
        "remembered": now - REMEMBERED,
    }
    with connection.cursor() as cursor:
        cursor.execute(DUE, parameters)
        return [row[0] for row in cursor.fetchall()]


def count(batch_ids: Sequence[int], *, now: datetime | None = None) -> None:
    """Count these batches and keep the figures; what takes too long is left for the next time."""
    now = now or current()
    until = time.monotonic() + MOST_SECONDS
    with connection.cursor() as cursor:
        for begin in range(0, len(batch_ids), CHUNK):
            if time.monotonic() > until:
                return
            cursor.execute(KEEP, {"ids": list(batch_ids[begin : begin + CHUNK]), "now": now})


def figures(batch: Batch) -> BatchProgress:
    """The batch's figures as they are now, for its page; of a large batch those that were kept."""
    kept = BatchProgress.objects.filter(pk=batch.pk).first()
    if kept and (batch.line_count > COUNTED_FOR_A_PAGE or batch.status not in OPEN):
        return kept
    with connection.cursor() as cursor:
        cursor.execute(FIGURES, {"ids": [batch.pk]})
        names = [column.name for column in cursor.description or ()]
        [row] = cursor.fetchall()
    fresh = BatchProgress(**dict(zip(names, row, strict=True)))
    fresh.lines, fresh.jobs = json.loads(row[names.index("lines")]), json.loads(row[names.index("jobs")])
    fresh.progressed_at = kept.progressed_at if kept else batch.created_at
    fresh.stuck = kept.stuck if kept else ""
    return fresh
