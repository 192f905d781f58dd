"""A storage that speaks S3, and the schedules that write to it."""

import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from django.utils.timezone import now
from moto.server import ThreadedMotoServer

from billing.deliveries import outbox
from billing.deliveries.schedules import save_schedule
from billing.models import MonthJob, ReportDelivery, ReportSchedule
from billing.months.jobs import working
from tests.billing.shop import Shop

BUCKET = "finance-reports"


@dataclass
class Storage:
    """A bucket on a real server, and what is in it."""

    endpoint: str

    @property
    def client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="a-key",
            aws_secret_access_key="a-secret",
        )

    def objects(self) -> dict[str, bytes]:
        listed = self.client.list_objects_v2(Bucket=BUCKET).get("Contents", [])
        return {
            one["Key"]: self.client.get_object(Bucket=BUCKET, Key=one["Key"])["Body"].read() for one in listed
        }


@pytest.fixture(autouse=True)
def nothing_else_waits(shop: Shop, without_workers: None) -> None:
    ReportSchedule.objects.all().delete()
    MonthJob.objects.filter(state="queued").update(state="failed", finished_at=now())


@pytest.fixture
def storage(settings: Any) -> Iterator[Storage]:
    settings.WEBHOOKS_MAY_BE_PRIVATE = True
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    _, port = server.get_host_and_port()
    try:
        found = Storage(f"http://127.0.0.1:{port}")
        # its buckets are the process's, not the server's
        urllib.request.urlopen(
            urllib.request.Request(f"{found.endpoint}/moto-api/reset", method="POST")
        ).close()
        found.client.create_bucket(Bucket=BUCKET)
        yield found
    finally:
        server.stop()


@pytest.fixture
def root(settings: Any, tmp_path: Path) -> Path:
    """The folder below which reports are delivered."""
    settings.REPORTS_FOLDER = str(tmp_path / "reports")
    (tmp_path / "reports").mkdir()
    return tmp_path / "reports"


def schedule_of(shop: Shop | None, **values: Any) -> ReportSchedule:
    facts = {"name": "books", "what": "report", "formats": ["csv"], "when": "close"}
    facts |= {"kind": "email", "target": "finance@example.com"} | values
    schedule = ReportSchedule(tenant=shop.tenant if shop else None, **facts)
    save_schedule(schedule)
    return schedule


def to_storage(storage: Storage) -> dict[str, Any]:
    keys = {"access_key": "a-key", "secret_key": "a-secret"}
    return {"kind": "s3", "target": f"{BUCKET}/purser", "endpoint": storage.endpoint, **keys}


def delivered(**options: Any) -> int:
    """What arrived of what is due, its files being made meanwhile."""
    arrived = outbox.deliver_due(**options)
    while working.work_next():
        pass
    ReportDelivery.objects.filter(state="waiting").update(next_try_at=options.get("at") or now())
    return arrived + outbox.deliver_due(**options)
