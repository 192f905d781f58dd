"""The report of a month that still runs: on its page and in its files it is the ledger's to the last digit."""

import csv
import io
import json
from decimal import Decimal

import pytest
from django.utils.timezone import now

from billing.ledger.rollups import rebuild_dirty
from billing.months.exports import STORED
from billing.months.jobs import working
from tenants.keys.editing import issue_key
from tests.billing.months.jobs.threadless import ThreadlessPulse
from tests.billing.shop import Shop
from tests.config.portal.conftest import House
from tests.config.portal.test_walls import statement_of

pytestmark = [
    pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume asynchronous iterators"),
    pytest.mark.usefixtures("without_workers"),
]


@pytest.fixture
def shop(house: House) -> Shop:
    """acme with calls of this month, a hit among them."""
    key, _ = issue_key(house.acme, name="main")
    shop = Shop(house.acme, key)
    shop.price("input", "2.5")
    shop.price("output", "10.000000000007")
    for user, team in (("alice", "4711"), ("bob", "0815"), ("=cmd()", "4711")):
        shop.call(now(), user=user, cost_center=team)
    shop.hit(now())
    while rebuild_dirty():
        pass
    return shop


@pytest.fixture(autouse=True)
def threadless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(working, "Pulse", ThreadlessPulse)


def month_of(shop: Shop) -> str:
    return shop.period(now()).label


def test_it_works(house: House, shop: Shop) -> None:
    fay, month = house.client(house.fay), month_of(shop)
    assert f"months/{month}/" in fay.get(house.at("months/")).text
    page = fay.get(house.at(f"months/{month}/")).text
    for name in STORED:
        assert f"months/{month}/{name}/" in page
    for seen in ("alice", "bob", "0815", shop.model, f"{shop.ledger_sum().normalize():f} USD exactly"):
        assert seen in page
    assert "/admin/" not in page


def test_its_files_are_those_of_closed_months_and_add_up_to_the_ledger(house: House, shop: Shop) -> None:
    fay, month = house.client(house.fay), month_of(shop)
    for name in STORED:
        assert fay.post(house.at(f"months/{month}/{name}/")).status_code == 302
    page = fay.get(house.at(f"months/{month}/")).text
    assert "Being made" in page
    assert "data-refreshes" in page  # it looks again by itself, as long as there is work
    assert "0.0 % of the lines are written" in page
    job = working.work_next()
    assert job is not None
    assert job.asked_by == house.fay
    assert "data-refreshes" not in fay.get(house.at(f"months/{month}/")).text
    files = {name: fay.get(house.at(f"months/{month}/{name}/")) for name in STORED}
    assert {answer.status_code for answer in files.values()} == {200}
    contents = {name: b"".join(answer) for name, answer in files.items()}
    for name, answer in files.items():
        assert f"{house.acme.slug}-{month}" in answer.headers["content-disposition"], name
        assert answer.headers["cache-control"] == "no-store"
    rows = list(csv.DictReader(io.StringIO(contents["csv"].decode())))
    assert sum(Decimal(row["billed_cost_usd"]) for row in rows) == shop.ledger_sum()
    assert all(not row["user"].startswith("=") for row in rows)
    whole = json.loads(contents["json"])
    assert Decimal(whole["totals"]["billed_cost_usd"]) == shop.ledger_sum()
    assert contents["pdf"][:5] == b"%PDF-"
    assert contents["xlsx"][:2] == b"PK"
    assert "provider_cost" not in contents["csv"].decode()


def test_a_closed_month_has_the_files_of_its_statement(house: House, shop: Shop) -> None:
    statement, fay = statement_of(house.acme), house.client(house.fay)
    page = fay.get(house.at("months/2020-01/")).text
    assert statement.code in page
    assert "months/2020-01/csv/" not in page
    answer = fay.get(house.at("months/2020-01/csv/"))
    assert answer.headers["location"] == house.at(f"months/{statement.number}/")


def test_a_month_or_a_format_that_there_is_not_is_not_found(house: House, shop: Shop) -> None:
    fay, month = house.client(house.fay), month_of(shop)
    for page in ("2026-13", "0000-01", "next", f"{month}/docx", f"{month}/parquet", "2026-13/csv"):
        assert fay.get(house.at(f"months/{page}/")).status_code == 404, page


def test_files_of_the_months_of_others_have_nothing_of_this_tenant(house: House, shop: Shop) -> None:
    house.client(house.fay).post(house.at(f"months/{month_of(shop)}/csv/"))
    working.work_next()
    charlie = house.client(house.charlie)
    other = f"/portal/t/{house.umbrella.slug}/months/{month_of(shop)}/csv/"
    assert charlie.get(other).status_code == 302, "there is none of this tenant's"
    assert charlie.post(other).status_code == 302
    working.work_next()
    assert shop.model not in b"".join(charlie.get(other)).decode()
    assert charlie.get(house.at(f"months/{month_of(shop)}/csv/")).status_code == 404
