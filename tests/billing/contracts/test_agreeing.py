"""Four eyes on top-ups, commitments and rates: what one person wants is written when another approves it, and once."""

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError

from billing.contracts import agreeing, prepaid
from billing.contracts.commitments import end_commitment, set_commitment
from billing.contracts.currencies import import_rates, set_rate
from billing.four_eyes import NeedsAnother
from billing.models import (
    AgreementProposal,
    AlertEvent,
    BillingDetails,
    Commitment,
    CurrencyRate,
    PrepaidBalance,
    PrepaidEntry,
    RateRule,
)
from billing.prices.plan_editing import end_rule, set_rule
from billing.rerating.effects import effect_of_rule
from tenants.models import Tenant

DAY = date(2020, 2, 3)
CSV = "date,base,quote,rate,source\n2020-02-03,USD,EUR,0.9,ECB\n"


@pytest.fixture
def careful(db: None) -> Tenant:
    tenant = Tenant.objects.create(
        slug="careful", name="Careful", timezone="UTC", policy={"closing": {"four_eyes": True}}
    )
    BillingDetails.objects.create(tenant=tenant, currency="EUR")
    return tenant


@pytest.fixture
def ann(db: None) -> User:
    return User.objects.create_user("ann")


@pytest.fixture
def ben(db: None) -> User:
    return User.objects.create_user("ben")


def proposed(write: Callable[[], Any], *, by: User | None) -> AgreementProposal:
    with pytest.raises(NeedsAnother) as caught:
        write()
    return agreeing.propose(caught.value, acting_user=by)


def opened(tenant: Tenant, ann: User, ben: User, usd: str = "100") -> PrepaidBalance:
    waiting = proposed(
        lambda: prepaid.open_balance(
            tenant, first_usd=Decimal(usd), first_reason="invoice 1", acting_user=ann
        ),
        by=ann,
    )
    assert not PrepaidBalance.objects.filter(tenant=tenant).exists()
    agreeing.approve(waiting, acting_user=ben)
    return PrepaidBalance.objects.get(tenant=tenant)


def test_it_works(careful: Tenant, ann: User, ben: User) -> None:
    balance = opened(careful, ann, ben)
    assert balance.opened_by == ann
    waiting = proposed(
        lambda: prepaid.add(balance, amount_usd=Decimal("50.5"), reason="invoice 2", acting_user=ann), by=ann
    )
    assert prepaid.states_of([balance])[balance.pk].left == 100
    for who in (ann, None):
        with pytest.raises(ValidationError, match="four eyes"):
            agreeing.approve(waiting, acting_user=who)
    done = agreeing.approve(waiting, acting_user=ben)
    assert (done.status, done.decided_by, done.proposed_by) == ("done", ben, ann)
    agreeing.approve(waiting, acting_user=ben)
    assert prepaid.states_of([balance])[balance.pk].left == Decimal("150.5")
    assert PrepaidEntry.objects.get(pk=waiting.pk).entered_by == ann
    assert AlertEvent.objects.filter(metric=agreeing.METRIC, subject_key=str(waiting.pk)).exists()


def test_what_is_rejected_is_never_written(careful: Tenant, ann: User, ben: User) -> None:
    balance = opened(careful, ann, ben)
    waiting = proposed(lambda: prepaid.pay_back(balance, amount_usd=Decimal(5), reason="by mistake"), by=ann)
    agreeing.reject(waiting, acting_user=ben)
    with pytest.raises(ValidationError, match="rejected"):
        agreeing.approve(waiting, acting_user=ben)
    assert prepaid.states_of([balance])[balance.pk].left == 100


def test_what_cannot_be_written_any_more_stays_undecided(careful: Tenant, ann: User, ben: User) -> None:
    balance = opened(careful, ann, ben)
    one, two = (
        proposed(lambda usd=usd: prepaid.pay_back(balance, amount_usd=Decimal(usd), reason="back"), by=ann)
        for usd in (60, 70)
    )
    agreeing.approve(one, acting_user=ben)
    with pytest.raises(ValidationError, match="40 USD left"):
        agreeing.approve(two, acting_user=ben)
    two.refresh_from_db()
    assert two.status == "proposed"


def test_the_same_waits_once(careful: Tenant, ann: User) -> None:
    def write() -> Any:
        return set_commitment(careful, span="month", amount_usd=Decimal(10), first_month="2099-01")

    assert proposed(write, by=ann) == proposed(write, by=ann)
    assert AgreementProposal.objects.count() == 1


def test_commitments_and_their_ends(careful: Tenant, ann: User, ben: User) -> None:
    waiting = proposed(
        lambda: set_commitment(careful, span="month", amount_usd=Decimal("10.25"), first_month="2099-01"),
        by=ann,
    )
    agreeing.approve(waiting, acting_user=ben)
    commitment = Commitment.objects.get(tenant=careful)
    assert (commitment.amount_usd, commitment.created_by) == (Decimal("10.25"), ann)
    ending = proposed(lambda: end_commitment(commitment, last_month="2099-06"), by=ben)
    with pytest.raises(ValidationError, match="four eyes"):
        agreeing.approve(ending, acting_user=ben)
    agreeing.approve(ending, acting_user=ann)
    commitment.refresh_from_db()
    assert commitment.last_month == "2099-06"


def test_rate_rules_and_their_ends(careful: Tenant, ann: User, ben: User) -> None:
    values: dict[str, Any] = {
        "priority": 10,
        "kind": "discount_pct",
        "value": Decimal("12.5"),
        "model": "gpt-*",
    }
    assert effect_of_rule(careful, **values).calls == 0  # trying it writes nothing, and needs nobody
    waiting = proposed(lambda: set_rule(careful, **values, acting_user=ann), by=ann)
    assert not RateRule.objects.filter(tenant=careful).exists()
    agreeing.approve(waiting, acting_user=ben)
    rule = RateRule.objects.get(tenant=careful)
    assert (rule.value, rule.model, rule.created_by) == (Decimal("12.5"), "gpt-*", ann)
    assert set_rule(careful, **values) == rule  # the same again changes nothing
    ending = proposed(lambda: end_rule(rule), by=ann)
    agreeing.approve(ending, acting_user=ben)
    rule.refresh_from_db()
    assert rule.valid_to is not None


def test_rates_need_another_where_a_careful_tenant_is_billed_by_them(
    careful: Tenant, ann: User, ben: User
) -> None:
    rate: dict[str, Any] = {
        "day": DAY,
        "base": "USD",
        "quote": "EUR",
        "rate": Decimal("0.9123"),
        "source": "ECB",
    }
    waiting = proposed(lambda: set_rate(**rate, acting_user=ann), by=ann)
    with pytest.raises(ValidationError, match="four eyes"):
        agreeing.approve(waiting, acting_user=ann)
    agreeing.approve(waiting, acting_user=ben)
    stored = CurrencyRate.objects.get(day=DAY, quote="EUR", superseded_at=None)
    assert (stored.rate, stored.recorded_by) == (Decimal("0.9123"), ann)
    many = proposed(lambda: import_rates(CSV), by=ann)
    agreeing.approve(many, acting_user=ben)
    assert CurrencyRate.objects.get(day=DAY, quote="EUR", superseded_at=None).rate == Decimal("0.9")


def test_without_the_policy_nothing_waits(db: None, ann: User) -> None:
    tenant = Tenant.objects.create(slug="quick", name="Quick", timezone="UTC")
    balance = prepaid.open_balance(tenant, first_usd=Decimal(1), first_reason="invoice 1", acting_user=ann)
    assert prepaid.add(balance, amount_usd=Decimal(2), reason="invoice 2", acting_user=ann) == 3
    set_rule(tenant, priority=1, kind="pass_through", acting_user=ann)
    set_rate(day=DAY, base="USD", quote="JPY", rate=Decimal(150), source="ECB", acting_user=ann)
    assert not AgreementProposal.objects.exists()
