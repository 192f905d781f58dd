"""Each post of the portal stands in the audit log, with who, before and after: by the list of all its addresses."""

from collections.abc import Callable
from datetime import UTC, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils.timezone import now

from billing.budgets.raise_requests import request_raise
from billing.models import AlertEvent, Budget, ReportSchedule
from billing.runs import envelopes
from config.portal.urls import urlpatterns
from tenants.keys.editing import issue_key
from tenants.models import AuditEntry, Membership
from tenants.people.inviting import invite
from tenants.policy import parse_policy
from tests.config.portal.conftest import House
from tests.config.portal.owners.test_policy import filled

READING = {
    "alerts", "budget", "budgets", "changes", "connect", "entrance", "find_run", "home", "key", "keys", "leave", "months",
    "people", "raise_request", "request", "requests", "run", "session", "sessions", "spend", "spend_file", "statement",
    "statement_facts", "statement_file", "teams", "chargebacks", "month", "month_file",
    "deliveries",
}  # fmt: skip


def key_of(house: House) -> int:
    return issue_key(house.acme, name="ci")[0].pk


def budget_of(house: House) -> Budget:
    return Budget.objects.create(
        tenant=house.acme, scope="tenant", unit="usd", period="day", limit_amount=Decimal(5), set_by="tenant"
    )


def member_of(house: House) -> int:
    return Membership.objects.get(user=house.bob, tenant=house.acme).pk


def run_of(house: House) -> int:
    return envelopes.open_run(
        house.acme, person="alice", run="r", usd=Decimal(2), policy=parse_policy(house.acme.policy).envelopes
    )


def alert_of(house: House) -> int:
    return AlertEvent.objects.create(
        tenant=house.acme, metric="spike", subject_key="x", value=1, threshold=1, message="x"
    ).pk


def asked_of(house: House) -> Any:
    until = now() + timedelta(hours=5)
    return request_raise(
        budget_of(house), extra_amount=Decimal(1), ends_at=until, reason="x", acting_user=house.bob
    ).pk


def schedule_of(house: House) -> int:
    return ReportSchedule.objects.create(tenant=house.acme, name="lake", target="other@acme.example").pk


SCHEDULE = {
    "name": "books", "what": "pack", "when": "close", "hour": 6, "kind": "s3", "target": "books/acme",
    "region": "eu-central-1", "access_key": "a", "secret_key": "s",
}  # fmt: skip
WISH = {
    "extra_amount": "2",
    "ends_at": f"{now().astimezone(UTC) + timedelta(hours=5):%Y-%m-%dT%H:%M}",
    "reason": "x",
}
LIMIT = {
    "scope": "user",
    "limit_amount": "3",
    "unit": "usd",
    "period": "day",
    "mode": "hard",
    "alert_at": "80",
}
# of each address that changes something: what is posted there, and what then stands in the log
CHANGING: dict[str, tuple[Callable[[House], tuple[str, dict[str, Any]]], str, str]] = {
    "add_own_key": (lambda h: ("keys/new/", {"label": "laptop", "days": 30}), "created", "tenants.apikey"),
    "add_service_key": (lambda h: ("keys/service/", {"name": "ci", "models": "*"}), "created", "tenants.apikey"),
    "rotate_key": (lambda h: (f"keys/{key_of(h)}/rotate/", {"grace": "3600"}), "changed", "tenants.apikey"),
    "revoke_key": (lambda h: (f"keys/{key_of(h)}/revoke/", {}), "changed", "tenants.apikey"),
    "key_tags": (lambda h: (f"keys/{key_of(h)}/tags/", {"tags": "project=apollo"}), "changed", "tenants.apikey"),
    "key_rights": (lambda h: (f"keys/{key_of(h)}/rights/", {"reports": "yes"}), "changed", "tenants.apikey"),
    "add_schedule": (lambda h: ("deliveries/new/", SCHEDULE), "created", "billing.reportschedule"),
    "schedule": (lambda h: (f"deliveries/{schedule_of(h)}/", SCHEDULE), "changed", "billing.reportschedule"),
    "remove_schedule": (
        lambda h: (f"deliveries/{schedule_of(h)}/remove/", {}), "deleted", "billing.reportschedule"
    ),
    "allocate_user": (
        lambda h: ("teams/user/", {"user": "alice", "cost_center": "99", "tags": ""}), "changed", "tenants.enduser"
    ),
    "runs": (lambda h: ("runs/", {"run": "r", "usd": "1"}), "opened a run", "billing.runenvelope"),
    "change_run": (lambda h: (f"runs/{run_of(h)}/stop/", {}), "changed", "billing.budget"),
    "add_budget": (lambda h: ("budgets/new/", LIMIT), "created", "billing.budget"),
    "change_budget": (
        lambda h: (f"budgets/{budget_of(h).pk}/change/", {"limit_amount": "9", "mode": "hard"}), "changed", "billing.budget"
    ),
    "ask_raise": (lambda h: (f"budgets/{budget_of(h).pk}/raise/", WISH), "created", "billing.raiserequest"),
    "decide_raise": (
        lambda h: (f"raises/{asked_of(h)}/decide/", {"verdict": "grant"}), "changed", "billing.raiserequest"
    ),
    "see_alert": (lambda h: (f"alerts/{alert_of(h)}/seen/", {}), "changed", "billing.alertevent"),
    "policy": (lambda h: ("policy/", filled(h, cache_exact=False)), "changed", "tenants.tenant"),
    "invite": (lambda h: ("people/invite/", {"email": "new@acme.example", "role": "member"}), "created", "tenants.invitation"),
    "cancel_invitation": (
        lambda h: (
            f"people/invitations/{invite(h.acme, email='a@acme.example', role='member', acting_user=h.alice).pk}/cancel/", {}
        ),
        "changed", "tenants.invitation",
    ),
    "person": (lambda h: (f"people/{member_of(h)}/", {"role": "finance", "person": "bob"}), "changed", "tenants.membership"),
    "remove_person": (lambda h: (f"people/{member_of(h)}/remove/", {}), "deleted", "tenants.membership"),
}  # fmt: skip


def test_it_works(house: House) -> None:
    """A change with its values before and after, and who made it from where."""
    house.client(house.alice).post(
        house.at(f"people/{member_of(house)}/"),
        {"role": "finance", "person": "bob"},
        REMOTE_ADDR="203.0.113.9",
    )
    entry = AuditEntry.objects.filter(object_type="tenants.membership", verb="changed").latest("pk")
    assert entry.changes == {"role": ["member", "finance"]}
    assert (entry.person_id, entry.address) == (house.alice.pk, "203.0.113.9")
    assert entry.tenant_id == house.acme.pk


def test_every_address_is_known_to_read_or_to_change() -> None:
    assert {one.name for one in urlpatterns} == READING | set(CHANGING)


@pytest.mark.parametrize("name", CHANGING)
def test_each_post_is_an_entry(name: str, house: House) -> None:
    house.acme.policy = {"envelopes": {"opens": "session", "usd": 2, "most_usd": 5}}
    house.acme.save()
    prepare, verb, kind = CHANGING[name]
    address, sent = prepare(house)
    last = AuditEntry.objects.latest("pk").pk
    answer = house.client(house.alice).post(house.at(address), sent)
    assert answer.status_code in (200, 302)
    made = AuditEntry.objects.filter(pk__gt=last, object_type=kind, verb=verb)
    entry = made.first()
    assert entry is not None, list(AuditEntry.objects.filter(pk__gt=last).values("verb", "object_type"))
    assert (entry.person_id, entry.tenant_id) == (house.alice.pk, house.acme.pk)
    assert entry.changes
