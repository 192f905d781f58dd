"""List prices from the wheel into our own table."""

from datetime import UTC, datetime
from decimal import Decimal
from io import StringIO

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.utils.timezone import now

from billing.models import PriceProposal, PriceRow
from billing.prices.book import load_price_book
from billing.prices.editing import set_price
from billing.prices.importing import approve_proposal, changes_of, import_list_prices, reject_proposal
from billing.prices.lists import digest_of, read_list_prices
from billing.prices.rating import rate

pytestmark = pytest.mark.django_db
PROVIDERS = ("openai", "anthropic")


def live(model: str, meter: str, **which: object) -> PriceRow:
    at = now()
    which |= {"model": model, "meter": meter, "provider__in": PROVIDERS}
    rows = PriceRow.objects.filter(superseded_at=None, valid_from__lte=at, **which)
    return rows.exclude(valid_to__lte=at).get()


def test_it_works() -> None:
    imported = import_list_prices(providers=PROVIDERS)
    assert "openai/gpt-4o-mini" in imported.difference.added_models
    assert imported.proposal is None
    book = load_price_book(0)
    rates = book.rates("openai", "gpt-4o-mini", at=now())
    assert rate({"input": 1000, "output": 500}, rates).cost_usd == Decimal("0.00045")
    assert live("gpt-4o-mini", "input", processing="batch").unit_price == Decimal("0.075")
    assert live("claude-haiku-4-5", "cache_write_1h", processing="online").unit_price == 2


def test_twice_changes_nothing() -> None:
    import_list_prices(providers=PROVIDERS)
    before = PriceRow.objects.count(), PriceProposal.objects.count()
    again = import_list_prices(providers=PROVIDERS)
    assert (again.difference.added, again.difference.changed) == ((), ())
    assert (PriceRow.objects.count(), PriceProposal.objects.count()) == before


def test_a_dry_run_changes_nothing() -> None:
    before = PriceRow.objects.count()
    assert import_list_prices(providers=PROVIDERS, is_dry_run=True).difference.added
    assert PriceRow.objects.count() == before


def test_prices_keep_their_dates_and_what_they_were_before() -> None:
    import_list_prices(providers=PROVIDERS)
    book = load_price_book(0)
    change = datetime(2025, 6, 10, tzinfo=UTC)
    costs = [
        rate({"input": 1_000_000}, book.rates("openai", "o3", at=at)).cost_usd
        for at in (change.replace(day=9, hour=23), change)
    ]
    assert costs == [10, 2]


def test_a_changed_rate_waits_for_a_person_who_approves_it_once() -> None:
    import_list_prices(providers=PROVIDERS)
    set_price(live("gpt-4o-mini", "input", processing="online"), unit_price=Decimal("0.14"))
    proposed = import_list_prices(providers=PROVIDERS)
    assert proposed.is_new_proposal
    assert [str(change) for change in changes_of(proposed.proposal)] == [
        "openai/gpt-4o-mini input online: 0.14 -> 0.15 USD per 1000000"
    ]
    assert live("gpt-4o-mini", "input", processing="online").unit_price == Decimal("0.14")
    assert not import_list_prices(providers=PROVIDERS).is_new_proposal

    operator = User.objects.create(username="olga")
    decided = approve_proposal(proposed.proposal, acting_user=operator)
    now_counts = live("gpt-4o-mini", "input", processing="online")
    assert (decided.status, decided.decided_by) == ("applied", operator)
    assert (now_counts.unit_price, now_counts.approved_by) == (Decimal("0.15"), operator)
    with pytest.raises(ValidationError):
        approve_proposal(proposed.proposal, acting_user=operator)
    assert import_list_prices(providers=PROVIDERS).proposal is None


def test_a_rejected_change_is_not_proposed_again() -> None:
    import_list_prices(providers=PROVIDERS)
    set_price(live("gpt-4o-mini", "input", processing="online"), unit_price=Decimal("0.14"))
    proposed = import_list_prices(providers=PROVIDERS)
    reject_proposal(proposed.proposal, acting_user=None)
    again = import_list_prices(providers=PROVIDERS)
    assert (again.is_new_proposal, again.proposal) == (False, proposed.proposal)


def test_a_model_sold_in_units_we_do_not_meter_stays_unpriced() -> None:
    prices = read_list_prices(["openai"])
    assert not [price for price in prices if price.model == "whisper-1"]
    assert digest_of(prices) == digest_of(read_list_prices(["openai"]))


def test_the_command_says_what_it_did() -> None:
    output = StringIO()
    call_command("import_prices", "--provider", "anthropic", stdout=output)
    assert "prices added" in output.getvalue()
    assert "no rate changes" in output.getvalue()
    set_price(live("claude-haiku-4-5", "input", processing="online"), unit_price=Decimal(3))
    output = StringIO()
    call_command("import_prices", "--provider", "anthropic", "--approve", stdout=output)
    assert "claude-haiku-4-5 input online: 3 -> 1 USD per 1000000" in output.getvalue()
    assert live("claude-haiku-4-5", "input", processing="online").unit_price == 1
