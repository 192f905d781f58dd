"""The admin's page of reconciliation: what it shows, what it does, and to whom."""

import secrets
from collections.abc import Callable
from typing import Any

from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from billing.models import CostComparison, CostReport, UsageRecord
from billing.reconciliation.comparing import compare
from tenants.models import PlatformRole
from tests.billing.reconciliation.conftest import Account, span

PAGE_QUERIES = 18


def _person(**options: Any) -> User:
    return User.objects.create(username=f"olga-{secrets.token_hex(4)}", is_staff=True, **options)


def address(account: Account, **more: Any) -> str:
    first, last, _ = span()
    query = {"provider": account.name, "first": first, "last": last, **more}
    return f"{reverse('admin:billing_reconciliation')}?" + "&".join(f"{k}={v}" for k, v in query.items())


def reconcile(client: Client, account: Account, **more: Any) -> str:
    first, last, _ = span()
    response = client.post(
        reverse("admin:billing_reconciliation"),
        {"provider": account.name, "first": first, "last": last, **more},
        follow=True,
    )
    assert response.status_code == 200
    return response.content.decode()


def test_it_works(make_account: Callable[..., Account], operator: Client) -> None:
    account = make_account()
    account.ask()
    account.settled(1)
    assert "No report of these days yet" in operator.get(address(account)).content.decode()
    assert "Every day, model and meter of this span matches" in reconcile(operator, account)
    report = CostReport.objects.get(provider=account.name)
    assert report.fetched_by is not None
    account.bypass()
    page = reconcile(operator, account)
    assert "What does not match" in page
    assert "bypass" in page


def test_only_what_differs_is_shown_and_leads_to_our_records(
    make_account: Callable[..., Account], operator: Client
) -> None:
    account = make_account(prices={"input": "5"})
    account.ask()
    account.settled(1)
    account.reconcile()
    with CaptureQueriesContext(connection) as queries:
        response = operator.get(address(account))
    assert len(queries) <= PAGE_QUERIES
    (row,) = response.context["differences"]["rows"]
    assert row[2] == "input"
    comparison = CostComparison.objects.get(provider=account.name, kind__in=("price", "rounding"))
    drilled = operator.get(address(account, row=comparison.pk)).content.decode()
    record = UsageRecord.objects.get(provider=account.name)
    assert record.upstream_id in drilled
    assert reverse("admin:billing_usagerecord_change", args=(record.pk,)) in drilled


def test_a_file_is_taken(make_account: Callable[..., Account], operator: Client) -> None:
    account = make_account()
    text = (
        "start_time,amount_value,amount_currency,line_item,project_id\n"
        f'1764547200,1.25,usd,"gpt-4o-2024-08-06, input",proj_{account.digest}\n'
    )
    reconcile(operator, account, file=SimpleUploadedFile("costs.csv", text.encode()))
    row = CostComparison.objects.get(provider=account.name)
    assert (str(row.day), row.model, row.kind) == ("2025-12-01", account.model, "bypass")
    assert "cost export of openai" in reconcile(
        operator, account, file=SimpleUploadedFile("costs.csv", b"a,b\n1,2\n")
    )


def test_a_provider_that_refuses_is_told(make_account: Callable[..., Account], operator: Client) -> None:
    account = make_account()
    account.world.fault(fault="status:401", match={"path": "/v1/organization/costs"}, message="Bad admin key")
    assert "401: Bad admin key" in reconcile(operator, account)


def test_a_difference_is_decided_and_booked_by_dialog(
    make_account: Callable[..., Account], operator: Client
) -> None:
    account = make_account()
    account.bypass()
    first, last, at = span()
    account.reconcile()
    row = CostComparison.objects.get(provider=account.name, meter="input")
    form = {"_form_submitted": "on", "status": "explained", "reason": "the migration of last night"}
    operator.post(reverse("admin:billing_costcomparison_decide_row", args=(row.pk,)), form)
    row.refresh_from_db()
    assert (row.status, row.reason) == ("explained", "the migration of last night")
    assert row.decided_by is not None
    form = {"_form_submitted": "on", "tenant": account.world.acme.id, "reason": "ours"}
    response = operator.post(reverse("admin:billing_costcomparison_book", args=(row.pk,)), form, follow=True)
    assert "not over" in response.content.decode()
    compare(account.name, first=first, last=last, at=at)
    assert not UsageRecord.objects.filter(provider=account.name).exists()


def test_a_nonsense_address_is_no_error(make_account: Callable[..., Account], operator: Client) -> None:
    account = make_account()
    for more in ({"first": "yesterday"}, {"row": "x"}, {"row": "999999999"}, {"first": "2999-01-01"}):
        assert operator.get(address(account, **more)).status_code == 200


def test_the_page_is_for_operators(make_account: Callable[..., Account]) -> None:
    account = make_account()
    reader, client = _person(), Client()
    client.force_login(reader)
    assert client.get(address(account)).status_code == 403
    PlatformRole.objects.create(user=reader, role="reader")
    assert client.get(address(account)).status_code == 200
    first, last, _ = span()
    refused = client.post(
        reverse("admin:billing_reconciliation"), {"provider": account.name, "first": first, "last": last}
    )
    assert refused.status_code == 403
    assert not CostReport.objects.filter(provider=account.name).exists()
    assert Client().get(address(account)).status_code == 302
