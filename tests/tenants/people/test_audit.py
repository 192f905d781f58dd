"""Everything that people change is in the audit log, with before and after, and nobody takes it out again."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now

from billing.models import AlertChannel, Budget
from caching.models import CacheEntry
from llm.models import Provider
from tenants.models import AuditEntry, Membership, PlatformRole, Tenant
from tenants.people import audit
from tests.admin.conftest import office as office
from tests.admin.office import Office
from tests.admin.pressing import SUBMITTED
from tests.admin.test_pages import url_of


def entries(**fields: Any) -> list[AuditEntry]:
    return list(AuditEntry.objects.filter(**fields).order_by("pk"))


def test_it_works(office: Office) -> None:
    budget = office.row(Budget)
    budget.limit_amount = 99
    budget._history_user, budget._change_reason = office.olga, "the quarter ends"
    budget.save()
    entry = entries(object_type="billing.budget", object_id=budget.pk)[-1]
    assert (entry.name, entry.verb, entry.reason) == ("olga", "changed", "the quarter ends")
    assert entry.changes == {"limit_amount": ["5", "99"]}
    assert entry.tenant_id == office.acme.pk


def test_a_change_through_the_admin_says_from_where(office: Office) -> None:
    client, row = office.client(office.olga), office.acme
    answer = client.post(
        reverse("admin:tenants_tenant_pause", args=(row.pk,)),
        {**SUBMITTED, "reason": "an invoice is open"},
        REMOTE_ADDR="203.0.113.7",
    )
    assert answer.status_code == 302
    changed = entries(object_type="tenants.tenant", verb="changed")[-1]
    assert changed.changes == {"status": ["active", "paused"]}
    assert (changed.name, changed.address, changed.reason) == ("olga", "203.0.113.7", "an invoice is open")
    pressed = entries(object_type="tenants.tenant", verb__startswith="Pause")[-1]
    assert (pressed.reason, pressed.tenant_id) == ("an invoice is open", row.pk)


def test_what_is_made_and_deleted_is_there_with_its_values(office: Office) -> None:
    person = User.objects.create(username="new-one")
    membership = Membership.objects.create(user=person, tenant=office.acme, role="member")
    pk = membership.pk
    membership.delete()
    made, gone = entries(object_type="tenants.membership", object_id=pk)
    assert made.changes["role"] == [None, "member"]
    assert gone.changes["role"] == ["member", None]
    assert (made.verb, gone.verb) == ("created", "deleted")


def test_no_secret_is_written(office: Office) -> None:
    client = office.client(office.olga)
    client.post(
        url_of(AlertChannel, "add"),
        {"tenant": office.acme.pk, "name": "hook", "kind": "webhook", "target": "https://example.com/x",
         "is_active": "on", "new_secret": "hook-very-secret-2"},
    )  # fmt: skip
    provider = office.row(Provider)
    provider.api_key = "sk-very-new"
    provider.name = f"{provider.name}-2"
    provider.save()
    client.post(
        reverse("admin:auth_user_add"),
        {
            "username": "boris",
            "password1": "long horse battery",
            "password2": "long horse battery",
            "usable_password": "true",
        },
    )
    written = json.dumps([[entry.changes, entry.object_name, entry.reason] for entry in entries()])
    for secret in ("hook-very-secret-2", "sk-very-new", "long horse battery", "pbkdf2", "counted$"):
        assert secret not in written
    assert entries(object_type="llm.provider", verb="changed")[-1].changes["api_key"][1] == audit.HIDDEN


def test_reading_texts_is_written_down(office: Office) -> None:
    client, row = office.client(office.olga), office.row(CacheEntry)
    client.get(url_of(CacheEntry, "changelist"))
    client.get(url_of(CacheEntry, "change", row.pk))
    read = entries(verb__startswith="read")
    assert [entry.verb for entry in read] == ["read a list of texts", "read a text"]
    assert read[1].tenant_id == office.acme.pk
    assert "top up" not in read[1].object_name, "the log holds no prompt"


def test_signing_in_and_failing_to_is_written_down(office: Office) -> None:
    office.fay.set_password("correct horse battery")
    office.fay.save()
    client = Client()
    for password in ("wrong", "correct horse battery"):
        client.post("/account/login/", {"username": "fay", "password": password}, REMOTE_ADDR="198.51.100.4")
    client.post("/account/logout/")
    failed, came, left = entries(name="fay")[-3:]
    assert (failed.verb, failed.address, failed.person_id) == ("failed to sign in", "198.51.100.4", None)
    assert (came.verb, came.tenant_id) == ("signed in", office.acme.pk)
    assert left.verb == "signed out"


@pytest.mark.parametrize(
    "statement", ["UPDATE tenants_auditentry SET name = 'x'", "DELETE FROM tenants_auditentry"]
)
def test_nobody_changes_the_log(office: Office, statement: str) -> None:
    audit.record("changed", about=office.acme)
    with (
        pytest.raises(DatabaseError, match="append-only"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)


def test_what_is_old_is_forgotten_and_nothing_else(office: Office) -> None:
    old = AuditEntry.objects.create(verb="changed", at=now() - timedelta(days=audit.KEPT_DAYS + 2))
    kept = AuditEntry.objects.create(verb="changed", at=now() - timedelta(days=audit.KEPT_DAYS - 2))
    audit.prune()
    assert set(AuditEntry.objects.filter(pk__in=(old.pk, kept.pk))) == {kept}


def test_an_entry_is_never_large(office: Office) -> None:
    office.acme.policy = {f"step-{number}": "x" * 1000 for number in range(50)}
    audit_entry = audit.record(
        "changed" * 50, about=office.acme, reason="r" * 5000, object_name="n" * 5000,
        changes=audit.difference(office.acme, {"policy": {}}, audit.values_of(office.acme)),
    )  # fmt: skip
    audit_entry.refresh_from_db()
    assert len(json.dumps(audit_entry.changes)) < 20_000
    assert (len(audit_entry.reason), len(audit_entry.object_name)) == (200, 200)


class TestPages:
    def test_owners_see_their_tenants_entries_and_no_others(self, office: Office) -> None:
        audit.record("changed", about=office.acme, object_name="mine")
        audit.record("changed", about=office.umbrella, object_name="theirs")
        audit.record("signed in", name="stranger", object_name="nobodys")
        page = office.client(office.alice).get(url_of(AuditEntry, "changelist")).content.decode()
        assert "mine" in page
        assert "theirs" not in page
        assert "nobodys" not in page
        everything = office.client(office.olga).get(url_of(AuditEntry, "changelist")).content.decode()
        assert "theirs" in everything
        assert "nobodys" in everything

    def test_others_do_not(self, office: Office) -> None:
        assert office.client(office.fay).get(url_of(AuditEntry, "changelist")).status_code == 403
        support = User.objects.create(username="sue", is_staff=True)
        PlatformRole.objects.create(user=support, role="support")
        assert office.client(support).get(url_of(AuditEntry, "changelist")).status_code == 403

    def test_it_is_found_by_person_and_thing(self, office: Office) -> None:
        audit.record("changed", about=office.acme, object_name="the needle")
        client = office.client(office.olga)
        for query in (
            "?q=needle",
            "?verb=changed",
            f"?tenant={office.acme.pk}",
            "?object_type=tenants.tenant",
        ):
            assert "the needle" in client.get(url_of(AuditEntry, "changelist") + query).content.decode(), (
                query
            )
        assert (
            "the needle"
            not in client.get(url_of(AuditEntry, "changelist") + "?verb=deleted").content.decode()
        )

    def test_a_page_of_a_tenants_entries_for_the_portal(self, office: Office, tenant: Tenant) -> None:
        for number in range(5):
            audit.record("changed", about=tenant, object_name=f"thing {number}")
        first = audit.entries_of(tenant, most=3)
        then = audit.entries_of(tenant, before=first[-1].pk, most=3)
        assert [entry.object_name for entry in (*first, *then)][:5] == [f"thing {n}" for n in (4, 3, 2, 1, 0)]
        assert [entry.object_name for entry in audit.entries_of(tenant, searched="thing 2")] == ["thing 2"]
