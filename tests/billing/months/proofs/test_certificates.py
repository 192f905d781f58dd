"""A closed month has a certificate that anybody can check, and that claims no more than the providers' reports say."""

import copy
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction

from billing.contracts.entries import propose_entry
from billing.models import Certificate, CertificateAnnex, MonthJob, Statement
from billing.months.certificates.issuing import as_file
from billing.months.exports.certificate_files import FORMATS, write_file
from billing.months.files import bytes_of
from billing.months.jobs.approving import ask, confirm
from billing.months.proofs import verify
from billing.months.statements import as_issued, first_break
from billing.reconciliation.comparing import BilledAccount, compare, store_report
from billing.reconciliation.line_items import LineItem
from billing.reconciliation.provider_reports import ProviderReport, ReportLine
from tests.billing.shop import Shop

Line = tuple[str, str, int]  # meter, USD, tokens
ONE_CALL: tuple[Line, ...] = (("input", "0.0025", 1000), ("output", "0.005", 500))


@pytest.fixture
def shop(shop: Shop) -> Shop:
    """A tenant with a provider account that is only its own."""
    shop.provider = f"account-{uuid4().hex[:8]}"
    shop.price("input", Decimal("2.5"))
    shop.price("output", Decimal(10))
    return shop


def report(shop: Shop, day: date, *lines: Line) -> None:
    """What the provider says of a day."""
    told = tuple(
        ReportLine(day, f"gpt-4o, {meter}", LineItem("gpt-4o", meter), Decimal(usd), Decimal(tokens))
        for meter, usd, tokens in lines
    )
    account = BilledAccount(provider=shop.provider, kind="openai", upstreams={shop.model: "gpt-4o"})
    store_report(account, ProviderReport(frozenset({day}), told), source="upload", content=b"x")
    compare(shop.provider, first=day, last=day, is_quiet=True)


def close(shop: Shop, at: datetime, **options: Any) -> Statement:
    """With the files of the certificate alone."""
    return Statement.objects.get(pk=shop.close(at, **options).pk)


def body_of(statement: Statement) -> dict[str, Any]:
    return json.loads(statement.certified.text)


def groups_of(statement: Statement) -> dict[str, tuple[int, str, str]]:
    groups = body_of(statement)["claims"]["calls"]["groups"]
    return {one["group"]: (one["rows"], one["billed_usd"], one["share"]) for one in groups}


def files_of(statement: Statement) -> tuple[dict[str, Any], dict[str, Any]]:
    """The certificate and the statement as they are handed out."""
    file = statement.files.get(format="certificate")
    return json.loads(bytes_of(file)), json.loads(json.dumps(as_issued(statement)))


def test_it_works(shop: Shop, last_month: datetime) -> None:
    """Three days: one as billed, one at another price, one without a report."""
    days = [last_month + timedelta(days=number) for number in range(3)]
    for day in days:
        shop.call(day)
    report(shop, days[0].date(), *ONE_CALL)
    report(shop, days[1].date(), ("input", "0.5", 1000), ONE_CALL[1])
    propose_entry(
        shop.tenant,
        kind="credit",
        amount_usd=Decimal("0.001"),
        reason="an outage",
        month=f"{last_month:%Y-%m}",
    )
    statement = close(shop, last_month)
    assert groups_of(statement) == {
        "explained": (1, "0.0075", "0.333333"),
        "price": (1, "0.0075", "0.333334"),
        "not_reported": (1, "0.0075", "0.333334"),
    }
    body = body_of(statement)
    assert body["claims"]["others"] == [{"what": "credit", "rows": 1, "billed_usd": "-0.001"}]
    (account,) = body["claims"]["accounts"]
    assert (account["account"], account["days_reported"], len(account["reports"])) == (shop.provider, 2, 2)
    shares = {one["group"]: one["share"] for one in account["shares"]}
    assert shares == {"explained": "0.024390", "price": "0.975610"}
    said = verify.check_certificate(*_with_statement(statement))
    assert said[0] == f"the certificate is the one that {statement.code} was issued with"
    assert first_break(shop.tenant) is None


def _with_statement(statement: Statement) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    certificate, issued = files_of(statement)
    return certificate, [issued]


def test_without_a_report_nothing_is_claimed(shop: Shop, last_month: datetime) -> None:
    shop.call(last_month)
    statement = close(shop, last_month)
    claims = body_of(statement)["claims"]
    assert claims["is_made"] is False
    assert groups_of(statement) == {"not_reported": (1, "0.0075", "1.000000")}
    assert [account["shares"] for account in claims["accounts"]] == [[]]
    said = verify.check_certificate(*_with_statement(statement))
    assert "no report of a provider was there: nothing is claimed" in said


def test_a_month_without_calls_has_a_certificate(shop: Shop, last_month: datetime) -> None:
    statement = close(shop, last_month)
    assert body_of(statement)["claims"]["calls"] == {"rows": 0, "billed_usd": "0", "groups": []}
    verify.check_certificate(*_with_statement(statement))


def test_a_model_is_as_good_as_the_worst_of_its_meters(shop: Shop, last_month: datetime) -> None:
    shop.call(last_month)
    report(shop, last_month.date(), ONE_CALL[0], ("output", "0.9", 500))
    assert set(groups_of(close(shop, last_month))) == {"price"}


def test_a_tenant_learns_no_amount_of_a_bill(shop: Shop, last_month: datetime) -> None:
    shop.call(last_month)
    report(shop, last_month.date(), *ONE_CALL, ("cache_read", "123.456789", 1_000_000))
    statement = close(shop, last_month)
    annex = json.loads(statement.annex.text)
    assert annex["accounts"][0]["billed_usd"] == "123.464289"
    told = bytes_of(statement.files.get(format="certificate")).decode()
    assert "123.4" not in told
    assert body_of(statement)["annex_sha256"] == hashlib.sha256(statement.annex.text.encode()).hexdigest()
    certificate, issued = files_of(statement)
    said = verify.check_certificate(certificate, [issued, annex])
    assert "the annex is the certificate's" in said
    annex["accounts"][0]["billed_usd"] = "1"
    with pytest.raises(verify.NotProven, match="annex"):
        verify.check_certificate(certificate, [issued, annex])


def test_it_says_who_asked_and_who_confirmed(shop: Shop, last_month: datetime) -> None:
    shop.tenant.policy = {"closing": {"four_eyes": True, "grace_hours": 0}}
    shop.tenant.save()
    shop.call(last_month)
    asker, other = (User.objects.create_superuser(f"{name}-{uuid4().hex[:6]}") for name in ("ann", "ben"))
    ask(shop.period(last_month), acting_user=asker)
    confirm(shop.period(last_month), acting_user=other)
    MonthJob.objects.filter(tenant=shop.tenant).delete()  # it is done here
    statement = close(shop, last_month, acting_user=other)
    assert body_of(statement)["closed"] == {
        "four_eyes": True,
        "asked_by": asker.username,
        "confirmed_by": other.username,
        "closed_by": other.username,
        "forced_reason": "",
    }
    said = verify.check_certificate(*_with_statement(statement))
    assert said[-1] == f"closed asked for by {asker.username}, confirmed by {other.username}"


def test_the_same_certificate_makes_the_same_bytes(shop: Shop, last_month: datetime, tmp_path: Path) -> None:
    shop.call(last_month)
    report(shop, last_month.date(), *ONE_CALL)
    statement = close(shop, last_month)
    for name in FORMATS:
        path = tmp_path / name
        with path.open("wb") as out:
            write_file(statement.certified, name, out)
        assert path.read_bytes() == bytes_of(statement.files.get(format=name))
    assert bytes_of(statement.files.get(format="certificate-pdf")).startswith(b"%PDF")


def test_a_certificate_is_written_once(shop: Shop, last_month: datetime) -> None:
    statement = close(shop, last_month)
    for table in (Certificate, CertificateAnnex):
        with pytest.raises(IntegrityError), transaction.atomic():
            table.objects.filter(statement=statement).update(text="{}")
        with pytest.raises(IntegrityError), transaction.atomic():
            table.objects.filter(statement=statement).delete()


def test_a_certificate_that_was_changed_in_the_database_is_a_break(shop: Shop, last_month: datetime) -> None:
    statement = close(shop, last_month)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute("UPDATE billing_certificate SET text = '{}' WHERE statement_id = %s", (statement.pk,))
        found = first_break(shop.tenant)
        transaction.set_rollback(True)
    assert found is not None
    assert found.what == "its certificate is not the one that was issued"


def text_says(*path: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    """Another value in the certificate's text."""

    def change(body: dict[str, Any]) -> None:
        *steps, last = path
        place: Any = body
        for step in steps:
            place = place[step]
        place[last] = value

    return change


def another_group(body: dict[str, Any]) -> None:
    body["claims"]["calls"]["groups"][1]["group"] = "explained"


def moved_to_explained(body: dict[str, Any]) -> None:
    first, second, *_ = body["claims"]["calls"]["groups"]
    first["billed_usd"], second["billed_usd"] = "0.015", "0"
    first["share"], second["share"] = "0.666666", "0"


@pytest.mark.parametrize(
    "change",
    [
        text_says("claims", "calls", "groups", 0, "billed_usd", value="0.0076"),
        text_says("claims", "calls", "groups", 0, "share", value="1"),
        text_says("claims", "calls", "groups", 0, "share", value="0.333334"),
        text_says("claims", "calls", "groups", 0, "rows", value=2),
        text_says("claims", "calls", "billed_usd", value="NaN"),
        text_says("claims", "is_made", value=False),
        text_says("claims", "accounts", 0, "days_reported", value=0),
        text_says("closed", "four_eyes", value=True),
        text_says("closed", "forced_reason", value="because"),
        text_says("month", value="2020-01"),
        text_says("exact_usd", value="1"),
        text_says("total", value="1e99999999"),
        text_says("rows", value=7),
        text_says("statement", value="ST-1"),
        text_says("claims", "calls", "groups", value=None),
        text_says("claims", value=[]),
        another_group,
        moved_to_explained,
    ],
    ids=lambda change: getattr(change, "__name__", ""),
)
@pytest.mark.parametrize("is_resealed", [False, True])
def test_a_certificate_that_was_changed_is_refused(
    shop: Shop, last_month: datetime, change: Callable[[dict[str, Any]], None], is_resealed: bool
) -> None:
    """Also where somebody made the digests anew: then its figures do not fit, or the digest is not the one that was printed."""
    for number in range(3):
        shop.call(last_month + timedelta(days=number))
    report(shop, last_month.date(), *ONE_CALL)
    report(shop, (last_month + timedelta(days=1)).date(), ("input", "0.5", 1000), ONE_CALL[1])
    statement = close(shop, last_month)
    certificate, issued = files_of(statement)
    changed, facts = copy.deepcopy(certificate), copy.deepcopy(issued)
    body = json.loads(changed["text"])
    change(body)
    changed["text"] = json.dumps(body, sort_keys=True, separators=(",", ":"))
    if is_resealed:
        if change is moved_to_explained:
            pytest.skip(
                "a certificate that fits in itself has another digest: compare it with the printed one"
            )
        facts["facts"]["certificate"] = hashlib.sha256(changed["text"].encode()).hexdigest()
        facts["digest"] = verify.digest_of(facts["previous_digest"], facts["facts"])
    with pytest.raises(verify.NotProven):
        verify.check_certificate(changed, [facts])


def test_another_months_certificate_is_refused(
    shop: Shop, month_before: datetime, last_month: datetime
) -> None:
    first, second = (close(shop, at) for at in (month_before, last_month))
    with pytest.raises(verify.NotProven, match="statement is not given"):
        verify.check_certificate(as_file(first.certified), [as_issued(second)])
    moved = {**as_file(first.certified), "statement": second.code}
    with pytest.raises(verify.NotProven):
        verify.check_certificate(moved, [as_issued(first), as_issued(second)])


def test_the_program_checks_it_offline(shop: Shop, last_month: datetime, tmp_path: Path) -> None:
    shop.call(last_month)
    report(shop, last_month.date(), *ONE_CALL)
    statement = close(shop, last_month)
    certificate, issued = files_of(statement)
    paths = [tmp_path / "certificate.json", tmp_path / "statement.json", tmp_path / "annex.json"]
    annex = json.loads(statement.annex.text)
    for path, content in zip(paths, (certificate, issued, annex), strict=True):
        path.write_text(json.dumps(content))
    done = subprocess.run(
        [sys.executable, "-I", verify.__file__, *map(str, paths)],
        capture_output=True,
        text=True,
        check=False,
        env={},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "explained: 0.0075 USD of 0.0075, 1.000000" in done.stdout
    assert done.stdout.endswith(f"digest of {statement.code}: {statement.digest}\n")
    certificate["text"] = certificate["text"].replace('"0.0075"', '"0.0076"')
    paths[0].write_text(json.dumps(certificate))
    done = subprocess.run(
        [sys.executable, "-I", verify.__file__, *map(str, paths)],
        capture_output=True,
        text=True,
        check=False,
        env={},
    )
    assert done.returncode == 1
    assert done.stderr.startswith("NOT PROVEN")
