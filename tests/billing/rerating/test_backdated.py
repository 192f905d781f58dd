"""A price that turns out to have been another one: its re-rating is proposed without anybody asking."""

from datetime import datetime, timedelta
from decimal import Decimal

from django.utils.timezone import now

from billing.models import AlertEvent, PriceCheck, PriceRow, Rerating
from billing.rerating.backdated import propose_for_backdated
from billing.rerating.proposals import approve_rerating
from tests.billing.rerating.test_proposals import correct
from tests.billing.shop import Shop


def proposals_of(shop: Shop) -> list[Rerating]:
    propose_for_backdated()
    return list(Rerating.objects.filter(model=shop.model))


def test_it_works(shop: Shop, last_month: datetime) -> None:
    shop.call(last_month)
    shop.close(last_month)
    row = correct(shop, "output", "12", since=last_month - timedelta(days=1))
    (proposal,) = proposals_of(shop)
    assert (proposal.status, proposal.record_count, proposal.billed_delta) == (
        "proposed",
        1,
        Decimal("0.001"),
    )
    assert PriceCheck.objects.get(price=row).rerating == proposal
    (event,) = AlertEvent.objects.filter(metric="rerating_proposed", subject_key=f"openai/{shop.model}")
    assert (event.tenant, event.value) == (None, Decimal("0.001"))
    assert len(shop.rows()) == 1  # nothing is booked before a person says so
    assert approve_rerating(proposal) == 1


def test_a_price_is_looked_at_once(shop: Shop, last_month: datetime) -> None:
    shop.call(last_month)
    correct(shop, "output", "12")
    assert len(proposals_of(shop)) == 1
    Rerating.objects.filter(model=shop.model).update(status="rejected")
    assert [proposal.status for proposal in proposals_of(shop)] == ["rejected"]


def test_two_meters_of_a_model_are_one_proposal(shop: Shop, last_month: datetime) -> None:
    shop.call(last_month)
    correct(shop, "output", "12")
    correct(shop, "input", "3")
    (proposal,) = proposals_of(shop)
    assert proposal.billed_delta == Decimal("0.0015")


def test_a_price_from_now_on_proposes_nothing(shop: Shop, last_month: datetime) -> None:
    shop.call(last_month)
    correct(shop, "output", "12", since=now())
    assert proposals_of(shop) == []
    # neither the new rate nor the old one, which is written anew until that moment, was looked at again
    assert not PriceCheck.objects.filter(price__model=shop.model).exists()


def test_a_model_that_is_new_proposes_nothing(shop: Shop) -> None:
    assert proposals_of(shop) == []
    assert not PriceCheck.objects.filter(price__model=shop.model).exists()


def test_a_meter_that_gets_its_first_price_is_looked_at(shop: Shop, last_month: datetime) -> None:
    shop.call(last_month)
    row = shop.price("web_search", "10", source="admin")
    assert proposals_of(shop) == []
    assert PriceCheck.objects.get(price=row).rerating is None
    assert PriceRow.objects.filter(model=shop.model, superseded_at=None).count() == 3
