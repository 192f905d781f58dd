"""Long work on a month is done once, whoever asks and whoever is killed."""

import io
import os
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection
from django.utils.timezone import now

from billing.models import BillingPeriod, MonthFile, MonthJob, Statement
from billing.months import closing
from billing.months.exports import ASKED, STORED, certificate_files, export
from billing.months.files import bytes_of, pieces_of
from billing.months.jobs import asking, keeping, working
from billing.months.report import InvalidMonth, loaded, opened_month
from billing.months.statements import first_break
from tenants import contents
from tests.billing.shop import Shop

FORMATS = ("csv", "xlsx", "json", "parquet", "focus-1.4", "pdf")


@pytest.fixture(autouse=True)
def nothing_else_waits(shop: Shop, without_workers: None) -> None:
    MonthJob.objects.filter(state="queued").update(state="failed", finished_at=now())
    MonthJob.objects.filter(state="running").update(
        state="failed", finished_at=now(), worker=None, leased_until=None
    )


def content_of(file: MonthFile) -> bytes:
    return b"".join(contents.pieces_of(file.tenant_id or working.PLATFORM, file.location))


def some_calls(shop: Shop, at: datetime) -> None:
    for number in range(12):
        shop.call(
            at, {"input": 1000 + number, "output": 5}, user=f"user-{number % 5}", cost_center=f"{number % 3}"
        )
    shop.hit(at)


def stored_by(tenant_id: int) -> set[str]:
    folder = Path(settings.STORAGES["files"]["OPTIONS"]["location"])
    return {str(path.relative_to(folder)) for path in (folder / str(tenant_id)).rglob("*") if path.is_file()}


def test_it_works(shop: Shop, last_month: datetime) -> None:
    some_calls(shop, last_month)
    month = f"{last_month:%Y-%m}"
    job = asking.ask_report(shop.tenant, month=month, formats=FORMATS)
    assert working.work_next() == job
    job.refresh_from_db()
    assert (job.state, job.step, job.worker) == ("done", "", None)
    assert job.done == job.total > 0
    files = {file.name: file for file in job.files.all()}
    assert len(files) == sum(len(ASKED[name]) for name in FORMATS)
    with opened_month(shop.tenant, month=month, made_at=job.made_at) as report:
        for name in ("csv", "json", "pdf"):
            out = io.BytesIO()
            export(report, name, out)
            assert content_of(job.files.get(format=name)) == out.getvalue(), name
    assert {file.location for file in files.values()} == stored_by(shop.tenant.pk)


def test_who_asks_again_gets_the_job_that_is_there(shop: Shop, last_month: datetime) -> None:
    month = f"{last_month:%Y-%m}"
    job = asking.ask_report(shop.tenant, month=month, formats=["csv"])
    again = asking.ask_report(shop.tenant, month=month, formats=["json", "csv"])
    assert (again.pk, again.formats) == (job.pk, ["csv", "json"])
    working.work_next()
    assert asking.ask_report(shop.tenant, month=month, formats=["csv"]).pk != job.pk


def test_what_cannot_be_is_refused(shop: Shop) -> None:
    with pytest.raises(asking.UnknownFormat):
        asking.ask_report(shop.tenant, month="2026-01", formats=["docx"])
    with pytest.raises(InvalidMonth):
        asking.ask_report(shop.tenant, month="2026-13", formats=["csv"])
    for number in range(asking.MOST_OPEN):
        asking.ask_report(shop.tenant, month=f"20{number + 10}-01", formats=["csv"])
    with pytest.raises(asking.TooManyJobs):
        asking.ask_report(shop.tenant, month="2026-01", formats=["csv"])


def test_tenants_take_turns(shop: Shop) -> None:
    from tests.billing.shop import open_shop

    other = open_shop()
    first = [asking.ask_report(shop.tenant, month=f"2020-0{one}", formats=["csv"]) for one in (1, 2)]
    second = asking.ask_report(other.tenant, month="2020-01", formats=["csv"])
    assert [working.work_next() for _ in range(3)] == [first[0], second, first[1]]


def test_a_worker_that_lost_its_lease_changes_nothing(shop: Shop, last_month: datetime) -> None:
    some_calls(shop, last_month)
    job = asking.ask_report(shop.tenant, month=f"{last_month:%Y-%m}", formats=["csv"])
    lost = working._take()
    assert lost == job
    MonthJob.objects.filter(pk=job.pk).update(leased_until=now() - timedelta(seconds=1))
    assert working.count_due(most=9) == 1
    assert working.work_next() == job
    before = list(job.files.values())
    working.work_on(lost)
    job.refresh_from_db()
    assert (job.state, list(job.files.values())) == ("done", before)


def test_files_that_are_old_are_forgotten(shop: Shop, last_month: datetime) -> None:
    some_calls(shop, last_month)
    job = asking.ask_report(shop.tenant, month=f"{last_month:%Y-%m}", formats=["csv"])
    working.work_next()
    keeping.forget_old()
    assert stored_by(shop.tenant.pk)
    keeping.forget_old(now() + keeping.KEPT_FOR + timedelta(minutes=1))
    assert not MonthJob.objects.filter(pk=job.pk).exists()
    assert not stored_by(shop.tenant.pk)


def killed_at_each(job: MonthJob, place: str, *counts: int) -> int:
    """How many workers of a job were killed, each at another place, before one came to its end."""
    database = connection.settings_dict
    url = f"postgresql://{database['USER']}:{database['PASSWORD']}@{database['HOST']}:{database['PORT']}/{database['NAME']}"
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.billing.months.jobs.killed_worker",
            str(job.pk),
            place,
            *map(str, counts),
        ],
        env=os.environ
        | {"DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "config.settings", "LOG_LEVEL": "ERROR"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return int(run.stdout.splitlines()[-1])


@pytest.mark.parametrize(("place", "counts", "least"), [("step", (1, 2, 3), 8), ("save", (1, 2, 3, 4, 5), 3)])
def test_a_report_comes_to_the_same_end_wherever_its_worker_is_killed(
    shop: Shop, last_month: datetime, place: str, counts: tuple[int, ...], least: int
) -> None:
    some_calls(shop, last_month)
    month = f"{last_month:%Y-%m}"
    job = asking.ask_report(shop.tenant, month=month, formats=FORMATS)
    assert killed_at_each(job, place, *counts) >= least
    job.refresh_from_db()
    assert job.files.count() == sum(len(ASKED[name]) for name in FORMATS)
    assert {file.location for file in job.files.all()} == stored_by(shop.tenant.pk)
    with opened_month(shop.tenant, month=month, made_at=job.made_at) as opened:
        report = loaded(opened)
    for file in job.files.all():
        kind = next(kind for kind in ASKED[file.format] if file.name.endswith(kind.suffix))
        out = io.BytesIO()
        kind.write(report, out)
        if file.format != "xlsx":  # a zip has the moment at which it was packed
            assert content_of(file) == out.getvalue(), file.name


@pytest.mark.parametrize("steps", [(1, 2, 3, 4, 5, 6, 7, 4), (8, 5)])
def test_a_close_comes_to_the_same_end_wherever_its_worker_is_killed(
    shop: Shop, last_month: datetime, steps: tuple[int, ...]
) -> None:
    some_calls(shop, last_month)
    period = shop.period(last_month)
    job = asking.ask_close(period, reason="the test does not wait")
    assert killed_at_each(job, "step", *steps) >= len(steps)
    statement = Statement.objects.get(period=period)
    assert (statement.record_count, statement.exact_usd) == (13, shop.ledger_sum())
    assert first_break(shop.tenant) is None
    assert set(statement.files.values_list("format", flat=True)) == {
        "statement",
        *certificate_files.FORMATS,
        *STORED,
    }
    assert {file.location for file in statement.files.all()} == stored_by(shop.tenant.pk)
    with opened_month(shop.tenant, month=period.label, made_at=statement.issued_at) as report:
        for name in ("csv", "json", "focus", "pdf"):
            out = io.BytesIO()
            export(report, name, out)
            assert bytes_of(statement.files.get(format=name)) == out.getvalue(), name


def test_a_month_that_was_left_closing_is_closed(shop: Shop, last_month: datetime) -> None:
    some_calls(shop, last_month)
    period = shop.period(last_month)
    closing.begin(period, forced_reason="now")
    asking.ask_for_left_closings()
    asking.ask_for_left_closings()
    assert MonthJob.objects.filter(tenant=shop.tenant, kind="close").count() == 1
    while working.work_next():
        pass
    assert BillingPeriod.objects.get(pk=period.pk).status == "closed"
    assert first_break(shop.tenant) is None
    assert len(list(pieces_of(Statement.objects.get(period=period).files.get(format="statement")))) == 1
