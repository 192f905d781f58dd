"""Whose cost a call is: cost centre, project and tags, by request, key, user, team and tenant."""

from collections.abc import Callable

import anthropic
import openai
import pytest

from tenants.keys.editing import issue_key
from tenants.models import Tenant
from tests.api.conftest import ask, ask_claude, fresh_question
from tests.books import Books, eventually
from tests.world import Member, World

ALLOCATION = {
    "tags": {"cost_center": "1000", "env": "prod"},
    "teams": {"search": {"cost_center": "2000", "project": "apollo"}},
}
USERS = [
    {"id": "alice", "cost_center": "4711", "team": "search"},
    {"id": "bob", "team": "search", "tags": {"project": "gemini"}},
    {"id": "carol"},
]


@pytest.fixture
def member(make_tenant: Callable[..., Member]) -> Member:
    return make_tenant(policy={"allocation": ALLOCATION}, users=USERS)


@pytest.mark.parametrize(
    ("user", "header", "kept", "sources"),
    [
        ("carol", "", ("1000", "", {"env": "prod"}), {"cost_center": "tenant", "env": "tenant"}),
        (
            "bob",
            "",
            ("2000", "gemini", {"env": "prod", "project": "gemini"}),
            {"cost_center": "team", "project": "user", "env": "tenant"},
        ),
        (
            "alice",
            "env=test",
            ("4711", "apollo", {"env": "test", "project": "apollo"}),
            {"cost_center": "user", "project": "team", "env": "request"},
        ),
        (
            "alice",
            "cost_center=9, project=zeus",
            ("9", "zeus", {"env": "prod", "project": "zeus"}),
            {"cost_center": "request", "project": "request", "env": "tenant"},
        ),
    ],
)
def test_the_nearest_that_names_a_tag_names_it(
    world: World,
    books: Books,
    member: Member,
    user: str,
    header: str,
    kept: tuple[str, str, dict[str, str]],
    sources: dict[str, str],
) -> None:
    """And the receipt says who it was."""
    headers = {"x-purser-user": user} | ({"x-purser-tags": header} if header else {})
    answer = ask(world.openai(member), extra_headers=headers)
    row = books.row(answer.headers["x-request-id"])
    assert (row.cost_center, row.project, row.tags) == kept
    assert row.missing_tags == ""
    status, receipt = eventually(
        lambda: world.get(f"/v1/requests/{answer.headers['x-request-id']}", member),
        until=lambda found: found[0] == 200,
    )
    assert status == 200
    assert receipt["tag_sources"] == sources
    assert receipt["tags"]["cost_center"] == row.cost_center


def test_a_key_names_tags_before_its_user(
    world: World, books: Books, make_tenant: Callable[..., Member]
) -> None:
    member = make_tenant(
        policy={"allocation": ALLOCATION}, users=USERS, key={"tags": {"cost_center": "77", "env": "ci"}}
    )
    answer = ask(world.openai(member), extra_headers={"x-purser-user": "alice"})
    row = books.row(answer.headers["x-request-id"])
    assert (row.cost_center, row.project, row.tags["env"]) == ("77", "apollo", "ci")


def test_a_request_does_not_choose_what_is_fixed(
    world: World, books: Books, make_tenant: Callable[..., Member]
) -> None:
    """Only where nobody else names it."""
    member = make_tenant(policy={"allocation": ALLOCATION | {"fixed": ["env", "color"]}}, users=USERS)
    headers = {"x-purser-tags": "env=test, color=red"}
    row = books.row(ask(world.openai(member), extra_headers=headers).headers["x-request-id"])
    assert row.tags == {"env": "prod", "color": "red"}


def test_a_request_does_not_leave_the_hard_budget_of_its_cost_centre(
    world: World, make_tenant: Callable[..., Member]
) -> None:
    budget = {
        "scope": "cost_center",
        "value": "4711",
        "unit": "requests",
        "period": "day",
        "limit": "1",
        "mode": "hard",
    }
    member = make_tenant(policy={"allocation": ALLOCATION}, users=USERS, budgets=[budget])
    headers = {"x-purser-user": "alice", "x-purser-tags": "cost_center=other"}
    ask(world.openai(member), extra_headers=headers)
    with pytest.raises(openai.RateLimitError, match="4711"):
        ask(world.openai(member), extra_headers=headers)


def test_budgets_are_shown_of_the_cost_centre_that_a_call_would_inherit(
    world: World, make_tenant: Callable[..., Member]
) -> None:
    budget = {"scope": "cost_center", "unit": "requests", "period": "day", "limit": "5", "mode": "hard"}
    member = make_tenant(policy={"allocation": ALLOCATION}, users=USERS, budgets=[budget])
    ask(world.openai(member), extra_headers={"x-purser-user": "alice"})

    def subjects(query: str, who: Member = member) -> list[tuple[str, str]]:
        status, answer = world.get(f"/v1/budgets{query}", who)
        assert status == 200
        return [(one["subject"], one["spent"]) for one in answer["data"] if one["scope"] == "cost_center"]

    assert subjects("?user=alice") == [("4711", "1")]
    # a cost centre with a hard budget is not the caller's to leave
    assert subjects("?cost_center=0815&user=nobody") == [("1000", "0")]
    _, secret = issue_key(Tenant.objects.get(pk=member.id), name="alices", user="alice")
    hers = Member(member.slug, secret, member.id)
    assert subjects("", hers) == subjects("?user=bob&cost_center=0815", hers) == [("4711", "1")]


def test_a_call_without_a_required_tag_is_marked(
    world: World, books: Books, make_tenant: Callable[..., Member]
) -> None:
    member = make_tenant(policy={"allocation": {"required": ["cost_center", "project"]}}, users=[])
    client = world.openai(member)
    bare = ask(client)
    half = ask(client, extra_headers={"x-purser-tags": "project=apollo"})
    assert books.row(bare.headers["x-request-id"]).missing_tags == "cost_center, project"
    assert books.row(half.headers["x-request-id"]).missing_tags == "cost_center"


def test_a_call_without_a_required_tag_is_refused(
    world: World, books: Books, make_tenant: Callable[..., Member]
) -> None:
    """The refusal names the tag and the header, in both envelopes; nothing is asked of a provider."""
    member = make_tenant(
        policy={"allocation": {"required": ["cost_center", "ticket"], "missing": "refuse"}},
        users=[{"id": "alice", "cost_center": "4711"}],
    )
    needed = r"needs the tag 'ticket': send the header 'x-purser-tags: ticket=\.\.\.'"
    named = {"x-purser-user": "alice"}
    with pytest.raises(openai.BadRequestError, match=needed) as refusal:
        ask(world.openai(member), extra_headers=named)
    assert refusal.value.param == "x-purser-tags"
    assert refusal.value.code == "invalid_request"
    with pytest.raises(anthropic.BadRequestError, match=needed) as refused:
        ask_claude(world.anthropic(member), fresh_question(), extra_headers=named)
    assert refused.value.body["error"]["type"] == "invalid_request_error"
    with pytest.raises(openai.BadRequestError, match="tags 'cost_center', 'ticket'"):
        ask(world.openai(member))
    ask(world.openai(member), extra_headers=named | {"x-purser-tags": "ticket=77"})


def test_a_runs_tags_are_inherited_by_its_calls(world: World, books: Books, member: Member) -> None:
    client = world.openai(member)
    run = {"x-purser-run": f"run-{fresh_question()[-20:]}"}
    ask(client, extra_headers=run | {"x-purser-run-tags": "project=voyager"})
    later = ask(client, extra_headers=run | {"x-purser-user": ""})
    row = books.row(later.headers["x-request-id"])
    assert row.project == "voyager"
    assert row.tags == {"project": "voyager", "env": "prod"}
    over = ask(client, extra_headers=run | {"x-purser-tags": "project=pioneer"})
    assert books.row(over.headers["x-request-id"]).project == "pioneer"
    with pytest.raises(openai.BadRequestError, match="x-purser-run-tags needs a run"):
        ask(client, extra_headers={"x-purser-run-tags": "project=voyager"})


def test_a_stranger_makes_no_more_values_than_the_quota(
    world: World, books: Books, make_tenant: Callable[..., Member]
) -> None:
    member = make_tenant(policy={"quotas": {"tag_names": 1, "tag_values": 2}})
    client = world.openai(member)
    for number in range(4):
        answer = ask(client, extra_headers={"x-purser-tags": f"project=p{number}"})
    assert books.row(answer.headers["x-request-id"]).project == "(other)"
    status, usage = world.get("/v1/usage?group_by=project", member)
    assert status == 200
    assert {row["group"] for row in usage["data"]} == {"p0", "p1", "(other)"}


def test_the_unallocated_share_is_told(world: World, make_tenant: Callable[..., Member]) -> None:
    member = make_tenant(users=[{"id": "alice", "cost_center": "4711"}])
    client = world.openai(member)
    ask(client)
    ask(client, extra_headers={"x-purser-user": "alice"})
    usage = eventually(
        lambda: world.get("/v1/usage?group_by=missing_tag", member)[1],
        until=lambda found: len(found["data"]) == 2,
    )
    by_group = {row["group"]: row for row in usage["data"]}
    assert by_group["cost_center"]["unallocated_usd"] == by_group["cost_center"]["cost_usd"]
    assert by_group[""]["unallocated_requests"] == 0
    assert usage["total"]["unallocated_requests"] == 1
