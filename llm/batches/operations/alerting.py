"""Alerts on batches that do not go on, and on batches whose lines failed.

Invariant: one alert for a batch and a rule, noted in the transaction that writes it; batches of one tenant that are found
together are one alert. A tenant is told of its own batches, operators of what is not a tenant's mistake.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from django.conf import settings
from django.db import transaction
from django.urls import reverse
from django.utils.timezone import now as current

from billing.models import AlertRule
from billing.notices import notify_operators, notify_tenant, rules_for
from llm.batches.operations import counting
from llm.batches.operations.recovering import BATCHES, MOST_BATCHES, resolve_over
from llm.batches.operations.stuck import minutes, why_stuck
from llm.models import Batch, BatchItem, BatchJob, BatchProgress
from llm.models.batch_progress import FAILED

Metric = AlertRule.Metric
Rules = Mapping[tuple[int, str], Sequence[AlertRule]]
DEFAULT_FAILED_PERCENT: Final = Decimal(10)  # where a tenant has no rule of its own
MOST_NAMED: Final = 5
LONGEST_CAUSE: Final = 300


@dataclass(frozen=True, slots=True)
class _Finding:
    """What is to be told of one batch. Without a rule it is the default's; without a tenant it is the operators'."""

    progress: BatchProgress
    tenant_id: int | None
    metric: str
    rule: AlertRule | None
    value: Decimal
    threshold: Decimal

    @property
    def name(self) -> str:
        """What is noted, so that it is told once; of a batch that is stuck in another state it is news again."""
        whose = "operators" if self.tenant_id is None else self.rule.pk if self.rule else "default"
        state = f":{self.progress.batch_status}" if self.metric == Metric.BATCH_STUCK else ""
        return f"{self.metric}:{whose}{state}"


def watch(*, now: datetime | None = None) -> int:
    """Count what is due, see what is stuck, tell whom it concerns, and end what is over; how many alerts were written."""
    now = now or current()
    batch_ids = counting.due_batches(now=now)
    counting.count(batch_ids, now=now)
    with transaction.atomic():
        rows = list(
            BatchProgress.objects.select_for_update(skip_locked=True, of=("self",))
            .select_related("batch__tenant")
            .filter(pk__in=batch_ids)
            .order_by("pk")
        )
        judge(rows, now=now)
        told = _tell(_findings(rows, now=now), now=now)
    resolve_over(now=now)
    return told


def judge(rows: Sequence[BatchProgress], *, now: datetime) -> None:
    """Write down of each batch why it does not go on."""
    jobs: dict[int, list[BatchJob]] = {}
    open_jobs = BatchJob.objects.filter(batch_id__in=[row.pk for row in rows])
    for job in open_jobs.exclude(state=BatchJob.State.FINISHED).order_by("pk"):
        jobs.setdefault(job.batch_id, []).append(job)
    changed = []
    for row in rows:
        reason = why_stuck(row.batch, row, jobs.get(row.pk, ()), now=now)
        if reason != row.stuck:
            row.stuck = reason
            changed.append(row)
    BatchProgress.objects.bulk_update(changed, ["stuck"], batch_size=100)


def _findings(rows: Sequence[BatchProgress], *, now: datetime) -> Iterator[_Finding]:
    rules = rules_for([Metric.BATCH_FAILED, Metric.BATCH_STUCK], tenants={row.tenant_id for row in rows})
    for row in rows:
        found = (*_failed(row, rules), *_stuck(row, rules, now=now))
        yield from (finding for finding in found if finding.name not in row.notified)


def _failed(row: BatchProgress, rules: Rules) -> Iterator[_Finding]:
    share = failed_percent(row)
    if not share:
        return
    operators = Decimal(str(settings.BATCH_FAILED_PERCENT))
    if row.jobs and share >= operators:
        yield _Finding(row, None, Metric.BATCH_FAILED, None, share, operators)
    if row.batch.is_gathered:  # no client sees it: its deferred calls go on by another lane
        return
    own: Sequence[AlertRule | None] = rules.get((row.tenant_id, Metric.BATCH_FAILED), ())
    for rule in own or (None,):
        threshold = rule.threshold if rule else DEFAULT_FAILED_PERCENT
        if share >= threshold:
            yield _Finding(row, row.tenant_id, Metric.BATCH_FAILED, rule, share, threshold)


def _stuck(row: BatchProgress, rules: Rules, *, now: datetime) -> Iterator[_Finding]:
    idle = Decimal(int((now - row.progressed_at).total_seconds())) / 60
    if row.stuck:
        limit = Decimal(str(settings.BATCH_STUCK_MINUTES))
        yield _Finding(row, None, Metric.BATCH_STUCK, None, round(idle, 1), limit)
    if row.batch_status in counting.OPEN and not row.batch.is_gathered:
        for rule in rules.get((row.tenant_id, Metric.BATCH_STUCK), []):
            if idle >= rule.threshold:
                yield _Finding(row, row.tenant_id, Metric.BATCH_STUCK, rule, round(idle, 1), rule.threshold)


def failed_percent(row: BatchProgress) -> Decimal:
    """The share of a batch's lines that failed; all of a batch that was refused as a whole."""
    if row.batch_status == Batch.Status.FAILED:
        return Decimal(100)
    lines = max(row.batch.line_count, row.counted_lines)
    return round(Decimal(100 * row.failed) / lines, 2) if lines else Decimal(0)


def _tell(findings: Iterator[_Finding], *, now: datetime) -> int:
    groups: dict[tuple[int | None, str, int | None], list[_Finding]] = {}
    for finding in findings:
        rule_id = finding.rule.pk if finding.rule else None
        groups.setdefault((finding.tenant_id, finding.metric, rule_id), []).append(finding)
    for group in groups.values():
        _tell_of(group, now=now)
    told = {finding.progress.pk: finding.progress for group in groups.values() for finding in group}
    for group in groups.values():
        for finding in group:
            finding.progress.notified = [*finding.progress.notified, finding.name]
    BatchProgress.objects.bulk_update(told.values(), ["notified"], batch_size=100)
    return len(groups)


def _tell_of(group: Sequence[_Finding], *, now: datetime) -> None:
    first = max(group, key=lambda finding: finding.value)
    message, link = _message(first.metric, group), _link(group)
    subject = f"{first.progress.batch.public_id}:{first.name}"
    # a batch that went on and is stuck again is news; what was noted with it says that it was told
    window = now.isoformat() if first.metric == Metric.BATCH_STUCK else ""
    facts = {BATCHES: [finding.progress.pk for finding in group[:MOST_BATCHES]]}
    if first.tenant_id is None:
        notify_operators(
            first.metric, message, subject=subject, window=window, value=first.value, threshold=first.threshold,
            link=link, facts=facts,
        )  # fmt: skip
    else:
        notify_tenant(
            first.tenant_id, first.metric, message, rule=first.rule, subject=subject, window=window, value=first.value,
            threshold=first.threshold, link=link, facts=facts,
        )  # fmt: skip


def _message(metric: str, group: Sequence[_Finding]) -> str:
    is_stuck = metric == Metric.BATCH_STUCK
    named = [_phrase(finding) for finding in group[:MOST_NAMED]]
    if len(group) == 1:
        return f"Batch {named[0]}"
    what = "batches do not go on" if is_stuck else "batches have failed lines"
    more = f"; and {len(group) - MOST_NAMED} more" if len(group) > MOST_NAMED else ""
    return f"{len(group)} {what}: {'; '.join(named)}{more}"


def _phrase(finding: _Finding) -> str:
    row = finding.progress
    whose = f"{row.batch.public_id} of {row.batch.tenant.slug}"
    if finding.metric == Metric.BATCH_STUCK:
        idle = minutes(timedelta(minutes=float(finding.value)))
        return f"{whose} ({row.batch_status}): {row.stuck or f'No progress for {idle}.'}"
    if row.batch_status == Batch.Status.FAILED:
        cause = _cause(row.batch.errors[0] if row.batch.errors else {}, finding)
        return f"{whose} failed: {cause}"
    lines = max(row.batch.line_count, row.counted_lines)
    failed = BatchItem.objects.filter(batch_id=row.pk, status__in=FAILED).order_by("line")
    cause = _cause(failed.values_list("error", flat=True).first() or {}, finding)
    return f"{whose}: {row.failed:,} of {lines:,} lines failed, the first: {cause}"


def _cause(error: Mapping[str, Any], finding: _Finding) -> str:
    """Code and message of an error. Operators get the code alone: a message may repeat what a tenant asked."""
    code = str(error.get("code") or "unknown")
    if finding.tenant_id is None:
        return code
    return f"{code}: {error.get('message')}"[:LONGEST_CAUSE]


def _link(group: Sequence[_Finding]) -> str:
    if len(group) == 1:
        return reverse("admin:llm_batch_change", args=[group[0].progress.pk])
    needs = "stuck" if group[0].metric == Metric.BATCH_STUCK else "failed"
    return f"{reverse('admin:llm_batch_changelist')}?needs={needs}"
