"""Split rules, deliveries and rights of keys out of a file."""

from typing import Any

import pytest

from billing.models import ReportSchedule, SplitRule
from llm.configuration.apply import apply_configuration
from llm.configuration.changes import Changes
from llm.configuration.document import ConfigurationError
from tenants.models import ApiKey, Tenant

FILE = """
tenants:
  - slug: books-of-file
    keys:
      - {name: alices, user: alice, rights: [reports]}
    split_rules:
      - {name: platform, source: cost_center, value: ops, method: fixed, shares: {4711: 25, 4712: 75}, first_month: 2026-01}
      - {name: rest, place: 200, source: unallocated, method: even, first_month: 2026-01}
    deliveries:
      - {name: books, what: report, formats: [csv, focus-1.4], when: monthly, day: 3, email: [a@example.com, b@example.com]}
      - name: lake
        bucket: finance/purser
        region: eu-central-1
        access_key: ${LAKE_KEY}
        secret_key: ${LAKE_SECRET}
deliveries:
  - {name: all, when: close, email: [cfo@example.com]}
"""
ENVIRON = {"LAKE_KEY": "AKIA-x", "LAKE_SECRET": "very-secret"}


def apply(text: str = FILE) -> Changes:
    return apply_configuration(text, source="books.yaml", environ=ENVIRON)


def actions(changes: Changes) -> dict[str, str]:
    return {f"{one.kind} {one.name}": one.action for one in changes.changes}


@pytest.mark.django_db
def test_it_works() -> None:
    first = actions(apply())
    assert (
        first["delivery books-of-file/lake"]
        == first["split rule books-of-file/platform from 2026-01"]
        == "created"
    )
    tenant = Tenant.objects.get(slug="books-of-file")
    rule = SplitRule.objects.get(tenant=tenant, name="platform")
    assert rule.shares == [["4711", "25"], ["4712", "75"]]
    lake = ReportSchedule.objects.get(tenant=tenant, name="lake")
    assert (lake.kind, lake.target, lake.secret_key) == ("s3", "finance/purser", "very-secret")
    books = ReportSchedule.objects.get(tenant=tenant, name="books")
    assert (books.target, books.day, books.next_at is not None) == ("a@example.com, b@example.com", 3, True)
    assert ReportSchedule.objects.get(tenant=None, name="all").what == "pack"
    assert ApiKey.objects.get(tenant=tenant, name="alices").rights == ["reports"]
    assert set(actions(apply()).values()) == {"unchanged"}


@pytest.mark.django_db
def test_a_change_is_told_without_its_secrets() -> None:
    apply()
    changes = apply(FILE.replace("${LAKE_SECRET}", "another-secret").replace("day: 3", "day: 4"))
    told = {one.name: [(field.name, field.old, field.new) for field in one.fields] for one in changes.changes}
    assert told["books-of-file/lake"] == [("secret_key", "", "")]
    assert told["books-of-file/books"] == [("day", "3", "4")]
    assert ReportSchedule.objects.get(name="lake").secret_key == "another-secret"


@pytest.mark.django_db
def test_a_split_rule_ends_and_is_never_edited() -> None:
    apply()
    ended = FILE.replace(
        "method: even, first_month: 2026-01", "method: even, first_month: 2026-01, last_month: 2026-06"
    )
    assert actions(apply(ended))["split rule books-of-file/rest from 2026-01"] == "updated"
    assert SplitRule.objects.get(name="rest").last_month == "2026-06"
    with pytest.raises(ConfigurationError, match="a rule is never edited"):
        apply(FILE.replace("4711: 25, 4712: 75", "4711: 50, 4712: 50"))


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("4711: 25, 4712: 75", "4711: 25, 4712: 70", "make 95, not 100"),
        ("rights: [reports]", "rights: [root]", "reports"),
        ("bucket: finance/purser", "bucket: ../etc", "bucket/prefix"),
        (
            "region: eu-central-1",
            "region: eu-central-1\n        endpoint: http://169.254.169.254",
            "not a public address",
        ),
        (
            "email: [cfo@example.com]",
            "email: [cfo@example.com], folder: x",
            "one of email, bucket and folder",
        ),
        ("email: [cfo@example.com]", "folder: ../x", "REPORTS_FOLDER"),
        ("when: monthly, day: 3", "when: monthly", "1 to 28"),
        ("formats: [csv, focus-1.4]", "formats: [docx]", "docx"),
        ("secret_key: ${LAKE_SECRET}", "secrets_key: x", "secrets_key"),
    ],
)
def test_what_is_wrong_is_named(old: str, new: str, said: str, settings: Any) -> None:
    settings.WEBHOOKS_MAY_BE_PRIVATE = False
    with pytest.raises(ConfigurationError, match=said) as caught:
        apply(FILE.replace(old, new))
    assert "very-secret" not in str(caught.value)
    assert not Tenant.objects.filter(slug="books-of-file").exists()
