"""The home page says what is so for the chosen tenants and days, asks the database as often with much as with little, and
leads everywhere."""

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now

from billing.models import (
    AlertEvent,
    BillingPeriod,
    Budget,
    BudgetRaise,
    PriceRow,
    RaiseRequest,
    UsageDaily,
    UsageSum,
)
from config.home.choices import Span, choice_of, span_of
from llm.models import LanguageModel, Provider, RequestDay
from tenants.models import Tenant
from tests.admin.filling import fill
from tests.admin.office import Office
from tests.admin.pressing import SUBMITTED
from tests.admin.test_pages import query_count
from tests.billing.sums import sum_days

HOME = "/admin/"


def spent(client: Client, **chosen: str) -> str:
    return str(client.get(HOME, chosen).context["cards"][0].value)


def usage(tenant: Tenant, day: date, billed: str, **fields: Any) -> None:
    UsageDaily.objects.create(
        tenant=tenant, day=day, requests=1, list_cost=1, billed_cost=Decimal(billed), **fields
    )
    sum_days(tenant)


def test_it_works(office: Office) -> None:
    day = now().date()
    usage(office.acme, day, "0.50", model="gpt-4o", user_id="alice", feature="search", tier="complex")
    RequestDay.objects.create(
        tenant=None, day=day, provider="openai", measure="answered", bucket=24, requests=1
    )
    response = office.client(office.olga).get(HOME)
    page = response.content.decode()
    for title in (
        "Needs you", "Spend by day", "Requests by outcome", "From list price to what is paid", "Requests by tier",
        "Who spends most", "Providers", "Batches under way",
    ):  # fmt: skip
        assert title in page, title
    assert [card.title for card in response.context["cards"]] == [
        "Spent", "Saved", "Requests", "Refused · failed", "Cache hit rate", "Latency p50 · p95",
    ]  # fmt: skip


def test_each_person_sees_the_sums_of_ones_own_tenants(office: Office) -> None:
    fill(office, office.umbrella)
    UsageDaily.objects.all().delete()
    usage(office.acme, now().date(), "0.25")
    usage(office.umbrella, now().date(), "0.50")
    assert [spent(office.client(one)) for one in (office.fay, office.charlie, office.olga)] == [
        "$0.2500",
        "$0.5000",
        "$0.7500",
    ]
    assert spent(office.client(office.olga), tenant="umbrella") == "$0.5000"
    assert spent(office.client(office.fay), tenant="umbrella") == "$0.2500"  # not hers to choose
    page = office.client(office.fay).get(HOME, {"tenant": "umbrella", "by": "tenant"}).content.decode()
    assert "umbrella" not in page.lower()


def test_what_the_caches_ask_is_money_and_no_request(office: Office) -> None:
    UsageDaily.objects.all().delete()
    usage(office.acme, now().date(), "0.25", model="gpt-4o")
    UsageDaily.objects.create(
        tenant=office.acme, day=now().date(), model="e", cache_state="embed", billed_cost=Decimal("0.01")
    )
    sum_days(office.acme)
    [row] = office.client(office.fay).get(HOME, {"top": "tenant"}).context["tops"]["table"]["rows"]
    assert (row[2], row[4]) == (Decimal("0.26"), 1)


def test_the_period_holds_for_every_figure(office: Office) -> None:
    UsageDaily.objects.all().delete()
    today = now().date()
    usage(office.acme, today, "1")
    usage(office.acme, today - timedelta(days=10), "2")
    usage(office.acme, today - timedelta(days=40), "4")
    client = office.client(office.olga)
    assert spent(client, period="today") == "$1.00"
    assert spent(client) == "$3.00"
    day = (today - timedelta(days=40)).isoformat()
    assert spent(client, **{"from": day, "to": day}) == "$4.00"
    change = client.get(HOME).context["cards"][0].change
    assert change.text == "-25 %"
    assert client.get(HOME, {"compare": "none"}).context["cards"][0].change is None


def test_every_link_keeps_what_was_chosen(office: Office) -> None:
    usage(office.acme, now().date(), "1", model="gpt-4o", user_id="alice")
    chosen = {"tenant": "acme", "period": "7d", "by": "user", "top": "key"}
    page = office.client(office.olga).get(HOME, chosen).content.decode()
    tabs = re.findall(r'<nav class="p-toggle".*?</nav>', page, re.DOTALL)
    links = re.findall(r'href="(\?[^"]*)"', "".join(tabs))
    assert len(links) == 9
    assert all("tenant=acme" in link and "period=7d" in link for link in links)
    listed = re.findall(r'href="(/admin/llm/requestlog/\?[^"]*)"', page)
    assert listed
    assert all("tenant=acme" in link and "from=" in link for link in listed if "period" not in link)


@pytest.mark.parametrize(
    "query",
    [
        {"by": "nobody", "top": "nothing", "period": "ever", "compare": "x"},
        {"from": "2026-02-31", "to": "9999-99-99"},
        {"from": "0001-01-01"},
        {"from": "2026-11-05", "to": "2026-11-01"},
        {"tenant": "no-such-tenant"},
        {"tenant": "a" * 5000},
    ],
)
def test_an_odd_address_is_no_error(query: dict[str, str], office: Office) -> None:
    assert office.client(office.olga).get(HOME, query).status_code == 200


def test_much_costs_as_many_queries_as_little(office: Office) -> None:
    client = office.client(office.olga)
    before = query_count(client, HOME)
    for _ in range(3):
        fill(office, office.acme)
        fill(office, office.umbrella)
    for number in range(12):
        usage(
            office.acme, now().date(), "1", model=f"m-{number}", user_id=f"u-{number}", feature=f"f-{number}"
        )
    for by in ("model", "tenant", "feature", "user"):
        for top in ("tenant", "user", "feature", "model", "key"):
            assert query_count(client, f"{HOME}?by={by}&top={top}") <= before + 3, (by, top)


def test_what_is_beyond_the_colours_is_others(office: Office) -> None:
    UsageDaily.objects.all().delete()
    for number in range(10):
        usage(office.acme, now().date(), str(number + 1), model=f"m-{number}")
    client = office.client(office.olga)
    legend = client.get(HOME, {"by": "model"}).context["spend"]["chart"]["legend"]
    assert [one["name"] for one in legend] == [f"m-{number}" for number in range(9, 2, -1)] + ["others"]
    assert legend[-1]["total"] == "6.00 USD"


def test_the_waterfall_leads_from_the_list_price_to_what_is_paid(office: Office) -> None:
    UsageSum.objects.create(
        tenant=office.acme, day=now().date(), dimension="total", requests=3, hits=1, list_cost=10, adjusted_cost=-1,
        billed_cost=4, saving={"routing": "3", "gateway_cache": "1.5", "batch": "0.5", "credits": "1"},
    )  # fmt: skip
    rows = office.client(office.olga).get(HOME).context["savings"]["rows"]
    assert [row["name"] for row in rows] == [
        "List price", "Our cache", "Routing", "Compression", "Batch",
        "Credits", "Paid",
    ]  # fmt: skip
    assert (rows[-1]["width"], rows[0]["width"], rows[-2]["left"]) == (40.0, 100.0, 40.0)


def test_outcomes_and_latencies_come_from_the_days_of_requests(office: Office) -> None:
    day = now().date()
    for measure, requests in (("answered", 60), ("cached", 30), ("refused", 8), ("failed", 2)):
        RequestDay.objects.create(
            tenant=office.acme, day=day, provider="openai", measure=measure, bucket=24, requests=requests
        )
    cards = office.client(office.fay).get(HOME).context["cards"]
    assert cards[2].value == "100"
    assert cards[3].value == "8.0 % · 2.0 %"
    assert cards[5].value == "866 ms · 986 ms"


def test_a_verb_asks_and_leads_back(office: Office) -> None:
    client = office.client(office.olga)
    event = AlertEvent.objects.get()
    page = client.get(HOME, {"period": "7d"}).content.decode()
    [dialog] = re.findall(rf'hx-get="([^"]*alertevent/{event.pk}/[^"]*)"', page)
    dialog = dialog.replace("&amp;", "&")
    assert "Acknowledge this alert?" in client.get(dialog).content.decode()
    event.refresh_from_db()
    assert event.acknowledged_at is None
    answered = client.post(dialog, SUBMITTED, headers={"HX-Request": "true"})
    event.refresh_from_db()
    assert event.acknowledged_by == office.olga
    assert answered.headers["HX-Redirect"] == "/admin/?period=7d"
    assert (
        "One request cost 2 USD"
        not in client.get(HOME).content.decode().split("home-spend")[0].split("home-needs")[-1]
    )


@pytest.mark.parametrize(
    "back", ["https://evil.example/admin/", "//evil.example/admin/", "/admin/\r\nSet-Cookie: a=b", "/docs"]
)
def test_a_verb_leads_nowhere_else(back: str, office: Office) -> None:
    event = AlertEvent.objects.get()
    url = reverse("admin:billing_alertevent_acknowledge", args=(event.pk,))
    answered = office.client(office.olga).post(f"{url}?", SUBMITTED, query_params={"back": back})
    assert answered.status_code == 302
    assert "evil" not in answered.headers["Location"]
    assert "\n" not in answered.headers["Location"]


def test_a_budget_from_eighty_percent_on_needs_somebody(office: Office) -> None:
    BudgetRaise.objects.all().delete()
    budget = Budget.objects.get(tenant=office.acme)
    budget.windows.update(held=0, spent=budget.limit_amount * Decimal("0.79"))
    needs = office.client(office.alice).get(HOME).context["needs"]
    assert not any("limit left" in need.text for need in needs)
    budget.windows.update(spent=budget.limit_amount * Decimal("0.85"))
    [need] = [
        need for need in office.client(office.alice).get(HOME).context["needs"] if "limit left" in need.text
    ]
    assert "85.0 %" in need.text
    assert [verb.label for verb in need.verbs] == ["Raise"]
    [need] = [
        need for need in office.client(office.fay).get(HOME).context["needs"] if "limit left" in need.text
    ]
    assert need.verbs == []  # finance may look


def lines(client: Client, word: str, **chosen: str) -> list[str]:
    return [need.text for need in client.get(HOME, chosen).context["needs"] if word in need.text]


def test_a_model_that_is_shut_down_soon_is_told_with_its_money(office: Office) -> None:
    today, account = now().date(), Provider.objects.first()
    for name, days in (("soon", 10), ("unused", 40), ("late", 90)):
        LanguageModel.objects.create(
            name=name, provider=account, upstream=name, context_window=1000, fallbacks=["gpt-4o"],
            retires_on=today + timedelta(days=days),
        )  # fmt: skip
    usage(office.acme, today, "12.50", model="soon")
    seen = lines(office.client(office.olga), "shut down")
    assert [re.findall(r">(\w+)</a>", text) for text in seen] == [["soon"], ["unused"]]
    assert "in 10 days; $12.50 were spent on it in the last 30 days, its fallbacks are gpt-4o" in seen[0]
    assert len(lines(office.client(office.alice), "shut down")) == 1  # of what the tenant spends on
    assert lines(office.client(office.charlie), "shut down") == []


def test_prices_that_change_soon_are_told_with_their_money(office: Office) -> None:
    changes_at = now() + timedelta(days=9)
    for price, span in (("2", {"valid_to": changes_at}), ("3", {"valid_from": changes_at})):
        PriceRow.objects.create(
            provider="openai", model="dearer", meter="input", source="test", unit_price=Decimal(price),
            **{"valid_from": now() - timedelta(days=90)} | span,
        )  # fmt: skip
    UsageDaily.objects.create(
        tenant=office.acme, day=now().date(), provider="openai", model="dearer", processing="online",
        usage_source="provider", input_tokens=4_000_000, requests=1,
    )  # fmt: skip
    sum_days(office.acme)
    for person in (office.olga, office.alice):
        [text] = lines(office.client(person), "within 30 days")
        assert "1 price changes" in text
        assert f"the first on {changes_at:%Y-%m-%d}: +$4.00 for usage like that of the last 30 days" in text
        assert "/admin/planning/?tab=ahead" in text
    assert lines(office.client(office.charlie), "within 30 days") == []  # whose money does not change


def test_a_month_that_may_be_closed_needs_somebody(office: Office) -> None:
    starts_at = datetime(2020, 1, 1, tzinfo=UTC)
    BillingPeriod.objects.create(
        tenant=office.umbrella, label="2020-01", starts_at=starts_at, ends_at=starts_at + timedelta(days=31)
    )
    needs = office.client(office.charlie).get(HOME).context["needs"]
    assert any("2020-01" in need.text and need.verbs[0].label == "Close" for need in needs)


def test_nothing_stands_above_the_figures_where_nobody_is_needed(office: Office) -> None:
    RaiseRequest.objects.all().delete()
    page = office.client(office.charlie).get(HOME).content.decode()
    assert "Needs you" not in page


TODAY = date(2026, 11, 30)


@pytest.mark.parametrize(
    ("query", "span", "before"),
    [
        ({}, ("2026-11-01", "2026-12-01"), ("2026-10-02", "2026-11-01")),
        ({"period": "today"}, ("2026-11-30", "2026-12-01"), ("2026-11-29", "2026-11-30")),
        ({"period": "month"}, ("2026-11-01", "2026-12-01"), ("2026-10-01", "2026-10-31")),
        ({"period": "last_month"}, ("2026-10-01", "2026-11-01"), ("2026-09-01", "2026-10-01")),
        (
            {"from": "2026-11-10", "to": "2026-11-12"},
            ("2026-11-10", "2026-11-13"),
            ("2026-11-07", "2026-11-10"),
        ),
        ({"from": "2020-01-01"}, ("2025-10-27", "2026-12-01"), ("2024-09-22", "2025-10-27")),
    ],
)
def test_a_time_is_compared_with_as_much_time_before(
    query: dict[str, str], span: tuple[str, str], before: tuple[str, str], office: Office, rf: Any
) -> None:
    request = rf.get(HOME, query)
    request.user = office.olga
    choice = choice_of(request, at=datetime(2026, 11, 30, 9, tzinfo=UTC))
    assert choice.span == Span(*map(date.fromisoformat, span))
    assert choice.before == Span(*map(date.fromisoformat, before))
    assert span_of(choice.bar, today=TODAY) == choice.span
