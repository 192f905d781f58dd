"""How a batch looks on the operators' pages: its bar, its cards, its jobs and what failed.

Invariant: display only, of counts that were made beside it; bodies and answers of lines are not read.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import Count
from django.db.models.fields.json import KeyTextTransform
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timezone import now

from billing.admin.figures import count, exact_usd, usd
from llm.batches.operations import counting
from llm.batches.operations.stuck import minutes
from llm.models import Batch, BatchItem, BatchJob, BatchProgress
from llm.models.batch_progress import FAILED

BAR: Final = "unfold/components/progress.html"
MOST_JOBS, MOST_CODES = 50, 10
JOB_HEADERS: Final = [
    "Account",
    "Model",
    "Lines",
    "State",
    "Its state there",
    "Its id there",
    "Next look",
    "Last error",
]


def progress_of(batch: Batch) -> BatchProgress | None:
    """What was counted of it, if it was counted yet."""
    return getattr(batch, "progress", None)


def bar(progress: BatchProgress, *, lines: int, **texts: str) -> SafeString:
    """A bar of the answered lines, with the failed ones in red behind them."""
    whole = max(lines, progress.counted_lines, 1)
    parts = [
        {"title": "answered", "value": f"{100 * progress.answered / whole:.2f}"},
        {
            "title": "failed",
            "value": f"{100 * progress.failed / whole:.2f}",
            "progress_class": "bg-red-500 dark:bg-red-500",
        },
    ]
    return render_to_string(BAR, {**texts, "items": parts})


def small_bar(batch: Batch) -> Any:
    """The bar of a row, with the counts as words above it."""
    progress = progress_of(batch)
    if progress is None:
        return "–"
    lines = max(batch.line_count, progress.counted_lines)
    words = f"{progress.answered:,} of {lines:,}"
    if progress.failed:
        words += f", {progress.failed:,} failed"
    return format_html(
        '<div style="min-width:9rem"><span class="whitespace-nowrap">{}</span>{}</div>',
        words,
        bar(progress, lines=lines),
    )


def age_of(batch: Batch) -> str:
    """How long it ran, or has run until now."""
    ended = batch.completed_at or batch.failed_at or batch.cancelled_at or batch.expired_at
    return minutes((ended or now()) - batch.created_at)


def page_context(batch: Batch) -> dict[str, Any]:
    """What stands above a batch's fields."""
    progress = counting.figures(batch)
    lines = max(batch.line_count, progress.counted_lines)
    done = progress.answered + progress.failed + progress.cancelled
    return {
        "is_open": batch.status in counting.OPEN,
        "stuck": progress.stuck,
        "bar": bar(
            progress,
            lines=lines,
            title=f"{done:,} of {lines:,} lines are over",
            description=f"{100 * done / lines:.1f} %" if lines else "no lines yet",
        ),
        "cards": _cards(batch, progress),
        "jobs": {"headers": JOB_HEADERS, "rows": _job_rows(batch)},
        "failures": {"headers": ["What failed", "Lines"], "rows": _failure_rows(batch, progress)},
        "lines_url": lines_url(batch),
        "failed_url": lines_url(batch, *FAILED),
    }


def lines_url(batch: Batch, *statuses: str) -> str:
    """The list of a batch's lines, or of those that have one of the statuses."""
    url = f"{reverse('admin:llm_batchitem_changelist')}?batch__id__exact={batch.pk}"
    return url + "".join(f"&status__exact={status}" for status in statuses)


def _cards(batch: Batch, progress: BatchProgress) -> list[dict[str, Any]]:
    saved = progress.list_cost_usd - progress.cost_usd
    since = minutes(now() - progress.progressed_at)
    return [
        {
            "title": "Answered",
            "value": count(progress.answered),
            "note": f"{progress.under_way:,} at a provider",
        },
        {"title": "Failed", "value": count(progress.failed), "note": f"{progress.cancelled:,} cancelled"},
        {
            "title": "Age",
            "value": age_of(batch),
            "note": f"changed {since} ago" if batch.status in counting.OPEN else "it is over",
        },
        {"title": "Held", "value": usd(progress.held_usd), "note": f"{progress.held_usd:f} USD"},
        {"title": "Settled", "value": usd(progress.cost_usd), "note": f"{progress.cost_usd:f} USD"},
        {"title": "Saved", "value": usd(saved), "note": f"of {usd(progress.list_cost_usd)} in real time"},
    ]


def _job_rows(batch: Batch) -> list[Sequence[Any]]:
    return [
        [
            job.provider,
            _link(job),
            count(job.line_count),
            job.state,
            job.upstream_status or "–",
            job.upstream_id or "–",
            moment(job.next_look_at),
            job.last_error or "–",
        ]
        for job in batch.jobs.order_by("pk")[:MOST_JOBS]
    ]


def _link(job: BatchJob) -> SafeString:
    url = reverse("admin:llm_batchjob_change", args=[job.pk])
    return format_html('<a class="text-link" href="{}">{}</a>', url, job.model)


def _failure_rows(batch: Batch, progress: BatchProgress) -> list[Sequence[Any]]:
    """The errors of the failed lines by their code, the most frequent first; for a refused batch what was wrong with it."""
    if batch.status == Batch.Status.FAILED:
        return [
            [str(error.get("message", ""))[:300], error.get("line") or "–"]
            for error in batch.errors[:MOST_CODES]
        ]
    if not progress.failed:
        return []
    failed = BatchItem.objects.filter(batch=batch, status__in=FAILED).order_by()
    by_code = (
        failed.annotate(code=KeyTextTransform("code", "error"))
        .values_list("code")
        .annotate(lines=Count("pk"))
    )
    return [[code or "unknown", count(lines)] for code, lines in by_code.order_by("-lines")[:MOST_CODES]]


def moment(at: datetime | None) -> str:
    """When it is, from now: "in 40 s", "12 minutes ago"."""
    if at is None:
        return "–"
    span = at - now()
    if span < timedelta(0):
        return "due" if -span < timedelta(minutes=1) else f"{minutes(-span)} ago"
    return f"in {span.total_seconds():.0f} s" if span < timedelta(minutes=2) else f"in {minutes(span)}"


def money(batch: Batch, name: str) -> Any:
    """An amount that was counted of a batch."""
    progress = progress_of(batch)
    return "–" if progress is None else exact_usd(getattr(progress, name))


def saved(batch: Batch) -> Any:
    """What the batch's lines would have cost more in real time."""
    progress = progress_of(batch)
    return "–" if progress is None else exact_usd(progress.list_cost_usd - progress.cost_usd)
