"""An owner's pages: spend, teams, months with their files, alerts and people."""

import csv
import io
from datetime import UTC, timedelta
from decimal import Decimal

import pytest
from django.utils.timezone import now

from billing.ledger.periods import period_at
from billing.models import AlertEvent, UsageDaily
from billing.months.files import bytes_of
from tenants.models import EndUser, Membership
from tests.billing.sums import sum_days
from tests.config.portal.conftest import House
from tests.config.portal.test_budgets import limit, spend
from tests.config.portal.test_walls import statement_of


def spent(house: House, *, user: str, cost: str, team: str = "4711", days_ago: int = 0) -> None:
    """A day of one user, as the sums of days have it."""
    day, amount = now().astimezone(UTC).date() - timedelta(days=days_ago), Decimal(cost)
    money = {"list_cost": amount * 2, "billed_cost": amount}
    who = {"user_id": user, "cost_center": team, "model": "gpt-4o"}
    period = period_at(house.acme, at=now() - timedelta(days=days_ago))
    UsageDaily.objects.create(
        tenant=house.acme, day=day, period_id=period.pk, records=3, requests=3, provider_cost=Decimal("777.77"), **who, **money
    )  # fmt: skip
    sum_days(house.acme)


def test_it_works(house: House) -> None:
    spent(house, user="alice", cost="1.25")
    spent(house, user="bob", cost="2.50")
    for person in (house.alice, house.fay):
        page = house.client(person).get(house.at("spend/?span=7")).text
        for seen in ("$3.75", "2.50", "1.25", "gpt-4o"):
            assert seen in page
        assert "777" not in page


def test_home_has_everybodys_figures_for_an_owner_and_ones_own_for_a_member(house: House) -> None:
    spent(house, user="alice", cost="1.25")
    spent(house, user="bob", cost="2.50")
    assert "$3.75" in house.client(house.alice).get(house.at()).text
    hers = house.client(house.bob).get(house.at()).text
    assert "$2.50" in hers
    assert "$3.75" not in hers
    assert "$1.25" not in hers


def test_the_file_has_every_day_and_no_formula(house: House) -> None:
    spent(house, user="=HYPERLINK(1)", cost="1.25")
    answer = house.client(house.fay).get(house.at("spend/file/?span=30"))
    assert "attachment" in answer.headers["content-disposition"]
    row = next(csv.DictReader(io.StringIO(answer.text)))
    assert row["user_id"] == "'=HYPERLINK(1)"
    assert Decimal(row["billed_cost"]) == Decimal("1.25")
    assert "provider_cost" not in row
    assert "provider" not in row


def test_teams_are_cost_centres_with_their_share(house: House) -> None:
    spent(house, user="alice", cost="3", team="4711")
    spent(house, user="bob", cost="1", team="0815")
    page = house.client(house.alice).get(house.at("teams/")).text
    assert "alice, bob" in page
    assert "75.0 %" in page
    assert "25.0 %" in page


def test_teams_have_what_is_left_of_their_budgets(house: House) -> None:
    """One of its own, and its share of one that limits each team; a team without one gets an offer."""
    EndUser.objects.create(tenant=house.acme, external_id="carol", cost_center="0815")
    EndUser.objects.create(tenant=house.umbrella, external_id="mallory", cost_center="4711")
    own = limit(house.acme, "cost_center", "4711", period="month", limit_amount=Decimal(20))
    spend(own, "4711", "15")
    alice, fay = house.client(house.alice), house.client(house.fay)
    page = alice.get(house.at("teams/")).text
    for seen in (
        "20.00 USD per month",
        "75.0 %",
        "5.00 USD",
        f"budgets/{own.pk}/",
        "scope=cost_center&amp;value=0815",
    ):
        assert seen in page
    assert "Set one" not in fay.get(house.at("teams/")).text
    each = limit(house.acme, "cost_center", "", period="day", mode="soft")
    spend(each, "0815", "1")
    page = alice.get(house.at("teams/")).text
    assert page.count("5.00 USD per day, only watched") == 2
    assert "20.0 %" in page
    assert "Set one" not in page
    form = alice.get(house.at("budgets/new/?scope=cost_center&value=0815")).text
    assert 'value="cost_center" selected' in form
    assert 'value="0815"' in form


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume asynchronous iterators")
def test_a_statement_is_listed_and_its_files_are_sent_as_they_were_made(house: House) -> None:
    statement = statement_of(house.acme)
    fay = house.client(house.fay)
    assert statement.code in fay.get(house.at("months/")).text
    page = fay.get(house.at(f"months/{statement.number}/")).text
    for file in statement.files.all():
        assert file.name in page
        sent = fay.get(house.at(f"months/{statement.number}/{file.pk}/"))
        assert b"".join(sent) == bytes_of(file)


def test_an_owner_notes_that_she_has_seen_an_alert(house: House) -> None:
    event = AlertEvent.objects.create(
        tenant=house.acme, metric="request_cost", value=2, threshold=1, message="One was dear"
    )
    alice = house.client(house.alice)
    text = alice.get(house.at("alerts/")).text
    assert "One was dear" in text
    assert 'First seen <time class="p-moment"' in text
    alice.post(house.at(f"alerts/{event.pk}/seen/"))
    event.refresh_from_db()
    assert event.acknowledged_by == house.alice


def test_an_owner_changes_a_role_and_takes_somebody_out(house: House) -> None:
    alice, of_bob = house.client(house.alice), Membership.objects.get(user=house.bob)
    assert house.bob.username in alice.get(house.at("people/")).text
    alice.post(house.at(f"people/{of_bob.pk}/"), {"role": "finance", "person": "robert"})
    of_bob.refresh_from_db()
    assert (of_bob.role, of_bob.person) == ("finance", "robert")
    taken = alice.post(house.at(f"people/{of_bob.pk}/"), {"role": "finance", "person": "alice"})
    assert taken.status_code == 200  # alice's user id is alice's
    alice.post(house.at(f"people/{of_bob.pk}/remove/"))
    assert not Membership.objects.filter(user=house.bob).exists()
    assert house.client(house.bob).get(house.at()).status_code == 404


def test_the_last_owner_stays(house: House) -> None:
    alice, hers = house.client(house.alice), Membership.objects.get(user=house.alice)
    page = alice.post(house.at(f"people/{hers.pk}/"), {"role": "member", "person": "alice"})
    assert "A tenant keeps an owner" in page.text
    alice.post(house.at(f"people/{hers.pk}/remove/"))
    assert Membership.objects.get(user=house.alice).role == "owner"
    Membership.objects.filter(user=house.bob).update(role="owner")
    alice.post(house.at(f"people/{hers.pk}/remove/"))
    assert not Membership.objects.filter(user=house.alice).exists()
