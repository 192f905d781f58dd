"""A price that was announced and does not come is revoked, with a reason; one in force is not."""

import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from django.utils.timezone import now

from billing.errors import ModelUnpriced
from billing.models import PriceRow
from billing.prices.book import load_price_book
from billing.prices.editing import revoke_price, set_price

pytestmark = pytest.mark.django_db

SOON = timedelta(days=30)


@pytest.fixture
def price() -> PriceRow:
    """The input price of a model of its own, since long ago."""
    return PriceRow.objects.create(
        provider="anthropic",
        model=f"sonnet-{uuid.uuid4().hex[:8]}",
        meter="input",
        unit_price=Decimal(2),
        valid_from=datetime(2026, 1, 1, tzinfo=UTC),
        source="test",
    )


def input_price(row: PriceRow, at: datetime) -> Decimal:
    rates = load_price_book(0).rates(row.provider, row.model, at=at)
    return rates.price("input", input_tokens=1).billed.unit_price


def history(row: PriceRow) -> list[Any]:
    return list(PriceRow.objects.filter(model=row.model).order_by("pk").values())


def test_it_works(price: PriceRow) -> None:
    dearer = set_price(price, unit_price=Decimal(3), valid_from=now() + SOON)
    assert input_price(price, now() + 2 * SOON) == 3
    user = User.objects.create(username=uuid.uuid4().hex)
    remaining = revoke_price(dearer, reason="the rise was called off", acting_user=user)
    assert remaining is not None
    for days in (0, 29, 31, 500):
        assert input_price(price, now() + timedelta(days=days)) == 2
    dearer.refresh_from_db()
    assert (dearer.superseded_reason, dearer.superseded_by) == ("the rise was called off", user)
    assert dearer.superseded_at is not None
    assert (dearer.unit_price, remaining.valid_to) == (3, None)


def test_nothing_is_deleted(price: PriceRow) -> None:
    dearer = set_price(price, unit_price=Decimal(3), valid_from=now() + SOON)
    before = {row["id"] for row in history(price)}
    revoke_price(dearer, reason="no")
    assert before < {row["id"] for row in history(price)}


def test_what_comes_after_a_revoked_price_still_comes(price: PriceRow) -> None:
    first = set_price(price, unit_price=Decimal(3), valid_from=now() + SOON)
    set_price(first, unit_price=Decimal(4), valid_from=now() + 2 * SOON)
    middle = PriceRow.objects.get(model=price.model, unit_price=3, superseded_at=None)
    revoke_price(middle, reason="no")
    assert [input_price(price, now() + SOON * step) for step in (0, 1.5, 2.5)] == [2, 2, 4]


def test_a_first_price_that_is_revoked_leaves_none(price: PriceRow) -> None:
    new = PriceRow.objects.create(
        provider="p", model=price.model, meter="input", unit_price=1, valid_from=now() + SOON, source="test"
    )
    assert revoke_price(new, reason="never launched") is None
    with pytest.raises(ModelUnpriced):
        load_price_book(0).rates("p", price.model, at=now() + 2 * SOON)


def test_a_price_that_counts_or_is_superseded_is_not_revoked(price: PriceRow) -> None:
    with pytest.raises(ValidationError, match="counts since"):
        revoke_price(price, reason="no")
    dearer = set_price(price, unit_price=Decimal(3), valid_from=now() + SOON)
    with pytest.raises(ValidationError, match="superseded"):
        revoke_price(price, reason="no")
    with pytest.raises(ValidationError, match="why"):
        revoke_price(dearer, reason="  ")
    before = history(price)
    with pytest.raises(IntegrityError, match="immutable"), transaction.atomic():
        PriceRow.objects.filter(pk=dearer.pk).update(superseded_reason="x")
    with pytest.raises(IntegrityError, match="immutable"), transaction.atomic():
        PriceRow.objects.filter(pk=dearer.pk).update(superseded_at=now(), unit_price=0)
    assert history(price) == before


def test_the_command_does_the_same(price: PriceRow) -> None:
    dearer = set_price(price, unit_price=Decimal(3), valid_from=now() + SOON)
    out = StringIO()
    call_command("revoke_price", dearer.pk, reason="no rise", stdout=out)
    assert "revoked" in out.getvalue()
    assert input_price(price, now() + 2 * SOON) == 2
    with pytest.raises(CommandError, match="superseded"):
        call_command("revoke_price", dearer.pk, reason="again")
    with pytest.raises(CommandError, match="no price"):
        call_command("revoke_price", 0, reason="no rise")
