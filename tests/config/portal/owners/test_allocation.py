"""An owner says in the portal whose cost the calls of keys and users are."""

from tenants.keys.editing import issue_key
from tenants.models import ApiKey, AuditEntry, EndUser, Tenant
from tests.config.portal.conftest import House


def test_it_works(house: House) -> None:
    """A key gets tags, a wrong one is refused where it stands, and the change has its author."""
    key, _ = issue_key(house.acme, name="ci")
    alice = house.client(house.alice)
    assert alice.post(house.at(f"keys/{key.pk}/tags/"), {"tags": "project=apollo, env=ci"}).status_code == 302
    key.refresh_from_db()
    assert key.tags == {"project": "apollo", "env": "ci"}
    assert "env=ci, project=apollo" in alice.get(house.at(f"keys/{key.pk}/")).content.decode()
    refused = alice.post(house.at(f"keys/{key.pk}/tags/"), {"tags": "apollo"})
    assert "is no tag such as" in refused.content.decode()
    history = ApiKey.history.filter(id=key.pk).latest("history_date")
    assert history.history_user == house.alice
    assert AuditEntry.objects.filter(tenant=house.acme, object_type__contains="apikey").exists()


def test_a_user_gets_a_team_of_the_policy(house: House) -> None:
    alice = house.client(house.alice)
    answers = {"user": "carol", "cost_center": "", "team": "search", "tags": "env=test"}
    assert alice.post(house.at("teams/user/"), answers).status_code == 200  # there is no such team
    Tenant.objects.filter(pk=house.acme.pk).update(
        policy={"allocation": {"teams": {"search": {"cost_center": "2000"}}}}
    )
    assert alice.post(house.at("teams/user/"), answers).status_code == 302
    carol = EndUser.objects.get(tenant=house.acme, external_id="carol")
    assert (carol.team, carol.tags) == ("search", {"env": "test"})
    assert 'value="carol"' in alice.get(house.at("teams/user/?user=carol")).content.decode()
    wrong = alice.post(house.at("teams/user/"), answers | {"tags": "cost_center=1"})
    assert "has a field of its own" in wrong.content.decode()


def test_the_policy_says_the_rest(house: House) -> None:
    """Teams, tags of the tenant and required ones, as lines."""
    alice = house.client(house.alice)
    page = alice.get(house.at("policy/"))
    form = page.context["form"]
    answers = {name: form[name].value() or "" for name in form.fields}
    answers = {name: value for name, value in answers.items() if value not in (False, "", None)}
    answers |= {
        "allocation_tags": "cost_center=1000",
        "allocation_teams": "search: cost_center=2000, project=apollo\nops: project=ops",
        "allocation_required": "cost_center, project",
        "allocation_missing": "refuse",
    }
    saved = alice.post(house.at("policy/"), answers)
    assert saved.status_code == 302, saved.context["form"].errors
    house.acme.refresh_from_db()
    assert house.acme.policy["allocation"] == {
        "tags": {"cost_center": "1000"},
        "teams": {"search": {"cost_center": "2000", "project": "apollo"}, "ops": {"project": "ops"}},
        "required": ["cost_center", "project"],
        "missing": "refuse",
    }
    assert "search: project=apollo, cost_center=2000" in alice.get(house.at("policy/")).content.decode()
    refused = alice.post(house.at("policy/"), answers | {"allocation_teams": "search"})
    assert refused.status_code == 200
