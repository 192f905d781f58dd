"""Requests are found by what people know of them; a leaked key by its secret, which never stands in an address."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now
from unfold.contrib.filters.admin import RangeDateFilter, RangeDateTimeFilter, RangeNumericFilter

from config.site.filter_bar import FilterBar, period_fields, span_of
from llm.models import RequestLog
from tenants.keys.editing import issue_key, rotate_key
from tenants.models import Tenant
from tests.admin.office import Office
from tests.admin.test_pages import url_of

LONG_AGO = datetime(2026, 1, 2, 12, tzinfo=UTC)
LIST = "admin:llm_requestlog_changelist"


def logged(tenant: Tenant, **fields: Any) -> RequestLog:
    given = {
        "endpoint": "chat",
        "model_asked": "auto",
        "cache_state": "miss",
        "status": 200,
        "at": now(),
        "receipt": {},
    }
    return RequestLog.objects.create(request_id=uuid4(), tenant=tenant, **(given | fields))


def found(client: Client, **query: Any) -> set[Any]:
    response = client.get(reverse(LIST), query)
    assert response.status_code == 200, response.status_code
    return {row.pk for row in response.context["cl"].result_list}


def test_it_works(office: Office, olga: Client) -> None:
    wanted = logged(office.acme, user="bob")
    assert found(olga, q=str(wanted.pk)) == {wanted.pk}
    assert wanted.pk in found(olga)


@pytest.mark.parametrize(
    ("fields", "query"),
    [
        ({"user": "bob"}, {"user": "bob"}),
        ({"user": "bob"}, {"q": "bob"}),
        ({"user": "bob-7"}, {"user": "bob*"}),
        ({"feature": "search"}, {"feature": "search"}),
        ({"session": "s-1"}, {"session": "s-1"}),
        ({"model": "gpt-9"}, {"model": "gpt-9"}),
        ({"model_asked": "gpt-9"}, {"model": "gpt-9"}),
        ({"status": 429, "error_code": "budget_exceeded"}, {"outcome": "refused"}),
        ({"status": 429, "error_code": "budget_exceeded"}, {"outcome": "budget_exceeded"}),
        ({"status": 503}, {"outcome": "failed"}),
        ({"cache_state": "semantic"}, {"outcome": "cached"}),
        ({"is_stream": True}, {"outcome": "streamed"}),
        ({"cost_usd": Decimal("0.5")}, {"cost": "0.5"}),
        ({"latency_ms": 20_000}, {"ms": "10000"}),
        (
            {"at": now() - timedelta(days=3)},
            {"from": f"{now() - timedelta(days=4):%Y-%m-%d}", "to": f"{now() - timedelta(days=2):%Y-%m-%d}"},
        ),
    ],
)
def test_it_is_found_by(office: Office, olga: Client, fields: dict[str, Any], query: dict[str, str]) -> None:
    wanted, other = logged(office.acme, **fields), logged(office.acme)
    result = found(olga, **query)
    assert wanted.pk in result
    assert other.pk not in result


def test_it_is_found_by_its_key_and_its_tenant(office: Office, olga: Client) -> None:
    key, _ = issue_key(office.acme, name="the-one")
    wanted, other = logged(office.acme, key_id=key.pk), logged(office.umbrella)
    for query in ({"key": "the-one"}, {"key": key.public_id}):
        assert found(olga, **query) == {wanted.pk}
    by_tenant = found(olga, tenant="acme")
    assert wanted.pk in by_tenant
    assert other.pk not in by_tenant


def test_an_old_one_is_found_by_its_id_and_at_any_time_only(office: Office, olga: Client) -> None:
    old = logged(office.acme, at=now() - timedelta(days=90))
    assert old.pk not in found(olga)
    assert old.pk in found(olga, period="all")
    assert found(olga, q=str(old.pk)) == {old.pk}


@pytest.mark.parametrize(
    "query",
    [
        {"cost": "NaN"},
        {"cost": "1e999999999"},
        {"ms": "-Infinity"},
        {"from": "9999-12-31", "to": "0001-01-01"},
        {"outcome": "no such"},
        {"period": "x"},
        {"user": "a" * 5000},
        {"q": "\x00"},
        {"tenant": "' OR 1=1 --"},
        {"o": "99"},
    ],
)
def test_nonsense_finds_no_error(office: Office, olga: Client, query: dict[str, str]) -> None:
    assert olga.get(reverse(LIST), query, follow=True).status_code == 200


def test_nobody_finds_requests_of_strangers(office: Office) -> None:
    hidden = logged(office.acme, user="bob", feature="search")
    charlie = office.client(office.charlie)
    for query in ({}, {"user": "bob"}, {"q": str(hidden.pk)}, {"tenant": "acme"}, {"feature": "search"}):
        assert hidden.pk not in found(charlie, **query)
    page = charlie.get(reverse(LIST)).content.decode()
    assert "acme" not in page


def test_what_is_chosen_stays_in_the_address_of_every_link(office: Office, olga: Client) -> None:
    page = olga.get(reverse(LIST), {"tenant": "acme", "outcome": "refused"}).content.decode()
    assert "outcome=refused" in page
    assert 'href="?tenant=acme&amp;outcome=failed"' in page


def test_a_span_is_two_days_or_a_length() -> None:
    at = now()
    fields = period_fields(default="24h")
    first, end = span_of(FilterBar.read(fields, {}), now=at)
    assert (first, end) == (at - timedelta(days=1), None)
    first, end = span_of(FilterBar.read(fields, {"to": "2026-11-02"}), now=at)
    assert first is None
    assert str(end) == "2026-11-03 00:00:00+00:00"


def test_a_leaked_key_is_found_by_pasting_it(office: Office, olga: Client) -> None:
    key, secret = issue_key(office.acme, name="leaked")
    find = reverse("admin:tenants_apikey_find")
    response = olga.post(find, {"secret": f" {secret} "}, follow=True)
    assert response.redirect_chain[-1][0] == reverse("admin:tenants_apikey_change", args=(key.pk,))
    assert secret not in response.content.decode()
    assert "present secret" in response.content.decode()
    fresh = rotate_key(key, grace=timedelta(hours=1))
    assert "former secret" in olga.post(find, {"secret": secret}, follow=True).content.decode()
    assert "present secret" in olga.post(find, {"secret": fresh}, follow=True).content.decode()
    wrong = f"{secret[:-4]}AAAA"
    assert "none of its secrets" in olga.post(find, {"secret": wrong}, follow=True).content.decode()


def test_a_key_is_found_by_who_may_see_it_and_by_no_address(office: Office) -> None:
    key, secret = issue_key(office.acme, name="leaked")
    find = reverse("admin:tenants_apikey_find")
    charlie = office.client(office.charlie)
    assert "No key of yours" in charlie.post(find, {"secret": secret}, follow=True).content.decode()
    assert office.client(office.alice).get(find, {"secret": secret}).status_code == 405
    for strange in ("", "x" * 100_000, "psr_", "\x00"):
        assert "No key of yours" in charlie.post(find, {"secret": strange}, follow=True).content.decode()
    assert key.revoked_at is None


RANGES_ENDS = {
    RangeDateTimeFilter: ("_from_0", "2026-01-01"),
    RangeDateFilter: ("_from", "2026-01-01"),
    RangeNumericFilter: ("_from", "1"),
}
RANGED = [
    (model, item)
    for model, pages in admin.site._registry.items()
    for item in getattr(pages, "list_filter", ())
    if isinstance(item, tuple) and item[1] in RANGES_ENDS
]


@pytest.mark.parametrize(("model", "item"), RANGED, ids=lambda one: getattr(one, "__name__", str(one)[:30]))
def test_a_time_can_be_chosen_in_every_list_that_offers_it(olga: Client, model: Any, item: Any) -> None:
    end, value = RANGES_ENDS[item[1]]
    more = {f"{item[0]}_from_1": "00:00:00"} if end == "_from_0" else {}
    # a choice that is not allowed leads to the whole list, with ?e=1
    assert olga.get(url_of(model, "changelist"), {f"{item[0]}{end}": value, **more}).status_code == 200
