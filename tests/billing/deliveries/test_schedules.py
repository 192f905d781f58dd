"""What a schedule may ask for, and what a tenant's own people may not."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import connection

from billing.deliveries.schedules import MOST_OF_A_TENANT, save_schedule
from billing.models import ReportSchedule
from tenants.models import AuditEntry, Membership
from tests.billing.deliveries.conftest import Storage, schedule_of, to_storage
from tests.billing.shop import Shop


def refused(shop: Shop, by_tenant: bool = False, **values: Any) -> set[str]:
    facts = {"name": "books", "what": "report", "formats": ["csv"], "when": "close"}
    facts |= {"kind": "email", "target": "finance@example.com"} | values
    with pytest.raises(ValidationError) as caught:
        save_schedule(ReportSchedule(tenant=shop.tenant, **facts), by_tenant=by_tenant)
    return set(caught.value.message_dict)


def test_it_works(shop: Shop) -> None:
    schedule = schedule_of(shop, when="monthly", day=3)
    assert schedule.next_at is not None
    assert schedule_of(shop, name="close").next_at is None


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"formats": ["docx"]}, "formats"),
        ({"formats": []}, "formats"),
        ({"what": "pack", "formats": ["csv"]}, "formats"),
        ({"what": "statement", "formats": ["statement"], "when": "daily"}, "when"),
        ({"when": "monthly"}, "day"),
        ({"when": "monthly", "day": 29}, "__all__"),
        ({"when": "daily", "day": 3}, "day"),
        ({"hour": 24}, "__all__"),
        ({"target": "nobody"}, "target"),
        ({"target": "a@example.com, b@example.com\nBcc: c@example.com"}, "target"),
        ({"target": ",".join(f"a{n}@example.com" for n in range(11))}, "target"),
        ({"kind": "folder", "target": "finance"}, "kind"),  # there is no root
        ({"kind": "s3", "target": "bucket/a"}, "secret_key"),
    ],
)
def test_what_cannot_be_carried_out_is_refused(shop: Shop, values: dict[str, Any], field: str) -> None:
    assert refused(shop, **values) == {field}


@pytest.mark.parametrize(
    "target", ["../other", "/etc", "a/../../b", "a/./b", ".hidden", "a//b", "a\\b", "a/\x00", "~/x", "ä"]
)
def test_no_folder_leads_out_of_its_root(shop: Shop, root: Any, target: str) -> None:
    assert refused(shop, kind="folder", target=target) == {"target"}


KEYS = {"access_key": "a", "secret_key": "b", "region": "us-east-1"}


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"target": "Bucket/x"}, "target"),
        ({"target": "bucket/../x"}, "target"),
        ({"endpoint": "http://169.254.169.254"}, "endpoint"),
        ({"endpoint": "http://[::ffff:169.254.169.254]"}, "endpoint"),
        ({"endpoint": "http://127.0.0.1:9000"}, "endpoint"),
        ({"endpoint": "http://2130706433"}, "endpoint"),
        ({"endpoint": "http://files.example.com"}, "endpoint"),  # no https
        ({"endpoint": "https://user:secret@files.example.com"}, "endpoint"),
        ({"endpoint": "https://files.example.com/path"}, "endpoint"),
        ({"endpoint": "ftp://files.example.com"}, "endpoint"),
        ({"region": "us east"}, "region"),
        ({"region": ""}, "region"),
        ({"secret_key": ""}, "secret_key"),
    ],
)
def test_a_storage_is_one_that_we_may_reach(
    shop: Shop, settings: Any, values: dict[str, Any], field: str
) -> None:
    settings.WEBHOOKS_MAY_BE_PRIVATE = False
    assert refused(shop, kind="s3", **({"target": "bucket/x"} | KEYS | values)) == {field}


def test_a_storage_without_keys_is_never_opened_with_the_machines(shop: Shop, storage: Storage) -> None:
    schedule = schedule_of(shop, **to_storage(storage))
    with pytest.raises(Exception, match="report_schedule_storage_has_keys"):
        ReportSchedule.objects.filter(pk=schedule.pk).update(secret_key="")


def test_keys_are_encrypted_and_not_in_the_audit_log(shop: Shop, storage: Storage) -> None:
    schedule = schedule_of(shop, **to_storage(storage))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT access_key, secret_key FROM billing_reportschedule WHERE id = %s", [schedule.pk]
        )
        stored = cursor.fetchone()
    assert not {"a-key", "a-secret"} & set(stored)
    again = ReportSchedule.objects.defer("access_key", "secret_key").get(pk=schedule.pk)
    again.is_active = False
    save_schedule(again)
    entries = AuditEntry.objects.filter(object_type="billing.reportschedule", object_id=str(schedule.pk))
    assert "a-secret" not in str([entry.changes for entry in entries])
    assert entries.latest("pk").changes == {"is_active": [True, False]}
    again.refresh_from_db()
    assert again.secret_key == "a-secret"


def test_a_tenants_people_write_to_themselves_alone(shop: Shop, root: Any) -> None:
    assert refused(shop, by_tenant=True, kind="folder", target="x") == {"kind"}
    assert refused(shop, by_tenant=True, target="stranger@example.com") == {"target"}
    person = User.objects.create_user(f"fin-{shop.tenant.slug}", email="Fin@example.com")
    Membership.objects.create(user=person, tenant=shop.tenant, role="finance")
    own = ReportSchedule(
        tenant=shop.tenant, name="own", what="report", formats=["csv"], target="fin@example.com"
    )
    save_schedule(own, by_tenant=True)
    assert own.pk


def test_a_tenant_has_so_many(shop: Shop) -> None:
    for number in range(MOST_OF_A_TENANT):
        schedule_of(shop, name=f"n{number}")
    with pytest.raises(ValidationError):
        schedule_of(shop, name="one more")
