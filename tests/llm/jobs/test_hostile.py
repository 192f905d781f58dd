"""Webhooks that are slow, lead elsewhere or say too much; clients that wait by the thousand."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from llm.jobs import requests
from llm.jobs.notifying import MOST_OF_A_TENANT, notify_due
from llm.models import DeferredJob
from tests.llm.jobs.test_notices import finished, member_with, of, receiver
from tests.orm import in_thread
from tests.world import Member

__all__ = ["receiver"]

Answer = Callable[[BaseHTTPRequestHandler], None]


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], str]]:
    """Start a receiver that answers as it is told; its address."""
    servers: list[ThreadingHTTPServer] = []

    def start(answer: Answer) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                answer(self)

            def log_message(self, *arguments: Any) -> None:
                pass

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/hook"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def hooked(make_tenant: Callable[..., Member], url: str) -> Member:
    return make_tenant(channels=[{"name": "ops", "kind": "webhook", "url": url, "secret": "hush"}])


LATER = timezone.now() + timedelta(hours=1)  # no worker of another test sends them before


def notify() -> None:
    notify_due(now=LATER)


def state(job: DeferredJob) -> tuple[int, bool]:
    job.refresh_from_db()
    return job.notices, job.is_notified


def test_it_works_for_others_while_one_webhook_is_slow(make_tenant, receiver, serve):
    is_over = threading.Event()
    slow = hooked(make_tenant, serve(lambda request: (is_over.wait(15), None)[1]))
    slow_jobs = [finished(slow, notify_at=LATER) for _ in range(MOST_OF_A_TENANT + 5)]
    other = finished(member_with(make_tenant, receiver), notify_at=LATER)
    notify()
    is_over.set()
    assert (len(of(receiver, other)), state(other)) == (1, (1, True))
    tried = [state(job) for job in slow_jobs]
    assert tried.count((1, False)) == MOST_OF_A_TENANT
    assert tried.count((0, False)) == 5  # their turn comes later


def test_an_answer_of_ten_megabytes_is_not_read(make_tenant, serve):
    sent: list[int] = []

    def flood(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("content-length", str(10 * 2**20))
        request.end_headers()
        try:
            for _ in range(10):
                request.wfile.write(b"x" * 2**20)
                sent.append(2**20)
        except OSError:
            pass

    job = finished(hooked(make_tenant, serve(flood)), notify_at=LATER)
    notify()
    assert state(job) == (1, True)
    assert sum(sent) < 10 * 2**20


def test_a_redirect_is_a_failure_and_not_followed(make_tenant, receiver):
    job = finished(member_with(make_tenant, receiver), notify_at=LATER)
    receiver.statuses = [302]
    notify()
    assert len(of(receiver, job)) == 1
    assert state(job) == (1, False)


def test_a_private_address_gets_nothing_unless_the_operator_allows_it(make_tenant, receiver, settings):
    job = finished(member_with(make_tenant, receiver), notify_at=LATER)
    settings.WEBHOOKS_MAY_BE_PRIVATE = False
    notify()
    assert of(receiver, job) == []
    assert state(job) == (1, False)


def waiting_job(member: Member) -> DeferredJob:
    now = timezone.now()
    return DeferredJob.objects.create(
        tenant_id=member.id,
        public_id=f"job_{uuid4().hex}",
        key_id=1,
        key_name="main",
        endpoint="/v1/chat/completions",
        status="queued",
        lane="batch",
        request_id=uuid4(),
        attempt_id=uuid4(),
        model_asked="m",
        created_at=now,
        deadline_at=now + timedelta(hours=1),
        move_up_at=now + timedelta(minutes=30),
    )


@pytest.mark.usefixtures("loop_resources")
async def test_of_ten_thousand_clients_that_wait_few_do_and_the_others_get_the_job_as_it_is(make_tenant):
    member = await in_thread(make_tenant)
    job = await in_thread(waiting_job, member)
    places = asyncio.Semaphore(requests.MOST_OF_A_TENANT + 16)

    async def wait() -> str:
        async with places:
            row = await requests.wait_for_job(member.id, public_id=job.public_id, seconds=50)
        return str(row["status"])

    clients = [asyncio.create_task(wait()) for _ in range(10_000)]
    most = requests.MOST_OF_A_TENANT
    while sum(client.done() for client in clients) < len(clients) - most:
        await asyncio.sleep(0.05)
    assert {client.result() for client in clients if client.done()} == {"queued"}
    same = DeferredJob.objects.filter(pk=job.pk)
    await in_thread(lambda: same.update(status="cancelled", finished_at=timezone.now()))
    statuses = await asyncio.gather(*clients)
    assert statuses.count("cancelled") == most
