"""A tenant's own people say which reports go where by themselves; and a person's key reads reports when an owner says so."""

from typing import Any

from billing.models import ReportSchedule
from tenants.keys.editing import issue_key
from tenants.models import AuditEntry
from tests.config.portal.conftest import House

ANSWERS = {
    "name": "books", "what": "report", "formats": ["csv", "focus-1.4"], "when": "monthly", "day": "3", "hour": "6",
    "kind": "email", "target": "fay@acme.example", "endpoint": "", "region": "", "is_active": "on",
}  # fmt: skip
STORAGE = {
    "kind": "s3", "target": "finance/purser", "region": "eu-central-1", "access_key": "AKIA-x", "secret_key": "very-secret",
}  # fmt: skip


def known(house: House) -> None:
    house.fay.email = "fay@acme.example"
    house.fay.save()


def test_it_works(house: House) -> None:
    known(house)
    fay = house.client(house.fay)
    assert fay.post(house.at("deliveries/new/"), ANSWERS).status_code == 302
    schedule = ReportSchedule.objects.get(tenant=house.acme)
    assert (schedule.formats, schedule.day, schedule.created_by) == (["csv", "focus-1.4"], 3, house.fay)
    page = fay.get(house.at("deliveries/")).content.decode()
    assert "fay@acme.example" in page
    changed = fay.post(house.at(f"deliveries/{schedule.pk}/"), ANSWERS | {"is_active": "", "hour": "7"})
    assert changed.status_code == 302
    schedule.refresh_from_db()
    assert (schedule.is_active, schedule.hour) == (False, 7)
    entry = AuditEntry.objects.filter(tenant=house.acme, object_type="billing.reportschedule").latest("pk")
    assert (entry.person, set(entry.changes)) == (house.fay, {"is_active", "hour", "next_at"})
    assert fay.post(house.at(f"deliveries/{schedule.pk}/remove/")).status_code == 302
    assert not ReportSchedule.objects.exists()


def test_a_storages_keys_are_never_shown_and_kept(house: House) -> None:
    alice = house.client(house.alice)
    assert alice.post(house.at("deliveries/new/"), ANSWERS | STORAGE).status_code == 302
    schedule = ReportSchedule.objects.get(tenant=house.acme)
    for page in ("deliveries/", f"deliveries/{schedule.pk}/"):
        text = alice.get(house.at(page)).content.decode()
        assert "very-secret" not in text
        assert "AKIA-x" not in text
    again = ANSWERS | STORAGE | {"access_key": "", "secret_key": "", "hour": "9"}
    assert alice.post(house.at(f"deliveries/{schedule.pk}/"), again).status_code == 302
    schedule.refresh_from_db()
    assert (schedule.secret_key, schedule.hour) == ("very-secret", 9)


def test_what_may_not_be_asked_for_is_said_at_its_field(house: House, settings: Any) -> None:
    settings.REPORTS_FOLDER = "/srv/reports"
    settings.WEBHOOKS_MAY_BE_PRIVATE = False
    alice = house.client(house.alice)
    for answers, said in (
        ({"target": "stranger@example.com"}, "is nobody of yours"),
        (STORAGE | {"endpoint": "http://169.254.169.254"}, "is not a public address"),
        ({"formats": ["docx"]}, "docx"),
        ({"kind": "folder", "target": "x"}, "folder"),
    ):
        page = alice.post(house.at("deliveries/new/"), ANSWERS | answers)
        assert page.status_code == 200, answers
        assert said in page.content.decode(), answers
    assert not ReportSchedule.objects.exists()


def test_it_is_nobody_elses(house: House) -> None:
    alice = house.client(house.alice)
    alice.post(house.at("deliveries/new/"), ANSWERS | STORAGE)
    schedule = ReportSchedule.objects.get(tenant=house.acme)
    bob, charlie = house.client(house.bob), house.client(house.charlie)
    assert bob.get(house.at("deliveries/")).status_code == 403
    assert charlie.get(house.at("deliveries/")).status_code == 404
    other = house.at().replace(house.acme.slug, house.umbrella.slug)
    assert charlie.get(f"{other}deliveries/{schedule.pk}/").status_code == 404
    assert charlie.post(f"{other}deliveries/{schedule.pk}/remove/").status_code == 404
    assert ReportSchedule.objects.filter(pk=schedule.pk).exists()


def test_an_owner_gives_a_persons_key_the_right(house: House) -> None:
    key, _ = issue_key(house.acme, name="bobs", user="bob")
    alice, bob = house.client(house.alice), house.client(house.bob)
    address = house.at(f"keys/{key.pk}/rights/")
    assert bob.post(address, {"reports": "yes"}).status_code == 403
    assert alice.post(address, {"reports": "yes"}).status_code == 302
    key.refresh_from_db()
    assert key.rights == ["reports"]
    assert "Take the right back" in alice.get(house.at(f"keys/{key.pk}/")).content.decode()
    assert "Take the right back" not in bob.get(house.at(f"keys/{key.pk}/")).content.decode()
    alice.post(address, {"reports": "no"})
    key.refresh_from_db()
    assert key.rights == []
