"""Alerts are found by what became of them, by their rule and tenant; the home page and the tenant's page show them in groups."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now

from billing.incidents import STATES, in_state
from billing.models import AlertEvent, AlertRule, UsageSpan
from tenants.models import Tenant
from tests.admin.office import Office
from tests.admin.test_pages import url_of


def alert(tenant: Tenant, message: str, **fields: Any) -> AlertEvent:
    values = {
        "metric": "day_spend",
        "value": 1,
        "threshold": 1,
        "subject_key": message,
        "window_key": message,
    }
    return AlertEvent.objects.create(tenant=tenant, message=message, **{**values, **fields})


@pytest.fixture
def olga(office: Office) -> Client:
    return office.client(office.olga)


@pytest.fixture
def alerts(office: Office) -> dict[str, AlertEvent]:
    """One of each state; a mute that is over is none."""
    AlertEvent.objects.all().update(resolved_at=now(), message="an older one")
    at = now()
    return {
        "open": alert(office.acme, "it is open", muted_until=at - timedelta(hours=1)),
        "acknowledged": alert(office.acme, "it is known", acknowledged_at=at),
        "muted": alert(office.acme, "it is quiet", acknowledged_at=at, muted_until=at + timedelta(hours=1)),
        "resolved": alert(office.acme, "it is over", resolved_at=at, muted_until=at + timedelta(hours=1)),
    }


def listed(client: Client, **query: Any) -> set[str]:
    page = client.get(url_of(AlertEvent, "changelist"), query).content.decode()
    return {message for message in ("open", "known", "quiet", "over") if f"it is {message}" in page}


def test_it_works(olga: Client, alerts: dict[str, AlertEvent]) -> None:
    assert listed(olga) == {"open", "known", "quiet", "over"}
    found = {state: listed(olga, state=state) for state in STATES}
    assert found == {"open": {"open"}, "acknowledged": {"known"}, "muted": {"quiet"}, "resolved": {"over"}}
    assert listed(olga, state="anything") == {"open", "known", "quiet", "over"}


def test_times_are_named_in_words_and_have_a_zone(olga: Client, alerts: dict[str, AlertEvent]) -> None:
    pages = [
        url_of(AlertEvent, "changelist"),
        url_of(AlertEvent, "change", alerts["resolved"].pk),
    ]
    texts = [olga.get(page).content.decode() for page in pages]
    for text in texts:
        assert "First seen" in text
        assert not re.search(r"fired at|last at|ends at|resolved at", text, re.IGNORECASE)
    for name in ("Last seen", "Ends by itself", "Over since"):
        assert name in texts[1]
    seen = alerts["resolved"].fired_at
    assert all(f'{seen:%Y-%m-%d %H:%M:%S} <span class="p-utc">UTC</span>' in text for text in texts)


def test_the_filter_and_the_state_say_the_same(alerts: dict[str, AlertEvent]) -> None:
    for state, event in alerts.items():
        assert event.state == state
        assert event in AlertEvent.objects.filter(in_state(state))
    with pytest.raises(ValueError, match="open, acknowledged"):
        in_state("anything")


def test_alerts_are_found_by_rule_tenant_and_what_is_watched(
    office: Office, olga: Client, alerts: dict[str, AlertEvent]
) -> None:
    rule = AlertRule.objects.create(tenant=office.acme, metric="day_spend", threshold=77)
    AlertEvent.objects.filter(pk=alerts["open"].pk).update(rule=rule)
    AlertEvent.objects.filter(pk=alerts["muted"].pk).update(metric="spend_jump")
    assert listed(olga, rule__id__exact=rule.pk) == {"open"}
    assert listed(olga, metric="spend_jump") == {"quiet"}
    assert listed(olga, tenant__id__exact=office.umbrella.pk) == set()


def test_home_leads_to_the_open_alerts_of_that_rule_and_tenant(
    office: Office, olga: Client, alerts: dict[str, AlertEvent]
) -> None:
    alert(office.acme, "it is open, too")
    alert(office.umbrella, "it is known elsewhere")
    page = olga.get(reverse("admin:index")).content.decode()
    [path] = set(
        re.findall(r'href="(/admin/billing/alertevent/\?[^"]*state=open&amp;metric=day_spend[^"]*)"', page)
    )
    found = olga.get(path.replace("&amp;", "&")).content.decode()
    assert "it is open, too" in found
    assert "elsewhere" not in found
    assert "it is known" not in found


def test_a_tenants_page_shows_one_line_for_a_rule_and_subject(
    office: Office, olga: Client, alerts: dict[str, AlertEvent]
) -> None:
    for number in range(3):
        alert(office.acme, f"half is used, {number}", subject_key="budget", metric="budget_percent", count=5)
    page = olga.get(reverse("admin:tenants_tenant_overview", args=(office.acme.pk,))).content.decode()
    section = page.partition("Open alerts")[2].partition("</table>")[0]
    assert section.count("half is used") == 1
    assert "half is used, 2" in section
    assert re.search(r">\s*15\s*<", section)
    assert "it is over" not in section
    assert section.index("it is open") < section.index("it is known")


def test_a_rule_says_what_it_would_have_told(office: Office, olga: Client) -> None:
    rule = AlertRule.objects.create(tenant=office.acme, metric="day_spend", threshold=10)
    for ago in (2, 4):
        UsageSpan.objects.create(
            tenant=office.acme, at=now() - timedelta(days=ago), billed_usd=12, requests=3
        )
    url = url_of(AlertRule, "change", rule.pk)
    page = olga.get(url).content.decode()
    assert "The tenant has spent 10 USD or more on its own day so far." in page
    assert "It would have told 2 times: " in page
    sent = {"metric": "day_spend", "threshold": "20", "is_active": "on"}
    shown = olga.post(url, {**sent, "_preview": "1"})
    assert "Not saved yet" in shown.content.decode()
    assert "It would have told nobody." in shown.content.decode()
    rule.refresh_from_db()
    assert rule.threshold == 10
    assert olga.post(url, dict(shown.context["answers"])).status_code == 302
    rule.refresh_from_db()
    assert rule.threshold == 20
    new = {**sent, "tenant": office.acme.pk, "threshold": "11", "_preview": "1"}
    assert "It would have told 2 times: " in olga.post(url_of(AlertRule, "add"), new).content.decode()
