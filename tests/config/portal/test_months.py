"""The report of a month that still runs: on its page and in its files it is the ledger's to the last digit."""

import csv
import io
import json
from datetime import UTC
from decimal import Decimal

import pytest
from django.db import connection
from django.utils.timezone import now

from billing.ledger.rollups import rebuild_dirty
from billing.months.exports import STORED
from config.portal.books import reports
from tenants import wall
from tenants.keys.editing import issue_key
from tenants.models import Tenant
from tests.billing.shop import Shop
from tests.config.portal.conftest import House
from tests.config.portal.test_walls import statement_of


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
    files = {name: fay.get(house.at(f"months/{month}/{name}/")) for name in STORED}
    assert {answer.status_code for answer in files.values()} == {200}
    for name, answer in files.items():
        assert f"{house.acme.slug}-{month}" in answer.headers["content-disposition"], name
        assert answer.headers["cache-control"] == "no-store"
    rows = list(csv.DictReader(io.StringIO(files["csv"].text)))
    assert sum(Decimal(row["billed_cost_usd"]) for row in rows) == shop.ledger_sum()
    assert all(not row["user"].startswith("=") for row in rows)
    whole = json.loads(files["json"].content)
    assert Decimal(whole["totals"]["billed_cost_usd"]) == shop.ledger_sum()
    assert files["pdf"].content[:5] == b"%PDF-"
    assert files["xlsx"].content[:2] == b"PK"
    assert "provider_cost" not in files["csv"].text


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
    charlie = house.client(house.charlie)
    other = f"/portal/t/{house.umbrella.slug}/months/{month_of(shop)}/csv/"
    assert shop.model not in charlie.get(other).text
    assert charlie.get(house.at(f"months/{month_of(shop)}/csv/")).status_code == 404


def test_a_file_that_takes_too_long_is_not_made(
    house: House, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wall, "LONGEST_STATEMENT", "400ms")
    monkeypatch.setattr(reports, "month_report", lambda *_, **__: slow())
    month = month_of(shop)
    answer = house.client(house.fay).get(house.at(f"months/{month}/csv/"), follow=True)
    assert answer.redirect_chain == [(house.at(f"months/{month}/"), 302)]
    assert reports.TOO_LARGE in answer.text


def slow() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(5)")


def test_a_report_sees_one_state_of_the_books_and_writes_nothing(committed: None) -> None:
    tenant = Tenant.objects.create(slug=f"state-{now().astimezone(UTC):%H%M%S%f}", name="state")
    with wall.inside(tenant.pk, is_report=True), connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only')"
        )
        assert cursor.fetchone() == ("repeatable read", "on")
    with wall.inside(tenant.pk), connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('transaction_isolation')")
        assert cursor.fetchone() == ("read committed",)
