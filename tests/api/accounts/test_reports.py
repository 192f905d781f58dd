"""The files of months over the API: asked for, made by a worker, taken, and nobody else's."""

import csv
import hashlib
import io
import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from decimal import Decimal
from email.message import Message
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.utils.timezone import now

from billing.models import BillingPeriod, MonthJob
from billing.months.closing import begin
from billing.months.jobs import asking, working
from billing.months.split_rules import set_split
from tenants.keys.editing import issue_key, set_rights
from tenants.models import ApiKey, Tenant
from tests.api.conftest import ask
from tests.billing.shop import Shop, month_ago
from tests.books import Books
from tests.world import Member, World


@pytest.fixture(autouse=True)
def nothing_else_waits(committed: None, without_workers: None) -> None:
    MonthJob.objects.filter(state="queued").update(state="failed", finished_at=now())


@dataclass
class Answer:
    status_code: int
    headers: Message
    content: bytes

    @property
    def text(self) -> str:
        return self.content.decode()

    def json(self) -> Any:
        return json.loads(self.content)


def read(world: World, path: str, member: Member | None = None) -> Answer:
    request = urllib.request.Request(
        f"{world.stack.base_url}{path}", headers={"authorization": f"Bearer {(member or world.acme).key}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return Answer(response.status, response.headers, response.read())
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.headers, error.read())


def month_of(world: World, books: Books) -> str:
    """A month in which there is usage."""
    ask(world.openai(), user="alice")
    books.settled(world.acme.id, count=1)
    return BillingPeriod.objects.filter(tenant=world.acme.id).latest("starts_at").label


def test_it_works(world: World, books: Books) -> None:
    month = month_of(world, books)
    asked = read(world, f"/v1/reports?month={month}&format=csv")
    assert (asked.status_code, asked.json()["status"], asked.json()["formats"]) == (202, "queued", ["csv"])
    assert int(asked.headers["retry-after"]) > 0
    more = read(world, f"/v1/reports?month={month}&format=focus-1.4")
    assert (more.json()["id"], more.json()["formats"]) == (asked.json()["id"], ["csv", "focus-1.4"])
    job = working.work_next()
    assert job is not None
    assert str(job.pk) == asked.json()["id"]
    made = read(world, f"/v1/reports?month={month}&format=csv")
    assert made.status_code == 200
    assert hashlib.sha256(made.content).hexdigest() == made.headers["x-purser-sha256"]
    rows = list(csv.DictReader(io.StringIO(made.text)))
    spent = sum((row.billed_cost for row in books.rows(world.acme.id)), Decimal(0))
    assert sum(Decimal(row["billed_cost_usd"]) for row in rows) == spent
    focus = read(world, f"/v1/reports?month={month}&format=focus-1.4").json()["data"]
    assert len(focus) == 3
    listed = read(world, f"/v1/reports?month={month}").json()["data"]
    assert len(listed) == 4
    for file in listed:
        assert len(read(world, file["url"]).content) == file["bytes"]
    assert read(world, f"/v1/reports?month={month}&format=csv&max_age=0").status_code == 202


def test_what_is_not_there_is_not_found(world: World, books: Books) -> None:
    month = month_of(world, books)
    assert read(world, f"/v1/reports?month={month}&format=docx").status_code == 400
    assert read(world, "/v1/reports?format=csv").status_code == 400
    assert read(world, "/v1/reports?month=1999-01").status_code == 404
    assert read(world, f"/v1/reports?month={month}&format=csv&max_age=x").status_code in (202, 400)
    for path in ("/v1/statements/ST-1", "/v1/statements/ST-1/files/csv", "/v1/reports/files/0"):
        assert read(world, path).status_code == 404


def test_statements_and_their_files(world: World, books: Books) -> None:
    month_of(world, books)
    tenant = Tenant.objects.get(pk=world.acme.id)
    period = BillingPeriod.objects.create(
        tenant=tenant, label="2020-01", starts_at="2020-01-01T00:00Z", ends_at="2020-02-01T00:00Z"
    )
    begin(period)
    asking.ask_close(period)
    working.work_next()
    (listed,) = read(world, "/v1/statements").json()["data"]
    statement = read(world, f"/v1/statements/{listed['id']}").json()
    assert statement["digest"] == listed["digest"]
    assert {file["format"] for file in statement["files"]} >= {"statement", "csv", "pdf", "xlsx"}
    for file in statement["files"]:
        content = read(world, file["url"])
        assert content.status_code == 200
        assert hashlib.sha256(content.content).hexdigest() == file["sha256"]
        assert read(world, file["url"], world.outsider).status_code == 404
    assert read(world, f"/v1/statements/{listed['id']}", world.outsider).status_code == 404
    assert read(world, "/v1/statements", world.outsider).json()["data"] == []


def test_another_tenants_files_are_a_404(world: World, books: Books) -> None:
    month = month_of(world, books)
    read(world, f"/v1/reports?month={month}&format=csv")
    working.work_next()
    (file,) = read(world, f"/v1/reports?month={month}").json()["data"]
    assert read(world, file["url"]).status_code == 200
    assert read(world, file["url"], world.outsider).status_code == 404
    assert read(world, f"/v1/reports?month={month}", world.outsider).status_code == 404


def test_a_persons_key_does_not_read_what_all_did(world: World, books: Books) -> None:
    month = month_of(world, books)
    tenant = Tenant.objects.get(pk=world.acme.id)
    _, secret = issue_key(tenant, name="alices", user="alice")
    assert ApiKey.objects.filter(tenant=tenant).count() == 2
    alices = Member(world.acme.slug, secret, world.acme.id)
    for path in (f"/v1/reports?month={month}", "/v1/statements"):
        answer = read(world, path, alices)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "right_missing")
        assert "'reports'" in answer.json()["error"]["message"]


def test_a_persons_key_reads_reports_with_the_right_to(world: World, books: Books) -> None:
    month = month_of(world, books)
    tenant = Tenant.objects.get(pk=world.acme.id)
    _, secret = issue_key(tenant, name="controllers", user="alice", rights=["reports"])
    alices = Member(world.acme.slug, secret, world.acme.id)
    assert read(world, f"/v1/reports?month={month}", alices).status_code == 200
    assert read(world, "/v1/statements", alices).status_code == 200


def test_the_right_counts_within_a_second(world: World, books: Books) -> None:
    month_of(world, books)
    key, secret = issue_key(Tenant.objects.get(pk=world.acme.id), name="auditors", user="alice")
    alices = Member(world.acme.slug, secret, world.acme.id)
    assert read(world, "/v1/statements", alices).status_code == 403
    assert set_rights(key, rights=["reports"])
    assert not set_rights(key, rights=["reports"])
    until = time.monotonic() + 10
    while read(world, "/v1/statements", alices).status_code != 200:
        assert time.monotonic() < until
        time.sleep(0.05)


def test_there_is_no_other_right(world: World) -> None:
    tenant = Tenant.objects.get(pk=world.acme.id)
    with pytest.raises(ValidationError):
        issue_key(tenant, name="root", user="alice", rights=["everything"])


def test_chargebacks_and_the_rules_that_made_them(world: World, books: Books) -> None:
    tenant = Tenant.objects.get(pk=world.acme.id)
    shop = Shop(tenant, ApiKey.objects.filter(tenant=tenant).earliest("pk"))
    shop.price("input", "2.5")
    at = month_ago()
    for center in ("4711", "shared", "shared"):
        shop.call(at, {"input": 1000}, cost_center=center)
    period, spent = shop.period(at), shop.ledger_sum()
    set_split(
        tenant, name="platform", source="cost_center", value="shared", method="fixed",
        shares=[["4711", "25"], ["0815", "75"]], first_month=period.label,
    )  # fmt: skip
    (rule,) = read(world, f"/v1/split-rules?month={period.label}").json()["data"]
    assert (rule["name"], rule["shares"][0]) == ("platform", {"cost_center": "4711", "percent": "25"})
    assert read(world, "/v1/split-rules?month=1999-01").json()["data"] == []
    assert read(world, f"/v1/chargebacks/{period.label}").status_code == 404  # it is open
    shop.close(at)
    (listed,) = read(world, "/v1/chargebacks").json()["data"]
    made = read(world, listed["url"]).json()
    assert sum(Decimal(item["exact_usd"]) for item in made["items"]) == Decimal(made["exact_usd"]) == spent
    assert {item["cost_center"] for item in made["items"]} >= {"4711", "0815"}
    one = read(world, f"{listed['url']}?cost_center=0815").json()["items"]
    assert [move["rule"] for move in one[0]["moved"]] == ["platform"]
    as_csv = list(csv.DictReader(io.StringIO(read(world, f"{listed['url']}?format=csv").text)))
    assert sum(Decimal(row["exact_usd"]) for row in as_csv) == spent
    for path in (listed["url"], "/v1/split-rules"):
        assert read(world, path, world.outsider).status_code in (200, 404)
    assert read(world, "/v1/chargebacks", world.outsider).json()["data"] == []
    assert read(world, listed["url"], world.outsider).status_code == 404
    _, secret = issue_key(tenant, name="alices", user="alice")
    for path in ("/v1/chargebacks", listed["url"], "/v1/split-rules"):
        answer = read(world, path, Member(tenant.slug, secret, tenant.pk))
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "right_missing")
