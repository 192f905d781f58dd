"""Configuration files: everything or nothing, and twice is once."""

import io
import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection

from billing.models import AlertChannel, AlertRule, Budget, PriceRow
from llm.configuration import ConfigurationError, apply_configuration
from llm.models import LanguageModel, Provider
from tenants.keys import strings as keys
from tenants.keys.editing import revoke_key, rotate_key
from tenants.models import ApiKey, Tenant
from tests.llm.configuration.applying import ENVIRON, FILE, apply, import_list_price, rows, summary

pytestmark = pytest.mark.django_db


def test_it_works() -> None:
    changes = apply()
    assert all(change.action == "created" for change in changes.changes)

    provider = Provider.objects.get(name="openai-of-file")
    assert (provider.kind, provider.api_key) == ("openai", "sk-openai-secret")
    assert provider.limits == {"rpm": 5000, "tpm": 2000000, "concurrency": 200}
    model = LanguageModel.objects.get(name="mini-of-file")
    assert (model.provider, model.upstream, model.tier) == (provider, "gpt-4o-mini", "standard")
    prices = {
        (row.meter, row.processing): row.unit_price * 1_000_000 / row.per
        for row in PriceRow.objects.filter(
            provider="openai-of-file", model="mini-of-file", superseded_at=None
        )
    }
    assert prices == {
        ("input", "online"): Decimal("0.15"),
        ("cache_read", "online"): Decimal("0.075"),
        ("output", "online"): Decimal("0.60"),
        ("input", "batch"): Decimal("0.075"),
        ("output", "batch"): Decimal("0.30"),
    }

    acme = Tenant.objects.get(slug="acme-of-file")
    assert (acme.name, acme.timezone) == ("Acme GmbH", "Europe/Berlin")
    assert acme.policy["cache"]["max_error_rate"] == 0.02
    assert acme.rate_limits == {"rpm": 600, "tpm": 400000, "concurrency": 50}
    assert acme.users.get().cost_center == "4711"
    key = acme.keys.get()
    assert keys.matches("acme-secret-of-the-file-0123456789", bytes(key.secret_hash))
    assert key.expires_at == datetime(2027, 12, 31, 23, tzinfo=UTC)  # the day's end in Berlin
    assert acme.budgets.count() == 3
    of_tenant = acme.budgets.get(scope="tenant")
    assert (of_tenant.alert_at, of_tenant.shards) == ([50, 80, 100], 4)
    channel = AlertChannel.objects.get(tenant=acme)
    assert (channel.target, channel.secret) == ("https://hooks.example/purser", "hook-secret-of-the-file")
    rule = acme.alert_rules.get()
    assert (rule.metric, rule.threshold, list(rule.channels.all())) == (
        "request_cost",
        Decimal("0.50"),
        [channel],
    )


def test_a_slack_channel_has_an_address_and_no_secret() -> None:
    apply(FILE.replace("kind: webhook", "kind: slack").replace(", secret: ${HOOK_SECRET}", ""))
    channel = AlertChannel.objects.get(tenant__slug="acme-of-file")
    assert (channel.kind, channel.target, channel.secret) == ("slack", "https://hooks.example/purser", "")


def test_applying_twice_is_applying_once() -> None:
    apply()
    before = rows()
    histories = (
        Tenant.history.count(),
        Provider.history.count(),
        ApiKey.history.count(),
        Budget.history.count(),
    )
    changes = apply()
    assert changes.is_empty
    assert rows() == before
    assert histories == (
        Tenant.history.count(),
        Provider.history.count(),
        ApiKey.history.count(),
        Budget.history.count(),
    )


def test_a_dry_run_says_it_and_changes_nothing() -> None:
    before = rows()
    dry = apply(dry_run=True)
    assert rows() == before
    assert dry.is_dry_run
    assert [str(change) for change in dry.changes] == [str(change) for change in apply().changes]


def test_an_edit_changes_what_it_names_and_says_so() -> None:
    apply()
    edited = (
        FILE.replace("rpm: 600", "rpm: 700")
        .replace('limit: "1000"', 'limit: "1500"')
        .replace("tier: standard\n", "tier: simple\n", 1)
        .replace('threshold: "0.50"', 'threshold: "0.75"')
        .replace("name: Acme GmbH", "name: Acme AG")
    )
    assert summary(apply(edited)) == [
        "updated   model mini-of-file (tier: standard -> simple)",
        "updated   tenant acme-of-file (name: Acme GmbH -> Acme AG, "
        "rate_limits: {'rpm': 600, 'tpm': 400000, 'concurrency': 50} -> "
        "{'rpm': 700, 'tpm': 400000, 'concurrency': 50})",
        "updated   budget acme-of-file/tenant usd per month (limit: 1000 -> 1500)",
        "updated   alert acme-of-file/request_cost from 0.75 (threshold: 0.5 -> 0.75)",
    ]
    assert Budget.objects.filter(tenant__slug="acme-of-file").count() == 3
    assert AlertRule.objects.filter(tenant__slug="acme-of-file").count() == 1


def test_a_file_asks_a_tenants_people_for_a_second_factor() -> None:
    apply()
    asking = "tenants:\n  - {slug: acme-of-file, requires_second_factor: true}\n"
    assert summary(apply(asking)) == ["updated   tenant acme-of-file (requires_second_factor: False -> True)"]
    assert apply().is_empty, "a file that does not name it leaves it"
    assert Tenant.objects.get(slug="acme-of-file").requires_second_factor
    apply(asking.replace("true", "false"))
    assert not Tenant.objects.get(slug="acme-of-file").requires_second_factor


def test_what_the_file_leaves_out_stays() -> None:
    apply()
    apply("tenants:\n  - {slug: acme-of-file, users: [{id: bob}, {id: alice, name: Alice}]}\n")
    acme = Tenant.objects.get(slug="acme-of-file")
    assert (acme.name, acme.rate_limits["rpm"], acme.policy["cache"]["ttl_seconds"]) == (
        "Acme GmbH",
        600,
        86400,
    )
    assert acme.users.get(external_id="alice").cost_center == "4711"
    assert acme.keys.count() == 1


def test_secrets_are_never_shown() -> None:
    changes = apply()
    other = {name: f"another-{value}" for name, value in ENVIRON.items()}
    changed = apply_configuration(FILE, source="purser.yaml", environ=other)
    said = "\n".join([*changes.lines(), *changed.lines()])
    assert not any(secret in said for secret in [*ENVIRON.values(), *other.values()])
    assert summary(changed) == [
        "updated   provider openai-of-file (api_key: changed)",
        "updated   secret of key acme-of-file/ci (secret: changed)",
        "updated   channel acme-of-file/ops (secret: changed)",
    ]


def test_a_key_without_a_secret_is_generated_and_shown_once() -> None:
    text = "tenants:\n  - {slug: acme-of-file, keys: [{name: generated}]}\n"
    assert apply(text, dry_run=True).issued == []
    (issued,) = apply(text).issued
    key = ApiKey.objects.get(name="generated", tenant__slug="acme-of-file")
    assert keys.matches(issued.clear, bytes(key.secret_hash))
    again = apply(text)
    assert again.is_empty
    assert again.issued == []


def test_an_old_file_does_not_bring_back_a_rotated_or_revoked_secret() -> None:
    apply()
    key = ApiKey.objects.get(tenant__slug="acme-of-file")
    rotate_key(key)
    assert apply().is_empty  # within the grace both are good
    rotate_key(key)
    with pytest.raises(ConfigurationError, match=r"purser\.yaml:36: .*was rotated since"):
        apply()
    revoke_key(key)
    with pytest.raises(ConfigurationError, match=r"purser\.yaml:36: .*this secret is revoked"):
        apply()


def test_a_provider_may_be_a_container_of_the_same_network() -> None:
    apply(FILE.replace("https://api.openai.example/v1", "http://vllm:8000/v1"))
    assert Provider.objects.get(name="openai-of-file").base_url == "http://vllm:8000/v1"


def test_history_names_who_applied_the_file() -> None:
    alice = User.objects.create_user("alice-of-apply")
    apply(acting_user=alice)
    for table in (Tenant, Provider, LanguageModel, Budget, ApiKey):
        entry = table.history.first()  # type: ignore[attr-defined]
        assert entry.history_user == alice
    assert Tenant.history.first().history_change_reason == "applied purser.yaml"


def test_the_contracts_example_is_accepted(django_assert_max_num_queries: Callable[[int], Any]) -> None:
    with django_assert_max_num_queries(400):
        assert not apply().is_empty


def test_the_demonstrations_file_is_accepted() -> None:
    for model in ("gpt-4.1-nano", "gpt-4o-mini", "gpt-4o", "text-embedding-3-small"):
        import_list_price(model)
    for model in ("claude-haiku-4-5", "claude-sonnet-4-5"):
        import_list_price(model, kind="anthropic")
    path = Path(__file__).parents[3] / "demo" / "demo.yaml"
    names = ("PURSER_SANDBOX_KEY", "PURSER_DEMO_KEY", "PURSER_DEMO_BOUNDED_KEY", "PURSER_HOOK_SECRET")
    environ = {
        "PURSER_SANDBOX_URL": "http://127.0.0.1:1",
        **{name: f"the value of {name}, 0123456789" for name in names},
    }
    apply_configuration(path.read_text(), source="demo.yaml", environ=environ)
    assert apply_configuration(path.read_text(), source="demo.yaml", environ=environ).is_empty


def test_the_command_prints_what_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "purser.yaml"
    file.write_text(FILE)
    out = io.StringIO()
    call_command("apply", str(file), "--dry-run", stdout=out)
    assert "created   tenant acme-of-file" in out.getvalue()
    assert "dry run, nothing is changed" in out.getvalue()
    assert not Tenant.objects.filter(slug="acme-of-file").exists()
    call_command("apply", str(file), stdout=out)
    assert Tenant.objects.filter(slug="acme-of-file").exists()
    file.write_text("tenants: 3")
    with pytest.raises(CommandError, match=r"purser\.yaml:1: tenants: must be a list, not 3"):
        call_command("apply", str(file))
    with pytest.raises(CommandError, match="cannot be read"):
        call_command("apply", str(tmp_path / "absent.yaml"))


def test_workers_are_told(committed: None) -> None:
    """Triggers of every table a snapshot is built from send the notice."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT tgrelid::regclass::text FROM pg_trigger WHERE tgname = 'notify_config_update'"
        )
        tables = {row[0] for row in cursor.fetchall()}
    assert tables >= {
        "tenants_tenant",
        "tenants_apikey",
        "tenants_enduser",
        "llm_provider",
        "llm_languagemodel",
        "llm_deployment",
        "billing_pricerow",
        "billing_budget",
    }


def test_the_readmes_example_applies_with_the_variables_that_the_readme_sets() -> None:
    readme = Path("README.md").read_text()
    [example] = re.findall(r"```yaml\n(# mine\.yaml\n.*?)```", readme, re.S)
    [commands] = re.findall(r"```sh\n([^`]*manage\.py apply mine\.yaml --dry-run.*?)```", readme, re.S)
    exports, *applies = commands.splitlines()
    assert all(command.startswith(".venv/bin/python manage.py apply mine.yaml") for command in applies)
    environ = dict.fromkeys(re.findall(r"([A-Z_]+)=", exports), "sk-of-the-provider")
    import_list_price("gpt-4.1-mini")
    before = rows()
    changes = apply_configuration(example, source="mine.yaml", environ=environ, dry_run=True)
    assert {change.action for change in changes.changes} == {"created"}
    assert rows() == before
