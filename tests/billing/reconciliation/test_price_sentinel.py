"""A price that left the table is inferred from the bill, proposed and told; what looks like one and is none is not."""

from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError

from billing.models import AlertEvent, PriceProposal, PriceRow, Rerating
from billing.prices.importing import SENTINEL, approve_proposal, changes_of, reject_proposal
from billing.reconciliation.price_inference import Interval, roundest
from billing.reconciliation.price_sentinel import watch_prices
from billing.rerating.backdated import propose_for_backdated
from billing.rerating.proposals import approve_rerating
from llm.sandbox.catalog import offer_of
from tests.billing.reconciliation import planted
from tests.billing.reconciliation.test_planted_faults import DAYS, Account, accounts

__all__ = ["accounts"]

Change = Callable[[planted.Report], None]


def change_price(report: planted.Report, factor: str, *, days: int = 3, **where: str | None) -> None:
    """Another price of a model's input on the last days, online unless `where` says something else."""
    where = {"processing": "online", "model": next(iter(report.models)), "meter": "input"} | where
    for day in last_days(report, days):
        for row in report.rows(day, **where):
            report.put_usd(row, report.usd(row) * Decimal(factor))


def last_days(report: planted.Report, count: int) -> list:
    return sorted({report.day_of(bucket) for page in report.pages for bucket in page["data"]})[-count:]


def watched(account: Account, change: Change) -> list[PriceProposal]:
    """What is proposed when the provider's report is changed like this."""
    report = account.report(0)
    change(report)
    account.differences(report.pages)
    return watch_prices(account.name, last=account.last)


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_it_works(kind: str, accounts: dict[str, Account]) -> None:
    """From the bill to the books: proposed, approved, re-rated, and then the bill matches."""
    account = accounts[kind]
    name, ours = next(iter(account.models.items()))
    before = offer_of(name).price("input", is_batch=False)
    (proposal,) = watched(account, lambda report: change_price(report, "1.2"))
    (change,) = changes_of(proposal)
    since = account.first + timedelta(days=DAYS - 3)
    assert change.old is not None
    assert change.new is not None
    assert (change.old.unit_price, change.new.unit_price) == (before, before * Decimal("1.2"))
    assert change.new.valid_from == datetime.combine(since, time(), UTC)
    inferred = proposal.diff["inferred"]
    assert Decimal(inferred["low"]) <= change.new.unit_price <= Decimal(inferred["high"])
    assert [one["day"] for one in inferred["days"]] == [str(since + timedelta(days=n)) for n in range(3)]
    (event,) = AlertEvent.objects.filter(metric="price_left_table", subject_key__startswith=account.name)
    assert "3 days since" in event.message
    assert "USD per million" in event.message
    assert watch_prices(account.name, last=account.last) == []  # once
    assert (
        AlertEvent.objects.filter(metric="price_left_table", subject_key__startswith=account.name).count()
        == 1
    )
    approve_proposal(proposal, acting_user=User.objects.create_superuser(f"approver-{account.name}"))
    live = PriceRow.objects.filter(
        provider=account.name, model=ours, meter="input", processing="online", superseded_at=None
    )
    assert [row.unit_price for row in live.order_by("valid_from")] == [before, before * Decimal("1.2")]
    reratings = [one for one in propose_for_backdated() if one.provider == account.name]
    assert [one.record_count for one in reratings] == [6]
    for one in reratings:
        approve_rerating(one)
    assert not Rerating.objects.filter(provider=account.name, status="proposed").exists()
    assert watched(account, lambda report: change_price(report, "1.2")) == []
    report = account.report(0)
    change_price(report, "1.2")
    assert account.differences(report.pages) == {}


def batch_discount_lost(report: planted.Report) -> None:
    change_price(report, "2", processing="batch")


def everything_by_one_factor(report: planted.Report) -> None:
    for model in report.models:
        for meter in ("input", "cache_read", "output"):
            change_price(report, "0.9", model=model, meter=meter, processing=None)


def a_day_alone(report: planted.Report) -> None:
    change_price(report, "1.2", days=1)


def two_prices(report: planted.Report) -> None:
    """Neither of which explains both days."""
    change_price(report, "1.2", days=1)
    change_price(report, "1.1", days=2)


def gone_again(report: planted.Report) -> None:
    change_price(report, "1.2", days=4)
    change_price(report, "0.83333333333333333333", days=1)


def credits(report: planted.Report) -> None:
    for day in last_days(report, 3):
        row = dict(report.rows(day, next(iter(report.models)), "input")[0])
        report.put_usd(row, Decimal("-1.5"))
        if "quantity" in row:
            row["quantity"] = None
        report.add(day, row)


def rounded(report: planted.Report) -> None:
    for day in last_days(report, 4):
        for row in report.rows(day):
            report.put_usd(row, round(report.usd(row), 2))


def batches_unnamed(report: planted.Report) -> None:
    for day in last_days(report, 5):
        for row in report.rows(day, processing="batch"):
            row["line_item"] = row.get("line_item", "").replace(" batch", "")
            row["service_tier"] = "standard"


def cache_read_as_input(report: planted.Report) -> None:
    for day in last_days(report, 3):
        for row in report.rows(day, meter="cache_read"):
            if "line_item" in row:
                row["line_item"] = row["line_item"].replace("cached input", "input")


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
@pytest.mark.parametrize(
    "change",
    [
        lambda report: None, batch_discount_lost, everything_by_one_factor, a_day_alone, two_prices, gone_again, credits,
        rounded, batches_unnamed, cache_read_as_input,
    ],
    ids=lambda change: change.__name__,
)  # fmt: skip
def test_it_is_not_fooled(kind: str, change: Change, accounts: dict[str, Account]) -> None:
    assert watched(accounts[kind], change) == []
    assert not AlertEvent.objects.filter(
        metric="price_left_table", subject_key__startswith=accounts[kind].name
    ).exists()


def test_tiers_and_regions_are_our_own_mix(accounts: dict[str, Account]) -> None:
    """Where the table has several rates, a bill is held against what our calls cost, and a factor has no price."""
    account = accounts["openai"]
    ours = next(iter(account.models.values()))
    listed = PriceRow.objects.get(provider=account.name, model=ours, meter="input", processing="online")
    listed.pk, listed.above_input_tokens, listed.unit_price = None, 200_000_000, listed.unit_price * 2
    listed.save(force_insert=True)
    assert watched(account, lambda report: None) == []
    assert watched(account, lambda report: change_price(report, "1.2")) == []
    (event,) = AlertEvent.objects.filter(metric="price_left_table", subject_key__startswith=account.name)
    assert "1.2000 times what its rates make" in event.message


def test_little_quantity_says_nothing(accounts: dict[str, Account]) -> None:
    """A bill rounded to cents of a few tokens: the interval is wider than a hundredth of the price."""

    def few(report: planted.Report) -> None:
        for day in last_days(report, 3):
            for row in report.rows(day, next(iter(report.models)), "input"):
                row["quantity"] = row["quantity"] // 1000
                report.put_usd(row, round(report.usd(row) / 1000 * Decimal("1.2"), 2))

    assert watched(accounts["openai"], few) == []


def test_a_price_that_was_rejected_is_not_proposed_again(accounts: dict[str, Account]) -> None:
    account = accounts["openai"]
    (proposal,) = watched(account, lambda report: change_price(report, "0.8"))
    reject_proposal(proposal, acting_user=None)
    assert watched(account, lambda report: change_price(report, "0.8")) == []
    assert len(watched(account, lambda report: change_price(report, "0.7"))) == 1
    assert PriceProposal.objects.filter(source=SENTINEL, diff__rows__0__unit_price="1.75").exists()


def test_a_price_that_was_changed_meanwhile_is_not_approved(accounts: dict[str, Account]) -> None:
    account = accounts["openai"]
    (proposal,) = watched(account, lambda report: change_price(report, "0.8"))
    row = PriceRow.objects.get(pk=proposal.diff["rows"][0]["price"])
    PriceRow.objects.filter(pk=row.pk).update(superseded_at=datetime.now(UTC))
    with pytest.raises(ValidationError, match="superseded"):
        approve_proposal(proposal, acting_user=None)
    proposal.refresh_from_db()
    assert proposal.status == "proposed"


@pytest.mark.parametrize(
    ("low", "high", "price"),
    [("2.9991", "3.0009", "3"), ("0.149", "0.1511", "0.15"), ("0.1249", "0.1251", "0.125"), ("3", "3", "3")],
)
def test_the_roundest_price_is_told(low: str, high: str, price: str) -> None:
    assert roundest(Interval(Decimal(low), Decimal(high))) == Decimal(price)
