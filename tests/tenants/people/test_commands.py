"""What commands change stands in the audit log under the name of who ran them: by the list of all commands."""

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command, get_commands, load_command_class
from django.utils.timezone import now

from billing.models import BillingPeriod, PriceRow, Statement
from billing.prices.editing import set_price
from tenants.models import AuditEntry, Tenant
from tenants.people.commands import RecordedCommand
from tests.llm.configuration.applying import ENVIRON, FILE

OURS = ("tenants", "billing", "caching", "llm", "config")
# they change no table of ours, or are a client of the API, which knows its key
READING = {
    "batch",
    "chargeback",
    "estimates",
    "journal",
    "rate",
    "report",
    "run",
    "serve",
    "verify",
    "verify_statements",
}


@pytest.fixture(autouse=True)
def rita(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operating system's user."""
    monkeypatch.setenv("LOGNAME", "rita")
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)


def entries_of(command: str) -> list[AuditEntry]:
    return list(AuditEntry.objects.filter(name=f"rita (manage.py {command})").order_by("pk"))


def kinds(entries: list[AuditEntry]) -> set[tuple[str, str]]:
    return {(entry.verb, entry.object_type.rpartition(".")[2]) for entry in entries}


def test_every_command_is_known_to_read_or_is_recorded() -> None:
    found = {name for name, app in get_commands().items() if str(app).partition(".")[0] in OURS}
    recorded = {
        name for name in found if isinstance(load_command_class(get_commands()[name], name), RecordedCommand)
    }
    assert found - recorded == READING


def test_it_works(tenant: Tenant) -> None:
    """A month that is closed: the run, the period's states, and its statement."""
    ended = (now() - timedelta(days=40)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    period = BillingPeriod.objects.create(
        tenant=tenant, label=f"{ended:%Y-%m}", starts_at=ended, ends_at=ended + timedelta(days=28), timezone="UTC"
    )  # fmt: skip
    call_command("close_month", tenant=tenant.slug, month=period.label, force="the audit waits")
    entries = entries_of("close_month")
    assert {("changed", "billingperiod"), ("created", "statement")} <= kinds(entries)
    states = [
        entry.changes["status"] for entry in entries if "status" in entry.changes and entry.verb == "changed"
    ]
    assert states == [["open", "closing"], ["closing", "closed"]]
    ran = entries[-1]
    assert (ran.verb, ran.tenant_id) == ("ran close_month", tenant.pk)
    assert ran.changes["force"] == [None, "the audit waits"]
    assert Statement.objects.filter(period=period).exists()


def test_a_file_that_is_applied_is_entered_row_by_row(db: None, tmp_path: Path) -> None:
    file = tmp_path / "purser.yaml"
    file.write_text(FILE)
    call_command("apply", str(file), dry_run=True)
    assert entries_of("apply") == []
    call_command("apply", str(file))
    made = kinds(entries_of("apply"))
    for kind in (
        "provider",
        "languagemodel",
        "pricerow",
        "tenant",
        "enduser",
        "apikey",
        "budget",
        "alertrule",
        "alertchannel",
    ):
        assert ("created", kind) in made, kind
    assert ("ran apply", "") in made
    file.write_text(FILE.replace('limit: "1000"', 'limit: "2000"').replace("Acme GmbH", "Acme AG"))
    last = entries_of("apply")[-1].pk
    call_command("apply", str(file))
    changed = {entry.object_type: entry.changes for entry in entries_of("apply") if entry.pk > last}
    assert changed["billing.budget"] == {"limit_amount": ["1000", "2000"]}
    assert changed["tenants.tenant"] == {"name": ["Acme GmbH", "Acme AG"]}
    written = str([entry.changes for entry in entries_of("apply")])
    assert not any(secret in written for secret in ENVIRON.values())


def test_prices(db: None) -> None:
    at = now()
    price = PriceRow.objects.create(
        provider="openai", model="of-command", meter="input", unit_price=Decimal(1), per=1_000_000, source="admin",
        valid_from=at - timedelta(days=9),
    )  # fmt: skip
    later = set_price(price, unit_price=Decimal(2), valid_from=at + timedelta(days=9))
    call_command("revoke_price", later.pk, reason="a typing error")
    entries = entries_of("revoke_price")
    ended = [entry for entry in entries if entry.verb == "changed" and "superseded_at" in entry.changes]
    assert str(later.pk) in {entry.object_id for entry in ended}
    assert {entry.reason for entry in ended} == {"a typing error"}
    assert ("created", "pricerow") in kinds(entries)


@pytest.mark.parametrize(
    ("command", "options", "made"),
    [
        ("purge_cache", {"model": "gpt-4o"}, ("ran purge_cache", "")),
        ("import_prices", {}, ("ran import_prices", "")),
        ("rerate", {"since": "2026-01-01", "reason": "x"}, ("ran rerate", "")),
    ],
)
def test_others(command: str, options: dict[str, Any], made: tuple[str, str], tenant: Tenant) -> None:
    call_command(command, **({"tenant": tenant.slug} if command != "import_prices" else {}), **options)
    assert made in kinds(entries_of(command))


def test_an_operator_that_is_made_by_a_command(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PURSER_ADMIN_PASSWORD", "long horse battery")
    call_command("ensure_admin", "keeper")
    call_command("ensure_admin", "keeper", reset_password=True)
    assert {("created", "user"), ("reset the password", "user")} <= kinds(entries_of("ensure_admin"))
    assert "long horse battery" not in str([entry.changes for entry in entries_of("ensure_admin")])


def test_what_failed_is_no_run(db: None) -> None:
    with pytest.raises(CommandError):
        call_command("close_month", tenant="nobody", month="2026-01")
    assert entries_of("close_month") == []
