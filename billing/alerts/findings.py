"""Counts findings in alerts: of one rule and subject at most one is open, however often it is seen.

Invariant: one process counts at a time (advisory lock), so an alert is opened once and no count is lost: a finding is deleted
in the transaction that counts it. A condition that goes on after a person resolved it is no new alert. Of a tenant
and metric at most MOST_OPEN alerts are open: further subjects are counted together.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from django.db import connection, transaction

from billing.alerts.metrics import facts_of

MOST_OPEN: Final = 100
OTHERS: Final = "others"
BATCH: Final = 5_000
MOST_ROUNDS: Final = 100
LONGEST_MESSAGE: Final = 1_000
LONGEST_SUBJECT: Final = 300

LOCK: Final = "SELECT pg_advisory_xact_lock(hashtext('billing_alerts'))"

TAKE: Final = """
WITH taken AS (
    DELETE FROM billing_alertfinding
    WHERE id IN (SELECT id FROM billing_alertfinding ORDER BY id LIMIT %(limit)s)
    RETURNING *),
grouped AS (
    SELECT tenant_id, metric, subject_key, threshold, sum(count) AS count, max(at) AS at
    FROM taken GROUP BY tenant_id, metric, subject_key, threshold)
SELECT DISTINCT ON (g.tenant_id, g.metric, g.subject_key, g.threshold)
       t.tenant_id, t.metric, t.subject_key, t.threshold, t.value, t.message, t.rule_id, t.facts, g.count, g.at
FROM grouped g
JOIN taken t ON (t.metric, t.subject_key, t.threshold) = (g.metric, g.subject_key, g.threshold)
    AND t.tenant_id IS NOT DISTINCT FROM g.tenant_id
ORDER BY g.tenant_id, g.metric, g.subject_key, g.threshold, t.value DESC
"""

# Findings as rows; a subject beyond the most that may be open becomes one of the "others".
_FOUND: Final = f"""
given AS (
    SELECT f.*, e.id AS event_id,
           row_number() OVER (PARTITION BY f.tenant_id, f.metric, e.id IS NULL ORDER BY f.value DESC, f.subject_key) AS place,
           (SELECT count(*) FROM billing_alertevent o
            WHERE o.tenant_id IS NOT DISTINCT FROM f.tenant_id AND o.metric = f.metric AND o.is_grouped
              AND o.resolved_at IS NULL) AS open_now
    FROM jsonb_to_recordset(%(findings)s::jsonb) AS f (
        tenant_id bigint, rule_id bigint, budget_id bigint, metric text, subject_key text, value numeric, threshold numeric,
        count bigint, message text, facts jsonb, link text, at timestamptz, ends_at timestamptz, quiet_seconds float)
    LEFT JOIN billing_alertevent e
        ON e.tenant_id IS NOT DISTINCT FROM f.tenant_id AND e.metric = f.metric AND e.subject_key = f.subject_key
        AND e.threshold = f.threshold AND e.is_grouped AND e.resolved_at IS NULL),
named AS (
    SELECT *, CASE WHEN event_id IS NULL AND open_now + place > {MOST_OPEN} THEN '{OTHERS}' ELSE subject_key END AS subject
    FROM given),
found AS (
    SELECT DISTINCT ON (tenant_id, metric, subject, threshold)
           tenant_id, metric, subject, threshold, rule_id, budget_id, value, message, facts, link, at, ends_at, quiet_seconds,
           sum(count) OVER (PARTITION BY tenant_id, metric, subject, threshold) AS count
    FROM named ORDER BY tenant_id, metric, subject, threshold, value DESC)"""

# What is open, and a condition that a person resolved while it goes on: that stays resolved.
COUNT: Final = f"""
WITH {_FOUND}
UPDATE billing_alertevent e
SET count = e.count + f.count, last_at = greatest(e.last_at, f.at), ends_at = f.ends_at,
    value = greatest(e.value, f.value),
    message = CASE WHEN f.value > e.value THEN f.message ELSE e.message END,
    facts = CASE WHEN f.value > e.value THEN f.facts ELSE e.facts END,
    level = greatest(e.level, least(9, floor(log(greatest(
        1, greatest(e.value, f.value) / nullif(e.first_value, 0),
        (e.count + f.count)::numeric / e.first_count)))))
FROM found f
WHERE e.tenant_id IS NOT DISTINCT FROM f.tenant_id AND e.metric = f.metric AND e.subject_key = f.subject
  AND e.threshold = f.threshold AND e.is_grouped
  AND (e.resolved_at IS NULL
       OR f.count = 0 AND e.resolved_by_id IS NOT NULL AND e.last_at > f.at - make_interval(secs => f.quiet_seconds))
"""

# A mute outlasts the alert that it was set on.
OPEN: Final = f"""
WITH {_FOUND}
INSERT INTO billing_alertevent (
    tenant_id, rule_id, budget_id, metric, subject_key, window_key, value, threshold, message, facts, link, is_grouped,
    count, first_count, first_value, level, fired_at, last_at, ends_at, muted_until)
SELECT f.tenant_id, r.id, f.budget_id, f.metric, f.subject, to_char(f.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'),
       f.value, f.threshold, f.message, f.facts, f.link, true,
       greatest(f.count, 1), greatest(f.count, 1), f.value, 0, f.at, f.at, f.ends_at,
       (SELECT max(muted_until) FROM billing_alertevent m
        WHERE m.tenant_id IS NOT DISTINCT FROM f.tenant_id AND m.metric = f.metric AND m.subject_key = f.subject
          AND m.threshold = f.threshold AND m.muted_until > f.at)
FROM found f
LEFT JOIN billing_alertrule r ON r.id = f.rule_id
WHERE NOT EXISTS (
    SELECT FROM billing_alertevent e
    WHERE e.tenant_id IS NOT DISTINCT FROM f.tenant_id AND e.metric = f.metric AND e.subject_key = f.subject
      AND e.threshold = f.threshold AND e.is_grouped
      AND (e.resolved_at IS NULL
           OR f.count = 0 AND e.resolved_by_id IS NOT NULL AND e.last_at > f.at - make_interval(secs => f.quiet_seconds)))
ON CONFLICT DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a watch or a settlement saw of one rule and subject. Without a tenant it is the operators'.

    `count` is how often; 0 for a condition that goes on, which is one occurrence however often it is looked at.
    """

    tenant_id: int | None
    metric: str
    subject: str
    value: Decimal
    threshold: Decimal
    message: str
    at: datetime
    rule_id: int | None = None
    budget_id: int | None = None
    count: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)
    link: str = ""
    ends_at: datetime | None = None  # None: after the metric's quiet time


def report(findings: Sequence[Finding]) -> int:
    """Count findings in the alerts that are open, and open the others; how many were opened."""
    if not findings:
        return 0
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(LOCK)
        return _report(cursor, findings)


def count_findings() -> int:
    """Count what settlements noted; how many alerts were opened."""
    opened = 0
    for _ in range(MOST_ROUNDS):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(LOCK)
            cursor.execute(TAKE, {"limit": BATCH})
            rows = cursor.fetchall()
            if not rows:
                return opened
            opened += _report(cursor, [_finding_of(row) for row in rows])
    return opened


def _report(cursor: Any, findings: Sequence[Finding]) -> int:
    written = {"findings": json.dumps([_written(finding) for finding in findings])}
    # what is opened last is not counted twice
    cursor.execute(COUNT, written)
    cursor.execute(OPEN, written)
    return int(cursor.rowcount)


def _finding_of(row: Sequence[Any]) -> Finding:
    tenant_id, metric, subject, threshold, value, message, rule_id, facts, count, at = row
    return Finding(
        tenant_id, metric, subject, value, threshold, message, at, rule_id=rule_id, count=int(count),
        facts=json.loads(facts) if isinstance(facts, str) else facts,
    )  # fmt: skip


def _written(finding: Finding) -> dict[str, Any]:
    quiet: timedelta = facts_of(finding.metric).quiet
    return {
        "tenant_id": finding.tenant_id,
        "rule_id": finding.rule_id,
        "budget_id": finding.budget_id,
        "metric": finding.metric,
        "subject_key": finding.subject[:LONGEST_SUBJECT],
        "value": str(finding.value),
        "threshold": str(finding.threshold),
        "count": finding.count,
        "message": finding.message[:LONGEST_MESSAGE],
        "facts": dict(finding.facts),
        "link": finding.link,
        "at": finding.at.isoformat(),
        "ends_at": (finding.ends_at or finding.at + quiet).isoformat(),
        "quiet_seconds": quiet.total_seconds(),
    }
