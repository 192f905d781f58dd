"""The portal's pages of sessions and runs: a member sees her own, and a run that is full goes on from there."""

from datetime import timedelta
from decimal import Decimal
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import User
from django.utils.timezone import now

from billing.models import AgentHour, AlertEvent, BudgetRaise, RaiseRequest, RunEnvelope
from billing.runs import envelopes
from tenants.models import Membership
from tenants.policy import parse_policy
from tests.config.portal.conftest import House

POLICY = {"envelopes": {"opens": "session", "usd": 2, "most_usd": 5, "own_raises": 2}}


@pytest.fixture
def works(house: House) -> House:
    """alice and bob have sessions, and a run each."""
    house.acme.policy = POLICY
    house.acme.save()
    for user in (house.alice, house.bob):
        name = user.username.partition("-")[0]
        Membership.objects.filter(user=user).update(person=name)
        for agent, parent in (("", ""), ("a1", ""), ("b1", "a1")):
            AgentHour.objects.create(
                tenant=house.acme,
                hour=now().replace(minute=0, second=0, microsecond=0),
                session=f"session-of-{name}",
                agent=agent,
                parent_agent=parent,
                user_id=name,
                model="claude-<opus>",
                requests=1,
                billed_cost=Decimal("0.25"),
            )
        run_of(house, name)
    return house


def run_of(house: House, person: str, run: str = "TICKET-12") -> RunEnvelope:
    policy = parse_policy(house.acme.policy).envelopes
    id = envelopes.open_run(house.acme, person=person, run=run, usd=Decimal(2), policy=policy)
    return RunEnvelope.objects.get(pk=id)


def post(house: House, user: User, run: RunEnvelope, verb: str, **fields: str) -> str:
    client = house.client(user)
    answer = client.post(house.at(f"runs/{run.pk}/{verb}/"), fields, follow=True)
    return str(answer.text) if answer.status_code == 200 else str(answer.status_code)


def left(run: RunEnvelope) -> Decimal:
    return envelopes.state_of(run).remaining


def test_it_works(works: House) -> None:
    bob = works.client(works.bob)
    page = bob.get(works.at("sessions/")).text
    assert "session-of-bob" in page
    assert "session-of-alice" not in page
    assert page.count("TICKET-12") >= 1
    tree = bob.get(works.at("sessions/one/?" + urlencode({"session": "session-of-bob"})))
    assert tree.status_code == 200
    assert "0.75" in tree.text
    assert "claude-&lt;opus&gt;" in tree.text
    of_all = works.client(works.alice).get(works.at("sessions/?days=30")).text
    assert "session-of-bob" in of_all
    assert "session-of-alice" in of_all


def test_nobody_sees_what_is_not_hers(works: House) -> None:
    bob, charlie, fay = (works.client(one) for one in (works.bob, works.charlie, works.fay))
    run = RunEnvelope.objects.get(owner="user/alice")
    for page in ("sessions/one/?session=session-of-alice", "sessions/one/?session=none", f"runs/{run.pk}/"):
        assert bob.get(works.at(page)).status_code == 404
        assert charlie.get(works.at(page)).status_code == 404
    assert bob.post(works.at(f"runs/{run.pk}/raise-own/")).status_code == 404
    assert fay.get(works.at(f"runs/{run.pk}/")).status_code == 200
    assert fay.post(works.at(f"runs/{run.pk}/raise/"), {"usd": "1"}).status_code == 403
    Membership.objects.filter(user=works.bob).update(person="")
    assert "session-of" not in bob.get(works.at("sessions/")).text
    assert bob.get(f"/portal/runs/{run.pk}").headers["location"].endswith(f"/runs/{run.pk}/")
    assert charlie.get(f"/portal/runs/{run.pk}").status_code == 404
    assert works.client(works.alice).get(works.at("runs/999999/")).status_code == 404


def test_whose_run_it_is_raises_it_as_the_policy_lets_her(works: House) -> None:
    run = RunEnvelope.objects.get(owner="user/bob")
    assert "Raised by 2 USD" in post(works, works.bob, run, "raise-own")
    assert left(run) == 4
    assert "Raised by 1 USD" in post(works, works.bob, run, "raise-own")  # as far as the most
    assert "as often as the policy allows" in post(works, works.bob, run, "raise-own")
    assert left(run) == 5
    assert post(works, works.bob, run, "raise", usd="1") == "403"
    assert BudgetRaise.objects.filter(budget=run.pk).count() == 2


def test_she_asks_an_owner_who_approves_on_the_same_page(works: House) -> None:
    run = RunEnvelope.objects.get(owner="user/bob")
    assert "The owners were asked" in post(works, works.bob, run, "ask", usd="7.5", reason="one more <test>")
    assert AlertEvent.objects.filter(tenant=works.acme, budget=run.pk).count() == 1
    asked = RaiseRequest.objects.get(budget=run.pk)
    page = works.client(works.alice).get(works.at(f"runs/{run.pk}/")).text
    assert "Approve 7.5 USD" in page
    assert "one more &lt;test&gt;" in page
    assert post(works, works.bob, run, "approve", asked=str(asked.pk)) == "403"
    assert "Raised by 7.5 USD" in post(works, works.alice, run, "approve", asked=str(asked.pk))
    assert left(run) == Decimal("9.5")


@pytest.mark.parametrize("usd", ["", "-1", "0", "NaN", "Infinity", "1e9", "two"])
def test_an_odd_amount_changes_nothing(works: House, usd: str) -> None:
    run = RunEnvelope.objects.get(owner="user/bob")
    assert 'data-state="error"' in post(works, works.alice, run, "raise", usd=usd)
    assert left(run) == 2


def test_a_stopped_run_has_nothing_left_until_it_is_raised(works: House) -> None:
    run = RunEnvelope.objects.get(owner="user/bob")
    post(works, works.alice, run, "raise", usd="3")
    assert "Stopped" in post(works, works.bob, run, "stop")
    assert left(run) == 0
    assert "nothing is left" in works.client(works.bob).get(works.at(f"runs/{run.pk}/")).text
    post(works, works.alice, run, "raise", usd="1")
    assert left(run) == 1


def test_a_person_opens_one_within_the_policy(works: House) -> None:
    bob = works.client(works.bob)
    opened = bob.post(works.at("runs/"), {"run": "TICKET-13", "usd": "5", "person": "alice"}, follow=True)
    assert "The envelope is open" in opened.text
    assert RunEnvelope.objects.get(run="TICKET-13").owner == "user/bob"  # for herself, whatever is sent
    for fields in ({"run": "T", "usd": "5.01"}, {"run": "", "usd": "1"}, {"run": "a\nb", "usd": "1"}):
        assert 'data-state="error"' in bob.post(works.at("runs/"), fields, follow=True).text
    assert RunEnvelope.objects.filter(tenant=works.acme).count() == 3


def test_one_that_is_over_is_closed(works: House) -> None:
    run = RunEnvelope.objects.get(owner="user/bob")
    RunEnvelope.objects.filter(pk=run.pk).update(expires_at=now() - timedelta(seconds=1))
    assert 'data-state="error"' in post(works, works.bob, run, "raise-own")
    assert envelopes.close_ended() >= 1
    assert not RunEnvelope.objects.get(pk=run.pk).is_open


def test_an_owner_opens_one_for_several_people_who_see_it_and_may_ask(works: House) -> None:
    alice, bob, fay = (works.client(one) for one in (works.alice, works.bob, works.fay))
    fields = {"run": "TICKET-20", "usd": "5", "shared_with": "bob, carol"}
    refused = bob.post(works.at("runs/"), fields, follow=True).text
    assert "leaves sharing to its owners" in refused
    assert not RunEnvelope.objects.filter(run="TICKET-20").exists()
    assert "The envelope is open" in alice.post(works.at("runs/"), fields, follow=True).text
    run = RunEnvelope.objects.get(run="TICKET-20")
    assert run.shared_with == ["user/bob", "user/carol"]
    assert "TICKET-20" in bob.get(works.at("sessions/")).text
    page = bob.get(works.at(f"runs/{run.pk}/")).text
    assert "bob, carol" in page
    assert "Stop the run" not in page
    assert "Let others draw" not in page
    assert "The owners were asked" in post(works, works.bob, run, "ask", usd="1", reason="one more")
    for verb in ("raise-own", "stop", "share", "raise"):
        assert post(works, works.bob, run, verb, usd="1", shared_with="*") == "403"
    assert fay.post(works.at(f"runs/{run.pk}/share/"), {"shared_with": "*"}).status_code == 403
    Membership.objects.filter(user=works.bob).update(person="dora")
    assert bob.get(works.at(f"runs/{run.pk}/")).status_code == 404
    assert "Calls of everybody" in post(works, works.alice, run, "share", shared_with="*")
    assert bob.get(works.at(f"runs/{run.pk}/")).status_code == 200


def test_where_the_policy_trusts_people_they_share_their_own(works: House) -> None:
    works.acme.policy = {"envelopes": {**POLICY["envelopes"], "shared_by": "people"}}
    works.acme.save()
    own, alices = (RunEnvelope.objects.get(owner=f"user/{name}") for name in ("bob", "alice"))
    assert "Calls of carol that name the run draw from it now" in post(
        works, works.bob, own, "share", shared_with="carol"
    )
    assert post(works, works.bob, alices, "share", shared_with="bob") == "404"
    said = post(works, works.alice, alices, "share", shared_with="bob")
    assert "several people share" in said
