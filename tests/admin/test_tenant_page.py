"""A tenant's page tells its story in tabs: each opens for who may see the tenant, with a fixed number of queries."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from billing.admin.figures import utc_today
from billing.ledger.periods import period_at
from billing.ledger.rollups import rebuild_dirty
from billing.models import Budget, UsageDaily
from config.tenant_page.history import differences
from config.tenant_page.pages import CONTENTS
from tenants.keys.editing import issue_key
from tenants.models import ApiKey, EndUser, Tenant
from tenants.tenancy import pause_tenant, suspend_tenant
from tests.admin.filling import fill
from tests.admin.office import Office

TABS = tuple(CONTENTS)
MOST_QUERIES = 22


def tab(client: Client, tenant: Tenant, name: str, **query: Any) -> str:
    answer = client.get(reverse(f"admin:tenants_tenant_{name}", args=(tenant.pk,)), query)
    assert answer.status_code == 200, name
    return answer.content.decode()


def spent(tenant: Tenant, day: date, requests: int, usd: str, **who: Any) -> None:
    """A day's row, in the period of that day; its sums are kept by the database."""
    period = period_at(tenant, at=datetime.combine(day, time(), UTC))
    UsageDaily.objects.create(
        tenant=tenant, day=day, period_id=period.pk, records=requests, requests=requests, list_cost=Decimal(usd),
        billed_cost=Decimal(usd), **who,
    )  # fmt: skip


def test_it_works(office: Office, olga: Client) -> None:
    rebuild_dirty()
    page = tab(olga, office.acme, "overview")
    for text in (
        "Acme GmbH",
        "Spent this month",
        "Issue key",
        "Suspend…",
        "One request cost 2 USD",
        "gpt-4o",
    ):
        assert text in page, text
    assert "Resume" not in page


@pytest.mark.parametrize("name", TABS)
def test_a_tab_asks_no_more_for_more_rows(office: Office, olga: Client, name: str) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as asked:
            tab(olga, office.acme, name)
        return len(asked)

    queries()
    few = queries()
    for _ in range(3):
        fill(office, office.acme)
    assert queries() <= few <= MOST_QUERIES


@pytest.mark.parametrize("name", TABS)
def test_a_stranger_meets_nothing(office: Office, name: str) -> None:
    url = reverse(f"admin:tenants_tenant_{name}", args=(office.acme.pk,))
    assert office.client(office.charlie).get(url).status_code == 404
    assert Client().get(url).status_code == 302
    assert office.client(office.fay).get(url).status_code == 200


@pytest.mark.parametrize("name", TABS)
def test_a_page_number_is_bounded(office: Office, olga: Client, name: str) -> None:
    for number in ("0", "-1", "2", "999999999999", "x", "²", ""):
        tab(olga, office.acme, name, page=number)


def test_finance_is_offered_no_verb_it_may_not_use(office: Office) -> None:
    page = tab(office.client(office.fay), office.acme, "overview")
    assert "Report" in page
    for verb in ("Issue key", "Suspend…", "Pause…"):
        assert verb not in page


def test_the_head_offers_to_suspend_or_to_resume(office: Office, olga: Client) -> None:
    assert "Suspend…" in tab(olga, office.acme, "keys")
    suspend_tenant(office.acme, acting_user=office.olga)
    page = tab(olga, office.acme, "keys")
    assert "Resume…" in page
    assert "Suspend…" not in page
    assert "suspended" in page


def test_a_verb_of_the_head_leads_back_to_the_story(office: Office, olga: Client) -> None:
    answer = olga.post(
        reverse("admin:tenants_tenant_pause", args=(office.acme.pk,)),
        {"_form_submitted": "on", "reason": "x"},
    )
    assert answer.headers["location"] == reverse("admin:tenants_tenant_overview", args=(office.acme.pk,))


def test_the_list_leads_to_the_story(office: Office, olga: Client) -> None:
    page = olga.get(reverse("admin:tenants_tenant_changelist")).content.decode()
    assert reverse("admin:tenants_tenant_overview", args=(office.acme.pk,)) in page


def test_the_head_shows_the_month_against_its_limit(office: Office, olga: Client) -> None:
    assert "no limit" in tab(olga, office.acme, "people")
    Budget.objects.create(
        tenant=office.acme, scope="tenant", unit="usd", period="month", limit_amount=Decimal(250)
    )
    page = tab(olga, office.acme, "people")
    assert "$0.00 of $250.00" in page
    assert "Raise…" in page


def test_a_key_shows_its_last_use_and_its_spend(office: Office, olga: Client) -> None:
    key, _ = issue_key(office.acme, name="used-key")
    today = utc_today().date()
    for day, requests in ((today, 3), (today - timedelta(days=40), 5)):
        spent(office.acme, day, requests, "1.37", key_id=key.pk)
    page = tab(olga, office.acme, "keys")
    assert "used-key" in page
    assert f"{today:%Y-%m-%d}" in page
    assert "1.37" in page
    assert "2.74" not in page
    assert "never" in page  # the other key


def test_users_are_listed_by_spend_and_idle_ones_apart(office: Office, olga: Client) -> None:
    EndUser.objects.create(tenant=office.acme, external_id="idle-ida")
    today = utc_today().date()
    spent(office.acme, today, 1, "7", user_id="dear-dora")
    page = tab(olga, office.acme, "users")
    assert page.index("dear-dora") < page.index("idle-ida")
    assert "7.00" in page


def test_history_tells_before_and_after(office: Office, olga: Client) -> None:
    office.acme.policy = {"cache": {"ttl_seconds": 60}}
    office.acme._history_user = office.olga  # type: ignore[attr-defined]  # as a form's save does
    office.acme.save()
    office.acme.policy = {"cache": {"ttl_seconds": 90}}
    office.acme.save()
    pause_tenant(office.acme, acting_user=office.olga, reason="holidays")
    page = tab(olga, office.acme, "history")
    assert "policy.cache.ttl seconds" in page
    assert "<del>60</del> → <ins>90</ins>" in page
    assert "<del>active</del> → <ins>paused</ins>" in page
    assert "holidays" in page
    assert "olga" in page


def test_history_shows_no_hash_of_a_secret(office: Office, olga: Client) -> None:
    key = office.row(ApiKey)
    assert bytes(key.secret_hash).hex() not in tab(olga, office.acme, "history")


def test_the_history_of_another_tenant_is_not_there(office: Office, olga: Client) -> None:
    office.umbrella.name = "Umbrella Renamed"
    office.umbrella.save()
    assert "Umbrella Renamed" not in tab(olga, office.acme, "history")
    assert "Umbrella Renamed" in tab(olga, office.umbrella, "history")


def test_differences_lead_to_each_field() -> None:
    old, new = {"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 1, "c": 4}, "e": 5}
    assert list(differences("p", old, new)) == [("p.a.c", 2, 4), ("p.d", 3, None), ("p.e", None, 5)]
    assert list(differences("p", None, {"x": True})) == [("p.x", None, True)]


def test_a_change_of_a_budget_is_previewed_and_saved_as_it_was_shown(office: Office, olga: Client) -> None:
    budget = office.row(Budget)
    url = reverse("admin:billing_budget_change", args=(budget.pk,))
    assert 'name="_preview"' in olga.get(url).content.decode()
    sent = {
        "limit_amount": "2",
        "mode": "hard",
        "alert_at": "[80]",
        "is_active": "on",
        "shards": "1",
        "set_by": "tenant",
    }
    page = olga.post(url, {**sent, "_preview": "1"})
    assert "Not saved yet" in page.content.decode()
    assert dict(page.context["answers"]) == sent
    budget.refresh_from_db()
    assert budget.limit_amount == 5
    assert olga.post(url, dict(page.context["answers"])).status_code == 302
    budget.refresh_from_db()
    assert budget.limit_amount == 2
    wrong = olga.post(url, {**sent, "limit_amount": "-1", "_preview": "1"})
    assert "Not saved yet" not in wrong.content.decode()
    assert office.client(office.fay).post(url, {**sent, "_preview": "1"}).status_code == 403
    add = reverse("admin:billing_budget_add")
    new = {
        **sent,
        "tenant": office.acme.pk,
        "scope": "feature",
        "value": "",
        "unit": "tokens",
        "period": "week",
    }
    assert "Not saved yet" in olga.post(add, {**new, "_preview": "1"}).content.decode()
    assert not Budget.objects.filter(scope="feature", tenant=office.acme).exists()
    theirs = {**new, "tenant": office.umbrella.pk, "_preview": "1"}
    assert "Not saved yet" not in office.client(office.alice).post(add, theirs).content.decode()
