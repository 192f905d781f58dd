"""Requests for a raise: asked over HTTP or in the admin, decided by an operator, in effect at once."""

import secrets
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now

from tests.api.conftest import ask
from tests.world import Member, Operator, World

PATH = "/v1/budgets/raise-requests"
BUDGETS = [
    {"scope": "tenant", "unit": "tokens", "period": "day", "limit": 100, "mode": "hard"},
    {"scope": "user", "value": "alice", "unit": "usd", "period": "month", "limit": "5", "mode": "hard"},
]


def wish(**other: Any) -> dict[str, Any]:
    until = datetime.now(UTC) + timedelta(days=2)
    return {
        "scope": "tenant",
        "unit": "tokens",
        "period": "day",
        "amount": "5000",
        "until": until.isoformat(),
        "reason": "the migration runs longer",
        **other,
    }


@pytest.fixture
def member(make_tenant: Any) -> Member:
    return make_tenant(
        budgets=BUDGETS, channels=[{"name": "ops", "kind": "webhook", "url": "https://hooks.example/x"}]
    )


def user_with(member: Member, role: str = "owner") -> Any:
    """A person of the admin with a role in a tenant."""
    from django.contrib.auth.models import User

    from tenants.models import Membership

    user = User.objects.create_user(f"user-{secrets.token_hex(4)}", password="x", is_staff=True)
    Membership.objects.create(tenant_id=member.id, user=user, role=role)
    return user


def admin_of(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client


def asked(world: World, member: Member, **other: Any) -> dict[str, Any]:
    status, answer = world.request(
        "POST", PATH, wish(**other), member=member, headers={"x-purser-user": "alice"}
    )
    assert status == 201, answer
    return answer


def state_of(world: World, member: Member, request_id: str) -> dict[str, Any]:
    status, answer = world.get(f"{PATH}/{request_id}", member)
    assert status == 200
    return answer


def row_of(answer: dict[str, Any]) -> Any:
    from billing.models import RaiseRequest

    return RaiseRequest.objects.get(pk=answer["id"])


def test_it_works(world: World, member: Member, operator_account: Operator) -> None:
    import openai

    from billing.budgets.raise_requests import approve_raise

    with pytest.raises(openai.RateLimitError) as refused:
        ask(world.openai(member), max_tokens=500)
    assert refused.value.code == "budget_exceeded"
    answer = asked(world, member)
    assert (answer["state"], answer["amount"], answer["requested_by"]) == (
        "pending",
        "5000",
        {"key": "main", "user": "alice"},
    )
    granted = approve_raise(
        row_of(answer), acting_user=operator_account.person, reason="until the end of the week"
    )
    assert ask(world.openai(member), max_tokens=500).parse().choices  # at once, in every worker
    told = state_of(world, member, answer["id"])
    assert (told["state"], told["decision_reason"]) == ("approved", "until the end of the week")
    assert (granted.extra_amount, granted.reason, granted.approved_by) == (
        Decimal(5000),
        "the migration runs longer",
        operator_account.person,
    )


def test_who_asked_and_who_decided_when_stays(
    world: World, member: Member, operator_account: Operator
) -> None:
    from billing.budgets.raise_requests import approve_raise

    before = now()
    answer = asked(world, member)
    approve_raise(row_of(answer), acting_user=operator_account.person)
    row = row_of(answer)
    assert (row.end_user, row.key_id is not None, row.decided_by) == ("alice", True, operator_account.person)
    assert before <= row.created_at <= row.decided_at
    assert row.granted.history.count() == 1


def test_a_refusal_is_read_by_whoever_asked(world: World, member: Member, operator_account: Operator) -> None:
    from billing.budgets.raise_requests import refuse_raise
    from billing.models import BudgetRaise

    answer = asked(world, member)
    refuse_raise(row_of(answer), acting_user=operator_account.person, reason="use the smaller model")
    told = state_of(world, member, answer["id"])
    assert (told["state"], told["decision_reason"]) == ("refused", "use the smaller model")
    assert not BudgetRaise.objects.filter(budget__tenant_id=member.id).exists()


def test_its_alert_is_over_with_the_decision(
    world: World, member: Member, operator_account: Operator
) -> None:
    from billing.budgets.raise_requests import approve_raise, expire_requests, refuse_raise
    from billing.models import AlertEvent, RaiseRequest

    rows = [row_of(asked(world, member)) for _ in range(4)]
    approve_raise(rows[0], acting_user=operator_account.person)
    refuse_raise(rows[1], acting_user=operator_account.person, reason="no")
    RaiseRequest.objects.filter(pk=rows[2].pk).update(expires_at=now())
    expire_requests()
    alerts = AlertEvent.objects.filter(tenant_id=member.id, metric="raise_requested").order_by("pk")
    assert [alert.state for alert in alerts] == ["resolved", "resolved", "resolved", "open"]
    steps = [alert.steps.get() for alert in alerts[:3]]
    person = operator_account.person
    assert [(step.by, step.text) for step in steps] == [
        (person, "the request was approved"),
        (person, "the request was refused"),
        (None, "nobody decided on it in time"),
    ]


def test_it_is_decided_once(world: World, member: Member, operator_account: Operator) -> None:
    from django.core.exceptions import ValidationError

    from billing.budgets.raise_requests import approve_raise, refuse_raise
    from billing.models import BudgetRaise

    answer = asked(world, member)
    approve_raise(row_of(answer), acting_user=operator_account.person)
    with pytest.raises(ValidationError, match="already"):
        approve_raise(row_of(answer), acting_user=operator_account.person)
    with pytest.raises(ValidationError, match="already"):
        refuse_raise(row_of(answer), acting_user=operator_account.person, reason="no")
    assert BudgetRaise.objects.filter(budget__tenant_id=member.id).count() == 1


def test_two_operators_at_once_grant_one_raise(
    world: World, member: Member, operator_account: Operator
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from django.core.exceptions import ValidationError
    from django.db import connection

    from billing.budgets.raise_requests import approve_raise
    from billing.models import BudgetRaise

    row = row_of(asked(world, member))

    def approve(_: int) -> bool:
        try:
            approve_raise(row, acting_user=operator_account.person)
        except ValidationError:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(approve, range(6))) == 1
    assert BudgetRaise.objects.filter(budget__tenant_id=member.id).count() == 1


def test_nobody_decides_on_one_that_has_expired(
    world: World, member: Member, operator_account: Operator
) -> None:
    from django.core.exceptions import ValidationError

    from billing.budgets.raise_requests import approve_raise, expire_requests
    from billing.models import RaiseRequest

    answer = asked(world, member)
    RaiseRequest.objects.filter(pk=answer["id"]).update(expires_at=now())
    assert state_of(world, member, answer["id"])["state"] == "expired"  # also before the task has run
    with pytest.raises(ValidationError, match="expired"):
        approve_raise(row_of(answer), acting_user=operator_account.person)
    expire_requests()
    assert row_of(answer).state == "expired"


def test_a_request_lives_a_week_or_until_it_would_be_over(world: World, member: Member) -> None:
    near, far = asked(world, member), asked(world, member, until="2099-01-01T00:00:00Z")
    assert near["expires_at"] == near["until"]
    expires_at = datetime.fromisoformat(far["expires_at"])
    assert timedelta(days=6) < expires_at - datetime.now(UTC) <= timedelta(days=7)


def test_the_alert_channels_are_told_of_a_new_request(world: World, member: Member) -> None:
    from billing.alerts.outbox import queue_deliveries
    from billing.models import AlertDelivery, AlertEvent

    answer = asked(world, member)
    event = AlertEvent.objects.get(tenant_id=member.id, metric="raise_requested")
    assert event.subject_key == answer["id"]
    assert "by 5000 tokens until" in event.message
    assert "user alice: the migration runs longer" in event.message
    queue_deliveries(at=now())
    assert AlertDelivery.objects.filter(event=event, channel__name="ops").count() == 1


def test_the_list_shows_the_tenants_own_newest_first(world: World, member: Member) -> None:
    first, second = (
        asked(world, member),
        asked(world, member, scope="user", value="alice", unit="usd", period="month", amount="2.50"),
    )
    status, answer = world.get(PATH, member)
    assert status == 200
    assert [one["id"] for one in answer["data"]] == [second["id"], first["id"]]
    assert answer["data"][0]["amount"] == "2.5"
    assert world.get(f"{PATH}?state=approved", member)[1]["data"] == []
    assert len(world.get(f"{PATH}?user=alice", member)[1]["data"]) == 2
    assert world.get(PATH, world.outsider)[1]["data"] == []


def test_anothers_request_is_a_404(world: World, member: Member) -> None:
    answer = asked(world, member)
    status, refusal = world.get(f"{PATH}/{answer['id']}", world.outsider)
    assert (status, refusal["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("other", "param"),
    [
        ({"amount": "0"}, "amount"),
        ({"amount": "-1"}, "amount"),
        ({"amount": 1.5}, "amount"),
        ({"amount": "many"}, "amount"),
        ({"until": "2020-01-01T00:00:00Z"}, "until"),
        ({"until": "2099-01-01T00:00:00"}, "until"),
        ({"reason": ""}, "reason"),
        ({"scope": "planet"}, "scope"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_is_wrong_is_named(world: World, member: Member, other: dict[str, Any], param: str) -> None:
    status, answer = world.request("POST", PATH, wish(**other), member=member)
    assert (status, answer["error"]["code"], answer["error"]["param"]) == (400, "invalid_request", param)


def test_a_budget_that_is_not_there_is_a_404(world: World, member: Member) -> None:
    status, answer = world.request("POST", PATH, wish(unit="requests"), member=member)
    assert (status, answer["error"]["code"]) == (404, "not_found")
    assert "tenant budget in requests per day" in answer["error"]["message"]


def test_too_many_open_requests_are_refused(world: World, member: Member) -> None:
    from billing.budgets.raise_requests import MOST_PENDING

    for _ in range(MOST_PENDING):
        asked(world, member)
    status, answer = world.request("POST", PATH, wish(), member=member)
    assert status == 400
    assert "wait for a decision" in answer["error"]["message"]


def test_the_gateways_role_sees_its_own_tenants_rows_only(world: World, member: Member) -> None:
    from django.db import connection

    asked(world, member)
    with connection.cursor() as cursor:
        cursor.execute("SELECT relrowsecurity FROM pg_class WHERE relname = 'billing_raiserequest'")
        assert cursor.fetchone() == (True,)
        cursor.execute(
            "SELECT privilege_type FROM information_schema.role_table_grants"
            " WHERE table_name = 'billing_raiserequest' AND grantee = 'purser_app'"
        )
        assert cursor.fetchall() == [("SELECT",)]


class TestAdmin:
    """The pages: who may ask, who may decide."""

    @pytest.fixture
    def budget(self, member: Member) -> Any:
        from billing.models import Budget

        return Budget.objects.get(tenant_id=member.id, scope="tenant")

    def ask(self, client: Client, budget: Any) -> Any:
        form = {"extra_amount": "700", "ends_at": "2099-01-01T00:00", "reason": "year's end"}
        return self.dialog(client, "billing_budget_ask_for_raise", budget, **form)

    def decide(self, client: Client, row: Any, what: str, **form: str) -> Any:
        return self.dialog(client, f"billing_raiserequest_{what}", row, **form)

    def dialog(self, client: Client, action: str, row: Any, **form: str) -> Any:
        url = reverse(f"admin:{action}", args=(row.pk,))
        return client.post(url, {"_form_submitted": "on", **form}, headers={"hx-request": "true"})

    def test_finance_asks_and_an_operator_approves(
        self, member: Member, budget: Any, operator_account: Operator, operator: Client
    ) -> None:
        from billing.models import RaiseRequest

        finance = user_with(member, "finance")
        response = self.ask(admin_of(finance), budget)
        row = RaiseRequest.objects.get(tenant_id=member.id)
        assert str(row.pk) in response["HX-Redirect"]
        assert (row.requested_by, row.extra_amount) == (finance, Decimal(700))
        assert self.decide(admin_of(finance), row, "approve").status_code == 403
        page = operator.get(f"/admin/billing/raiserequest/{row.pk}/change/")
        assert page.status_code == 200
        assert "year&#x27;s end" in page.content.decode()
        self.decide(operator, row, "approve", reason="fine")
        row.refresh_from_db()
        assert (row.state, row.decided_by, row.granted.approved_by) == (
            "approved",
            operator_account.person,
            operator_account.person,
        )

    def test_an_operator_refuses_with_a_reason(self, member: Member, budget: Any, operator: Client) -> None:
        from billing.models import RaiseRequest

        self.ask(operator, budget)
        row = RaiseRequest.objects.get(tenant_id=member.id)
        self.decide(operator, row, "refuse", reason="")
        row.refresh_from_db()
        assert row.state == "pending"
        self.decide(operator, row, "refuse", reason="not this year")
        row.refresh_from_db()
        assert (row.state, row.decision_reason) == ("refused", "not this year")

    def test_another_tenants_owner_sees_nothing_of_it(
        self, world: World, member: Member, budget: Any, operator: Client
    ) -> None:
        from billing.models import RaiseRequest

        self.ask(operator, budget)
        row = RaiseRequest.objects.get(tenant_id=member.id)
        stranger = admin_of(user_with(world.outsider))
        assert str(row.pk) not in stranger.get("/admin/billing/raiserequest/").content.decode()
        assert self.decide(stranger, row, "approve").status_code == 404
        assert self.ask(stranger, budget).status_code == 404
