"""Real receivers: an HTTP server that keeps what it is sent, and a mail server of thirty lines.

Invariant: both listen on 127.0.0.1, on a free port, and are gone after the test.
"""

import email
import secrets
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.utils.timezone import now

from billing.alerts.outbox import queue_deliveries
from billing.models import AlertChannel, AlertDelivery, AlertEvent, AlertFinding, AlertRule
from tenants.models import Tenant


@dataclass
class Receiver:
    """An HTTP server; answers `statuses` one by one, then 200."""

    url: str
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            heard.requests.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(heard.statuses.pop(0) if heard.statuses else 200)
            self.send_header("location", f"{heard.url}/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    heard = Receiver(url=f"http://127.0.0.1:{server.server_port}/hook")
    yield from _serve(server, heard)


@dataclass
class Mailbox:
    """A mail server; keeps every message it took."""

    port: int
    messages: list[EmailMessage] = field(default_factory=list)


@pytest.fixture
def mailbox(settings: Any) -> Iterator[Mailbox]:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self._say("220 sink")
            while line := self.rfile.readline().decode().strip():
                match line.split()[0].upper():
                    case "DATA":
                        self._say("354 go on")
                        lines = []
                        while (data := self.rfile.readline()) != b".\r\n":
                            lines.append(data.removeprefix(b"."))
                        box.messages.append(
                            email.message_from_bytes(b"".join(lines), policy=email.policy.default)
                        )
                        self._say("250 kept")
                    case "QUIT":
                        self._say("221 bye")
                        return
                    case _:
                        self._say("250 sink")

        def _say(self, text: str) -> None:
            self.wfile.write(f"{text}\r\n".encode())

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    box = Mailbox(port=server.server_address[1])
    # locmem is pytest-django's; the real backend talks to the real server
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", box.port
    yield from _serve(server, box)


def _serve(server: socketserver.BaseServer, heard: Any) -> Iterator[Any]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield heard
    server.shutdown()
    server.server_close()
    thread.join()


@dataclass
class Desk:
    """A tenant of its own, with channels, and the events that happen to it."""

    tenant: Tenant

    def channel(self, kind: str, target: str, **fields: Any) -> AlertChannel:
        return AlertChannel.objects.create(
            tenant=self.tenant,
            name=f"{kind}-{secrets.token_hex(3)}",
            kind=kind,
            target=target,
            secret="hook-secret",
            **fields,
        )

    def rule(self, *channels: AlertChannel) -> AlertRule:
        rule = AlertRule.objects.create(tenant=self.tenant, metric="request_cost", threshold="0.50")
        rule.channels.set(channels)
        return rule

    def event(self, **fields: Any) -> AlertEvent:
        values = {
            "metric": "request_cost",
            "window_key": secrets.token_hex(8),
            "threshold": "0.50",
            "value": "0.7300",
            "message": f"Tenant {self.tenant.slug}: one request to gpt-4o cost 0.73 USD",
        }
        return AlertEvent.objects.create(tenant=self.tenant, **{**values, **fields})


@pytest.fixture
def desk(committed: None, without_workers: None) -> Iterator[Desk]:
    """Rows that are committed, since several deliverers must see them. Other tests' events are out of the way."""
    queue_deliveries(at=now())
    AlertDelivery.objects.filter(status="pending").update(status="dead")
    AlertFinding.objects.all().delete()
    tenant = Tenant.objects.create(slug=f"desk-{secrets.token_hex(4)}", name="Desk")
    yield Desk(tenant)
    AlertDelivery.objects.filter(event__tenant=tenant).delete()
    AlertEvent.objects.filter(tenant=tenant).delete()
