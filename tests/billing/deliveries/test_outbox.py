"""An occasion is delivered once, whole, where it should go; and what does not arrive is told."""

import hashlib
import http.server
import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils.timezone import now

from billing.deliveries import mail, outbox
from billing.models import AlertEvent, BillingPeriod, MonthJob, ReportDelivery, ReportSchedule
from billing.months.closing import begin
from billing.months.files import bytes_of
from billing.months.jobs import asking, working
from tests.billing.deliveries.conftest import BUCKET, Storage, delivered, schedule_of, to_storage
from tests.billing.shop import Shop, open_shop


def closed(shop: Shop, at: datetime) -> Any:
    """A month that is closed, with the files of its statement."""
    shop.call(at)
    period = shop.period(at)
    begin(period, grace=timedelta(0))
    asking.ask_close(period)
    while working.work_next():
        pass
    period.refresh_from_db()
    assert period.status == "closed"
    return period.statement


def only() -> ReportDelivery:
    return ReportDelivery.objects.get()


def test_it_works(shop: Shop, last_month: datetime, mailoutbox: list[Any]) -> None:
    """After a close a statement goes out with the bytes that it was sealed with."""
    schedule_of(shop, what="statement", formats=["statement", "pdf"])
    statement = closed(shop, last_month)
    assert delivered() == 1
    assert delivered() == 0
    (letter,) = mailoutbox
    assert letter.to == ["finance@example.com"]
    arrived = message_from_bytes(letter.message().as_bytes(linesep="\r\n"))
    sent = {
        part.get_filename(): part.get_payload(decode=True) for part in arrived.walk() if part.get_filename()
    }
    kept = {file.name: bytes_of(file) for file in statement.files.filter(format__in=["statement", "pdf"])}
    assert sent == kept
    assert (only().state, only().occasion) == ("delivered", f"close-{statement.period.label}")
    assert {one["sha256"] for one in only().files} == {
        hashlib.sha256(content).hexdigest() for content in kept.values()
    }


def test_a_pack_arrives_whole_in_a_storage(shop: Shop, last_month: datetime, storage: Storage) -> None:
    schedule_of(shop, what="pack", formats=[], **to_storage(storage))
    statement = closed(shop, last_month)
    month = statement.period.label
    assert delivered() == 1
    prefix = f"purser/{shop.tenant.slug}/{month}/close-{month}/"
    found = storage.objects()
    assert {key.removeprefix(prefix) for key in found} == {one["name"] for one in only().files}
    assert all(key.startswith(prefix) for key in found)
    assert len(found) == 8  # the certificate is in it, twice
    for file in statement.files.exclude(format="statement"):
        assert found[prefix + file.name] == bytes_of(file)
    assert only().place == f"s3://{BUCKET}/{prefix.rstrip('/')}"


def test_a_folder_gets_whole_files_again_and_again(shop: Shop, last_month: datetime, root: Path) -> None:
    schedule = schedule_of(shop, kind="folder", target="finance/in", formats=["csv", "json"])
    statement = closed(shop, last_month)
    assert delivered() == 1
    files = sorted(path for path in root.rglob("*") if path.is_file())
    place = (
        root
        / "finance"
        / "in"
        / shop.tenant.slug
        / statement.period.label
        / f"close-{statement.period.label}"
    )
    assert {path.parent for path in files} == {place}
    before = {path.name: path.read_bytes() for path in files}
    assert set(before) == {file.name for file in statement.files.filter(format__in=["csv", "json"])}
    (place / f".{files[0].name}.part").write_bytes(b"left by a worker that was killed")
    ReportDelivery.objects.filter(schedule=schedule).update(
        state="pending", delivered_at=None, next_try_at=now()
    )
    assert outbox.deliver_due() == 1
    assert {path.name: path.read_bytes() for path in place.iterdir()} == before


def test_no_link_in_a_folder_leads_out(shop: Shop, last_month: datetime, root: Path) -> None:
    outside = root.parent / "outside"
    outside.mkdir()
    (root / "finance").symlink_to(outside)
    schedule_of(shop, kind="folder", target="finance")
    closed(shop, last_month)
    assert delivered() == 0
    assert "leads out" in only().last_error
    assert list(outside.iterdir()) == []


def test_what_is_too_large_goes_as_links_that_end(
    shop: Shop, last_month: datetime, mailoutbox: list[Any], monkeypatch: Any
) -> None:
    monkeypatch.setattr(mail, "MOST_ATTACHED", 10)
    schedule = schedule_of(shop, formats=["csv"])
    statement = closed(shop, last_month)
    assert delivered() == 1
    (letter,) = mailoutbox
    assert letter.attachments == []
    (path,) = re.findall(r"https?://[^/]+(/portal/files/\S+)", letter.body)
    client = Client()
    answer = client.get(path)
    assert answer.status_code == 200
    assert b"".join(answer) == bytes_of(statement.files.get(format="csv"))
    assert client.get(path.replace("/files/", "/files/x")).status_code == 404
    ReportSchedule.objects.filter(pk=schedule.pk).update(is_active=False)
    assert client.get(path).status_code == 404


def test_a_link_ends_by_its_time(
    shop: Shop, last_month: datetime, mailoutbox: list[Any], monkeypatch: Any
) -> None:
    monkeypatch.setattr(mail, "MOST_ATTACHED", 10)
    schedule_of(shop)
    closed(shop, last_month)
    delivered()
    (path,) = re.findall(r"https?://[^/]+(/portal/files/\S+)", mailoutbox[0].body)
    monkeypatch.setattr("billing.deliveries.links.GOOD_FOR", timedelta(0))
    assert Client().get(path).status_code == 404


def test_the_open_month_goes_out_daily_once_a_day(shop: Shop, storage: Storage) -> None:
    at = now()
    shop.call(at)
    schedule = schedule_of(shop, when="daily", **to_storage(storage))
    month = shop.period(at).label
    assert delivered(at=at) == 0  # not due yet
    due = schedule.next_at
    assert due is not None
    assert delivered(at=due) == 1
    assert delivered(at=due + timedelta(minutes=1)) == 0
    assert only().occasion == f"day-{due:%Y-%m-%d}"
    assert only().month == (month if due.month == at.month else f"{due:%Y-%m}")
    schedule.refresh_from_db()
    assert schedule.next_at == due + timedelta(days=1)
    ReportSchedule.objects.filter(pk=schedule.pk).update(next_at=due - timedelta(days=3))
    outbox.queue_due(at=due + timedelta(minutes=2))
    assert ReportDelivery.objects.count() == 1  # days that were missed are not made up for


def test_a_month_goes_out_on_its_day(shop: Shop, last_month: datetime, mailoutbox: list[Any]) -> None:
    shop.call(last_month)
    schedule = schedule_of(shop, when="monthly", day=3)
    due = schedule.next_at
    assert due is not None
    before = (due.replace(day=1) - timedelta(days=1)).strftime("%Y-%m")
    assert delivered(at=due) == 1
    assert (only().month, only().occasion) == (before, f"month-{before}")
    assert len(mailoutbox) == 1


def test_all_tenants_go_out_when_the_last_of_them_is_closed(shop: Shop, root: Path) -> None:
    month, other = "2019-07", open_shop()
    bounds = {"starts_at": datetime(2019, 7, 1, tzinfo=UTC), "ends_at": datetime(2019, 8, 1, tzinfo=UTC)}
    periods = [
        BillingPeriod.objects.create(tenant=one.tenant, label=month, **bounds) for one in (shop, other)
    ]
    schedule_of(None, kind="folder", target="platform", formats=["csv"])
    for period, arrived in zip(periods, (0, 1), strict=True):
        begin(period, grace=timedelta(0))
        asking.ask_close(period)
        while working.work_next():
            pass
        assert delivered() == arrived
    assert (only().tenant, only().occasion) == (None, "close-2019-07")
    (file,) = (path for path in root.rglob("*") if path.is_file())
    assert file == root / "platform" / "all-tenants" / month / "close-2019-07" / f"platform-{month}.csv"


def test_a_paused_schedule_sends_nothing(shop: Shop, last_month: datetime, mailoutbox: list[Any]) -> None:
    schedule = schedule_of(shop)
    ReportSchedule.objects.filter(pk=schedule.pk).update(is_active=False)
    closed(shop, last_month)
    assert delivered() == 0
    assert not ReportDelivery.objects.exists()


def test_a_close_before_the_schedule_is_not_sent(
    shop: Shop, last_month: datetime, mailoutbox: list[Any]
) -> None:
    closed(shop, last_month)
    schedule = schedule_of(shop)
    assert delivered() == 0
    outbox.ask_now(schedule, month=f"{last_month:%Y-%m}")
    assert delivered() == 1
    assert len(mailoutbox) == 1


class Answers(http.server.BaseHTTPRequestHandler):
    """A storage that refuses, or leads elsewhere."""

    seen: list[str] = []
    status = 403

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        type(self).seen.append(self.path)
        self.send_response(self.status)
        self.send_header("location", "http://169.254.169.254/latest/meta-data/")
        self.end_headers()
        self.wfile.write(b"<Error><Code>AccessDenied</Code><Message>a-secret is wrong</Message></Error>")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def refusing() -> Iterator[http.server.ThreadingHTTPServer]:
    Answers.seen, Answers.status = [], 403
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_what_is_refused_is_tried_again_then_given_up_with_an_alert(
    shop: Shop, last_month: datetime, refusing: Any, settings: Any
) -> None:
    settings.WEBHOOKS_MAY_BE_PRIVATE = True
    storage = Storage(f"http://127.0.0.1:{refusing.server_address[1]}")
    schedule = schedule_of(shop, **to_storage(storage))
    closed(shop, last_month)
    at = now()
    assert delivered(at=at) == 0
    assert only().last_error == "the storage answered 403 AccessDenied"
    assert delivered(at=at) == 0
    assert len(Answers.seen) == 1  # not before its time
    for _ in range(outbox.MAX_ATTEMPTS):
        at += outbox.LONGEST_RETRY
        outbox.deliver_due(at=at)
    assert len(Answers.seen) == outbox.MAX_ATTEMPTS
    assert len({path.partition("?")[0] for path in Answers.seen}) == 1
    assert only().state == "dead"
    (event,) = AlertEvent.objects.filter(tenant=shop.tenant, metric=outbox.METRIC)
    assert "403 AccessDenied" in event.message
    assert outbox.retry(only())
    assert not outbox.retry(only())
    outbox.deliver_due(at=now())
    assert len(Answers.seen) == outbox.MAX_ATTEMPTS + 1
    assert schedule.pk == only().schedule_id


def test_no_redirect_is_followed(shop: Shop, last_month: datetime, refusing: Any, settings: Any) -> None:
    settings.WEBHOOKS_MAY_BE_PRIVATE = True
    Answers.status = 307
    storage = Storage(f"http://127.0.0.1:{refusing.server_address[1]}")
    schedule_of(shop, **to_storage(storage))
    closed(shop, last_month)
    assert delivered() == 0
    assert only().last_error.startswith("the storage answered 307")


def test_a_storage_that_became_private_is_not_reached(
    shop: Shop, last_month: datetime, storage: Storage, settings: Any
) -> None:
    schedule_of(shop, **to_storage(storage))
    closed(shop, last_month)
    settings.WEBHOOKS_MAY_BE_PRIVATE = False
    assert delivered() == 0
    assert "not a public address" in only().last_error
    settings.WEBHOOKS_MAY_BE_PRIVATE = True
    assert storage.objects() == {}


def test_a_secret_that_cannot_be_read_stops_nobody_else(
    shop: Shop, last_month: datetime, storage: Storage, mailoutbox: list[Any], settings: Any
) -> None:
    schedule_of(shop, name="storage", **to_storage(storage))
    settings.SECRET_KEY = "another one since"
    schedule_of(shop, name="mail")
    closed(shop, last_month)
    assert delivered() == 1
    assert len(mailoutbox) == 1
    assert "SECRET_KEY" in ReportDelivery.objects.get(schedule__name="storage").last_error


def test_files_that_cannot_be_made_end_the_delivery(shop: Shop, last_month: datetime) -> None:
    schedule = schedule_of(shop, formats=["parquet"])
    closed(shop, last_month)
    outbox.deliver_due()
    MonthJob.objects.filter(tenant=shop.tenant, state="queued").update(
        state="failed", error="the disk is full", finished_at=now()
    )
    ReportDelivery.objects.filter(schedule=schedule).update(next_try_at=now())
    outbox.deliver_due()
    assert (only().state, only().last_error) == ("dead", "no files: the disk is full")


def test_two_rounds_at_once_send_one_copy(shop: Shop, last_month: datetime, root: Path) -> None:
    from django.db import connections

    schedule_of(shop, kind="folder", target="x")
    closed(shop, last_month)
    outbox.queue_due(at=now())
    outbox.prepare(at=now())
    counts: list[int] = []

    def deliver() -> None:
        try:
            counts.append(outbox.deliver_due())
        finally:
            connections.close_all()

    workers = [threading.Thread(target=deliver) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sum(counts) == 1
    assert only().attempts == 1


def test_what_is_old_is_forgotten(shop: Shop) -> None:
    schedule, at = schedule_of(shop), now()
    for number, (days, state) in enumerate(((500, "dead"), (500, "pending"), (5, "dead"))):
        created_at = at - timedelta(days=days)
        ReportDelivery.objects.create(
            schedule=schedule, tenant=shop.tenant, occasion=f"o{number}", month="2025-01", state=state, created_at=created_at
        )  # fmt: skip
    assert outbox.prune(at=at) == 1
    assert set(ReportDelivery.objects.values_list("occasion", flat=True)) == {"o1", "o2"}
