"""The page of queues and workers: what waits, who works, what was done, and whose batches had a turn last.

Invariant: shows what workers report, and asks none of them; a bounded number of rows. Operators only.
"""

from typing import Any, Final

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.timezone import now

from billing.admin.figures import count
from config.work.states import QueueState, TaskState, WorkerState, read_work
from llm.batches.turns import waiting
from llm.models import BatchTurn
from tenants.admin.access import OperatorAdmin, Unedited

MOST_SHOWN: Final = 20
MOST_COUNTED: Final = 1000
QUEUE_HEADERS: Final = ["Queue", "What waits there", "Waiting", "Oldest", "Processes"]
WORKER_HEADERS: Final = ["Worker", "Queues", "Processes", "Working on"]
TASK_HEADERS: Final = ["Task", "Queue", "Done", "Tried again", "Failed", "Seconds a run", "Waited"]
TURN_HEADERS: Final = ["Tenant", "Last turn"]


@admin.register(BatchTurn)
class WorkAdmin(Unedited, OperatorAdmin):
    """Queues, workers and turns on one page."""

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        work = read_work()
        turns = BatchTurn.objects.select_related("tenant").order_by("-at")[:MOST_SHOWN]
        context = {
            **admin.site.each_context(request),
            "title": "Queues and workers",
            "is_known": work is not None,
            "batches": _up_to(waiting().order_by()[:MOST_COUNTED].count()),
            "queues": _table(QUEUE_HEADERS, [_queue_row(one) for one in work.queues] if work else []),
            "workers": _table(WORKER_HEADERS, [_worker_row(one) for one in work.workers] if work else []),
            "tasks": _table(TASK_HEADERS, [_task_row(one) for one in work.tasks] if work else []),
            "turns": _table(TURN_HEADERS, [[one.tenant.name, _ago(one)] for one in turns]),
        }
        return TemplateResponse(request, "admin/work.html", context)


def _queue_row(state: QueueState) -> list[Any]:
    return [
        state.queue.name,
        state.queue.purpose,
        count(state.waiting),
        _seconds(state.oldest_seconds) if state.waiting else "–",
        count(state.processes) if state.processes else "none: nobody works here",
    ]


def _worker_row(worker: WorkerState) -> list[Any]:
    running = (f"{_short(task)} for {_seconds(seconds)}" for task, seconds in worker.running[:MOST_SHOWN])
    return [worker.name, ", ".join(worker.queues), count(worker.processes), ", ".join(running) or "–"]


def _task_row(task: TaskState) -> list[Any]:
    runs = sum(task.runs.values())
    return [
        _short(task.name),
        task.queue.name,
        *(count(number) if number else "–" for number in task.runs.values()),
        f"{task.seconds / runs:.2f}",
        _seconds(task.waited_seconds / runs),
    ]


def _table(headers: list[str], rows: list[list[Any]]) -> dict[str, Any]:
    return {"headers": headers, "rows": rows}


def _short(task: str) -> str:
    """A task's name as people read it."""
    return task.rpartition(".")[2].replace("_", " ")


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _ago(turn: BatchTurn) -> str:
    return f"{_seconds((now() - turn.at).total_seconds())} ago"


def _up_to(number: int) -> str:
    return f"{number:,}" if number < MOST_COUNTED else f"{MOST_COUNTED:,} or more"
