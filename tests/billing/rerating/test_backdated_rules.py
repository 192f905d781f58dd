"""A rate rule that counts for a time that was billed: its re-rating is proposed, and a person books it."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.utils.timezone import now

from billing.models import AlertEvent, RateRule, Rerating, RuleCheck
from billing.prices.book import load_price_book
from billing.prices.plan_editing import end_rule, set_rule
from billing.rerating.backdated import propose_for_backdated
from billing.rerating.effects import effect_of_rule
from billing.rerating.proposals import approve_rerating
from tests.billing.shop import Shop

HALF = {"priority": 1, "kind": "discount_pct", "value": Decimal(50)}
CALL = Decimal("0.0075")  # of a shop's call at the list price


def proposals_of(shop: Shop) -> list[Rerating]:
    propose_for_backdated()
    return list(Rerating.objects.filter(tenant=shop.tenant).order_by("pk"))


@pytest.fixture
def people(shop: Shop) -> tuple[User, User]:
    one, other = (User.objects.create(username=f"{name}-{uuid4().hex[:8]}") for name in "ab")
    return one, other


def test_it_works(shop: Shop, last_month: datetime) -> None:
    shop.call(last_month)
    shop.close(last_month)
    rule = set_rule(shop.tenant, **HALF, valid_from=last_month - timedelta(days=1))
    (proposal,) = proposals_of(shop)
    assert (proposal.status, proposal.record_count, proposal.billed_delta) == ("proposed", 1, -CALL / 2)
    assert RuleCheck.objects.get(rule=rule).rerating == proposal
    assert AlertEvent.objects.filter(metric="rerating_proposed", subject_key=f"rule {rule.pk}").exists()
    assert len(shop.rows()) == 1  # nothing is booked before a person says so
    assert approve_rerating(proposal) == 1
    assert shop.ledger_sum() == CALL / 2
    assert len(proposals_of(shop)) == 1  # each span is looked at once


def test_a_rule_from_now_on_proposes_nothing(shop: Shop, last_month: datetime) -> None:
    shop.call(last_month)
    set_rule(shop.tenant, **HALF)
    set_rule(shop.tenant, **{**HALF, "priority": 2}, valid_from=now() + timedelta(days=1))
    assert proposals_of(shop) == []
    assert not RuleCheck.objects.filter(tenant=shop.tenant).exists()


def test_a_rule_for_a_time_leaves_what_is_around_it(shop: Shop, last_month: datetime) -> None:
    day = timedelta(days=1)
    whole = set_rule(
        shop.tenant, priority=1, kind="markup_pct", value=Decimal(10), valid_from=last_month - 9 * day
    )
    for days in (0, 2, 4):
        shop.call(last_month + days * day)
    set_rule(shop.tenant, **HALF, valid_from=last_month + day, valid_to=last_month + 3 * day)
    spans = [
        (rule.kind, rule.valid_from, rule.valid_to)
        for rule in RateRule.objects.filter(tenant=shop.tenant).order_by("valid_from")
    ]
    assert spans == [
        ("markup_pct", whole.valid_from, last_month + day),
        ("discount_pct", last_month + day, last_month + 3 * day),
        ("markup_pct", last_month + 3 * day, None),
    ]
    (proposal,) = proposals_of(shop)
    assert (proposal.record_count, proposal.billed_delta) == (1, CALL / 2 - CALL * Decimal("1.1"))


def test_a_backdated_end_is_looked_at_too(shop: Shop, last_month: datetime) -> None:
    rule = set_rule(shop.tenant, **HALF, valid_from=last_month - timedelta(days=1))
    shop.call(last_month)
    assert end_rule(rule, at=last_month)
    (proposal,) = proposals_of(shop)
    assert proposal.billed_delta == CALL / 2
    assert not end_rule(rule, at=last_month)


def test_the_same_rule_with_another_end_is_shortened(shop: Shop, last_month: datetime) -> None:
    rule = set_rule(shop.tenant, **HALF, valid_from=last_month)
    later = now() + timedelta(days=9)
    for _ in range(2):
        assert set_rule(shop.tenant, **HALF, valid_from=last_month, valid_to=later).pk == rule.pk
    rule.refresh_from_db()
    assert rule.valid_to == later


def test_a_rule_that_is_replaced_at_its_beginning_never_counts(shop: Shop, last_month: datetime) -> None:
    set_rule(shop.tenant, **HALF, valid_from=last_month)
    set_rule(shop.tenant, priority=1, kind="markup_pct", value=Decimal(10), valid_from=last_month)
    shop.call(last_month)
    assert shop.ledger_sum() == CALL * Decimal("1.1")
    assert [rule.kind for rule in load_price_book(shop.tenant.pk).rules if rule.holds(last_month)] == [
        "markup_pct"
    ]


def test_a_rule_does_not_run_into_the_next_one(shop: Shop) -> None:
    at = now() + timedelta(days=9)
    set_rule(shop.tenant, **HALF, valid_from=at)
    with pytest.raises(ValidationError, match="another rule of this priority begins"):
        set_rule(shop.tenant, priority=1, kind="markup_pct", value=Decimal(10))
    with pytest.raises(ValidationError, match="after the rule's beginning"):
        set_rule(shop.tenant, **HALF, valid_from=at, valid_to=at)
    set_rule(shop.tenant, priority=1, kind="markup_pct", value=Decimal(10), valid_to=at)


@pytest.mark.parametrize(("dated", "is_backdated"), [({}, False), ({"valid_from": True}, True)])
def test_the_effect_is_told_and_nothing_is_left(
    shop: Shop, last_month: datetime, dated: dict[str, Any], is_backdated: bool
) -> None:
    set_rule(shop.tenant, priority=1, kind="markup_pct", value=Decimal(10), valid_from=last_month)
    at = now() - timedelta(days=3)
    shop.call(at)
    before = list(RateRule.objects.filter(tenant=shop.tenant).values_list("pk", "valid_to"))
    if dated:
        dated = {"valid_from": at - timedelta(hours=1)}
    effect = effect_of_rule(shop.tenant, **HALF, **dated)
    assert (effect.is_backdated, effect.calls, effect.changed) == (is_backdated, 1, 1)
    assert (effect.billed_usd, effect.change_usd) == (CALL * Decimal("1.1"), CALL / 2 - CALL * Decimal("1.1"))
    assert list(RateRule.objects.filter(tenant=shop.tenant).values_list("pk", "valid_to")) == before
    assert not RuleCheck.objects.filter(rule__tenant=shop.tenant, rule__kind="discount_pct").exists()


def test_four_eyes_are_two_people(shop: Shop, last_month: datetime, people: tuple[User, User]) -> None:
    author, other = people
    shop.call(last_month)
    set_rule(shop.tenant, **HALF, valid_from=last_month - timedelta(days=1), acting_user=author)
    shop.tenant.policy = {"closing": {"four_eyes": True}}
    shop.tenant.save()
    (proposal,) = proposals_of(shop)
    assert proposal.proposed_by == author
    for nobody in (author, None):
        with pytest.raises(ValidationError, match="four eyes"):
            approve_rerating(proposal, acting_user=nobody)
    assert shop.ledger_sum() == CALL
    assert approve_rerating(proposal, acting_user=other) == 1


def test_dates_stand_in_the_configuration_file(shop: Shop) -> None:
    from llm.configuration import ConfigurationError, apply_configuration

    shop.tenant.timezone = "Europe/Berlin"
    shop.tenant.save()
    text = f"""
tenants:
  - slug: {shop.tenant.slug}
    timezone: Europe/Berlin
    rate_rules:
      - {{priority: 10, kind: discount_pct, value: "12", valid_from: 2026-10-01, valid_until: 2099-12-31}}
"""
    for expected in ("created", "unchanged"):
        changes = apply_configuration(text, source="rules.yaml", environ={})
        assert {change.action for change in changes.changes if change.kind == "rate rule"} == {expected}
    rule = RateRule.objects.get(tenant=shop.tenant)
    assert (rule.valid_from.isoformat(), rule.valid_to.isoformat()) == (
        "2026-09-30T22:00:00+00:00",
        "2099-12-31T23:00:00+00:00",
    )
    apply_configuration(text.replace('"12"', '"15"'), source="rules.yaml", environ={})
    live = [rule for rule in RateRule.objects.filter(tenant=shop.tenant) if rule.valid_to != rule.valid_from]
    assert [rule.value for rule in live] == [Decimal(15)]
    with pytest.raises(ConfigurationError, match=r"rules\.yaml:6.*date such as"):
        apply_configuration(text.replace("2026-10-01", "soon"), source="rules.yaml", environ={})
