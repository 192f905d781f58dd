"""Credits and adjustments: for whom, of which month, by whom; booked once."""

from datetime import datetime
from decimal import Decimal
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from billing.contracts.entries import approve_entry, effect_of_entry, propose_entry, reject_entry
from billing.models import AlertEvent, EntryProposal, ManualEntry, UsageRecord
from billing.months.report import opened_month
from billing.months.statements import restate, stored_lines
from tests.billing.shop import Shop

ONE = {"kind": "credit", "amount_usd": Decimal(1), "reason": "an outage"}


def person() -> User:
    return User.objects.create(username=uuid4().hex[:12])


def test_it_works(shop: Shop, last_month: datetime) -> None:
    shop.call(last_month, user="alice", cost_center="4711")
    author = person()
    for subject, value in (("tenant", ""), ("cost_center", "4711"), ("user", "alice")):
        propose_entry(
            shop.tenant,
            **ONE,
            subject=subject,
            subject_value=value,
            month=f"{last_month:%Y-%m}",
            acting_user=author,
        )
    rows = shop.rows(kind="credit")
    assert {(row.user_id, row.cost_center) for row in rows} == {("", ""), ("", "4711"), ("alice", "")}
    assert {row.charge_class for row in rows} == {""}
    with opened_month(shop.tenant, month=f"{last_month:%Y-%m}") as report:
        steps = {step.name: step.amount_usd for step in report.waterfall}
    assert (steps["credits"], steps["list_price"]) == (Decimal(3), Decimal("0.0075"))
    statement = shop.close(last_month)
    credits = [line for line in stored_lines(statement) if line.category == "credit"]
    assert {(line.cost_center, line.user_id, line.amount, line.text) for line in credits} == {
        ("", "", Decimal(-1), "an outage"),
        ("4711", "", Decimal(-1), "an outage"),
        ("", "alice", Decimal(-1), "an outage"),
    }
    entry = ManualEntry.objects.filter(tenant=shop.tenant, subject="user").get()
    assert (entry.subject_value, entry.month, entry.entered_by, entry.approved_by) == (
        "alice", f"{last_month:%Y-%m}", author, author,
    )  # fmt: skip


def test_a_credit_for_a_closed_month_is_a_correction_in_the_open_one(
    shop: Shop, last_month: datetime
) -> None:
    shop.call(last_month)
    statement = shop.close(last_month)
    waiting = EntryProposal(tenant=shop.tenant, month=f"{last_month:%Y-%m}", **ONE)
    effect = effect_of_entry(waiting)
    assert (effect.paid_usd, effect.then_usd) == (Decimal("0.0075"), Decimal("-0.9925"))
    assert effect.month != effect.booked_in
    made = propose_entry(shop.tenant, **ONE, month=f"{last_month:%Y-%m}")
    row = UsageRecord.objects.get(pk=made.pk)
    assert (row.charge_class, row.period.label) == ("Correction", effect.booked_in)
    assert restate(statement).later_usd == -1
    assert statement.exact_usd == Decimal("0.0075")


def test_an_entry_is_booked_once(shop: Shop) -> None:
    entry_id = uuid4()
    for _ in range(2):
        made = propose_entry(shop.tenant, entry_id=entry_id, **ONE)
        approve_entry(made)
    assert shop.ledger_sum() == -1
    with pytest.raises(ValidationError, match="never edited"):
        propose_entry(shop.tenant, entry_id=entry_id, **{**ONE, "amount_usd": Decimal(2)})
    with pytest.raises(ValidationError, match="takes it back"):
        reject_entry(made)


def test_four_eyes_are_two_people(shop: Shop) -> None:
    author, other = person(), person()
    shop.tenant.policy = {"closing": {"four_eyes": True}}
    shop.tenant.save()
    made = propose_entry(shop.tenant, **ONE, acting_user=author)
    assert (made.status, shop.ledger_sum()) == ("proposed", 0)
    assert AlertEvent.objects.filter(metric="entry_proposed", subject_key=str(made.pk)).exists()
    for nobody in (author, None):
        with pytest.raises(ValidationError, match="four eyes"):
            approve_entry(made, acting_user=nobody)
    assert approve_entry(made, acting_user=other).status == "booked"
    assert shop.ledger_sum() == -1
    rejected = propose_entry(shop.tenant, **ONE, acting_user=author)
    assert reject_entry(rejected, acting_user=author).status == "rejected"
    with pytest.raises(ValidationError, match="rejected"):
        approve_entry(rejected, acting_user=other)
    assert shop.ledger_sum() == -1


@pytest.mark.parametrize(
    "wrong",
    [
        {"amount_usd": Decimal(0)},
        {"amount_usd": Decimal(-1)},
        {"reason": " "},
        {"subject": "user"},
        {"subject_value": "alice"},
        {"month": "2099-01"},
        {"month": "soon"},
    ],
    ids=str,
)
def test_an_entry_that_is_none_is_refused(shop: Shop, wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        propose_entry(shop.tenant, **{**ONE, **wrong})
    assert shop.ledger_sum() == 0


def test_what_is_booked_never_changes(shop: Shop) -> None:
    made = propose_entry(shop.tenant, **ONE)
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        ManualEntry.objects.filter(pk=made.pk).update(subject_value="bob")


def test_entries_stand_in_the_configuration_file(shop: Shop) -> None:
    from llm.configuration import ConfigurationError, apply_configuration

    text = f"""
tenants:
  - slug: {shop.tenant.slug}
    entries:
      - {{name: outage, usd: "1.5", reason: an outage, cost_center: 4711}}
"""
    for expected in ("created", "unchanged"):
        changes = apply_configuration(text, source="entries.yaml", environ={})
        assert {change.action for change in changes.changes if change.kind == "entry"} == {expected}
    assert shop.ledger_sum("cost_center = %s", "4711") == Decimal("-1.5")
    with pytest.raises(ConfigurationError, match=r"entries\.yaml:5.*never edited"):
        apply_configuration(text.replace("1.5", "2"), source="entries.yaml", environ={})
