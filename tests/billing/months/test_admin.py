"""Finance's own pages of closed months: the files byte for byte, the restated view, the proposal of a re-rating."""

from datetime import datetime
from decimal import Decimal

from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import reverse

from billing.models import PriceRow, Rerating
from billing.months.files import bytes_of
from billing.prices.editing import set_price
from tests.billing.shop import Shop

SUBMITTED = {"_form_submitted": "on"}


def test_it_works(shop: Shop, last_month: datetime, operator: Client) -> None:
    attempt = shop.open_attempt(last_month)
    shop.call(last_month)
    statement = shop.close(last_month, forced_reason="late")
    shop.call(last_month, {"input": 400}, attempt_id=attempt)
    page = operator.get(reverse("admin:billing_statement_restated", args=(statement.pk,)))
    assert page.status_code == 200
    assert "0.0085" in page.content.decode()
    lines = operator.get(page.wsgi_request.path, {"format": "csv"})
    assert b"restated" in lines.content
    for file in statement.files.all():
        answer = operator.get(reverse("admin:billing_statement_file", args=(file.pk,)))
        assert b"".join(answer) == bytes_of(file)


def test_a_stranger_sees_no_statement(shop: Shop, last_month: datetime) -> None:
    shop.call(last_month)
    statement = shop.close(last_month)
    user, _ = get_user_model().objects.get_or_create(username="closing-stranger", defaults={"is_staff": True})
    client = Client()
    client.force_login(user)
    assert client.get(reverse("admin:billing_statement_restated", args=(statement.pk,))).status_code in (
        403,
        404,
    )
    file = statement.files.first()
    assert client.get(reverse("admin:billing_statement_file", args=(file.pk,))).status_code in (403, 404)


def test_an_operator_proposes_and_approves_a_rerating(
    shop: Shop, last_month: datetime, operator: Client
) -> None:
    shop.call(last_month)
    row = PriceRow.objects.get(model=shop.model, meter="input", superseded_at=None)
    price = set_price(row, unit_price=Decimal(3), valid_from=row.valid_from)
    answer = operator.post(
        reverse("admin:billing_rerating_propose_rerating"), {"price": price.pk, **SUBMITTED}
    )
    assert answer.status_code in (200, 302), answer.content
    proposal = Rerating.objects.get(model=shop.model)
    operator.post(reverse("admin:billing_rerating_approve", args=(proposal.pk,)), SUBMITTED)
    proposal.refresh_from_db()
    assert proposal.status == "applied"
    assert shop.ledger_sum() == Decimal("0.008")
