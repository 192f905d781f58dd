"""`/v1/jobs`: the deferred calls of a tenant, their answers, and their cancellation.

Invariant: a view parses and renders; what is to be done is written down, and Celery does it.
"""

import asyncio

import structlog
from django.http import HttpRequest, HttpResponse

from llm.calls.job_objects import job_object
from llm.errors import InvalidRequest
from llm.jobs import requests
from llm.tasks import advance_jobs
from llm.views import schemas
from llm.views.base import AsyncAPIView, json_response
from llm.views.documented import OF_EVERY_CALL, operation, query
from llm.views.pages import page_of, page_parameters

STATUSES = ("queued", "running", "completed", "failed", "cancelled")
TAG = "Deferred calls"

log = structlog.get_logger(__name__)


class Jobs(AsyncAPIView):
    """`GET /v1/jobs?after=&limit=&status=`."""

    @operation(
        "listJobs",
        "The tenant's deferred calls, without their answers",
        tag=TAG,
        answers=schemas.JobList,
        parameters=(
            *page_parameters("1 to 100, 20 by default."),
            query("status", "Only those in this state.", *STATUSES),
        ),
        errors=(*OF_EVERY_CALL, 400),
    )
    async def get(self, request: HttpRequest) -> HttpResponse:
        page = page_of(request, largest=100, default=20)
        status = request.GET.get("status", "")
        if status and status not in STATUSES:
            raise InvalidRequest(f"'status' must be one of {', '.join(STATUSES)}.", param="status")
        rows, has_more = await requests.list_jobs(
            self.principal.tenant_id,
            after=page.after,
            limit=page.limit,
            is_ascending=page.is_ascending,
            status=status,
        )
        return json_response(page.render([job_object(row) for row in rows], has_more=has_more))


class Job(AsyncAPIView):
    """`GET /v1/jobs/{id}?wait=SECONDS`."""

    @operation(
        "getJob",
        "One deferred call, and its answer",
        tag=TAG,
        answers=schemas.JobObject,
        parameters=(
            query("wait", "Answer when the job is over, or after so many seconds: 0 to 60.", kind=float),
        ),
    )
    async def get(self, request: HttpRequest, job_id: str) -> HttpResponse:
        row = await requests.wait_for_job(
            self.principal.tenant_id, public_id=job_id, seconds=_seconds_of(request)
        )
        return json_response(job_object(row))


class CancelJob(AsyncAPIView):
    """`POST /v1/jobs/{id}/cancel`."""

    @operation("cancelJob", "Cancel a deferred call", tag=TAG, answers=schemas.JobObject)
    async def post(self, request: HttpRequest, job_id: str) -> HttpResponse:
        row = await requests.cancel_job(self.principal.tenant_id, public_id=job_id)
        await _advance_soon()
        return json_response(job_object(row))


def _seconds_of(request: HttpRequest) -> float:
    written = request.GET.get("wait", "0")
    try:
        seconds = float(written)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= requests.LONGEST_WAIT_SECONDS:
        raise InvalidRequest(
            f"'wait' must be a number of seconds from 0 to {requests.LONGEST_WAIT_SECONDS}.", param="wait"
        )
    return seconds


async def _advance_soon() -> None:
    """Ask a worker to give the hold back now. Without a broker the beat's next tick does it."""
    try:
        await asyncio.wait_for(asyncio.to_thread(advance_jobs.apply_async, retry=False), timeout=2)
    except Exception as error:
        log.warning("job_waits_for_beat", error=type(error).__name__)
