"""Configuration files: everything or nothing, twice is once, and each error names its line."""

import io
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import Q
from django.utils.timezone import now

from billing.models import AlertChannel, AlertRule, Budget, PriceRow
from llm.configuration import Changes, ConfigurationError, apply_configuration
from llm.loading import load_catalog
from llm.models import LanguageModel, Provider
from tenants import keys
from tenants.keys_admin import revoke_key, rotate_key
from tenants.models import ApiKey, EndUser, Tenant

pytestmark = pytest.mark.django_db

ENVIRON = {
    "OPENAI_API_KEY": "sk-openai-secret",
    "ACME_KEY": "acme-secret-of-the-file",
    "HOOK_SECRET": "hook-secret-of-the-file",
}
FILE = """\
providers:
  - name: openai-of-file
    kind: openai
    base_url: https://api.openai.example/v1
    api_key: ${OPENAI_API_KEY}
    limits: {rpm: 5000, tpm: 2000000, concurrency: 200}
models:
  - name: mini-of-file
    provider: openai-of-file
    upstream: gpt-4o-mini
    tier: standard
    context_window: 128000
    max_output_tokens: 16384
    capabilities: [tools, vision, json_schema]
    prices:
      - {meter: input, usd_per_million: "0.15"}
      - {meter: cache_read, usd_per_million: "0.075"}
      - {meter: output, usd_per_million: "0.60"}
      - {meter: input, processing: batch, usd_per_million: "0.075"}
      - {meter: output, processing: batch, usd_per_million: "0.30"}
tenants:
  - slug: acme-of-file
    name: Acme GmbH
    timezone: Europe/Berlin
    policy:
      cache: {exact: true, ttl_seconds: 86400, max_entries: 10000,
              semantic: bounded,
              max_error_rate: 0.02,
              threshold: 0.95}
      routing: {enabled: true, default_tier: standard}
      compression: {enabled: false}
      pressure: [{at_percent: 90, demote: complex}, {at_percent: 95, only: simple}]
    users:
      - {id: alice, cost_center: "4711"}
    keys:
      - {name: ci, secret: ${ACME_KEY}, models: ["*"], expires: 2027-12-31}
    budgets:
      - {scope: tenant, unit: usd, period: month, limit: "1000", mode: hard, alert_at: [50, 80, 100], shards: 4}
      - {scope: user, unit: tokens, period: day, limit: 100000, mode: hard}
      - {scope: user, value: alice, unit: tokens, period: month, limit: 2000000, mode: hard}
    rate_limits: {rpm: 600, tpm: 400000, concurrency: 50}
    alerts:
      - {metric: request_cost, threshold: "0.50", channels: [ops]}
    channels:
      - {name: ops, kind: webhook, url: "https://hooks.example/purser", secret: ${HOOK_SECRET}}
"""
TABLES = (Provider, LanguageModel, PriceRow, Tenant, EndUser, ApiKey, Budget, AlertChannel, AlertRule)


def apply(text: str = FILE, **options: Any) -> Changes:
    return apply_configuration(text, source="purser.yaml", environ=ENVIRON, **options)


def rows() -> dict[str, list[tuple[Any, ...]]]:
    return {table.__name__: sorted(table.objects.values_list(), key=str) for table in TABLES}


def live_prices(at: datetime) -> dict[tuple[str, str], Decimal]:
    valid = PriceRow.objects.filter(
        Q(valid_to=None) | Q(valid_to__gt=at), valid_from__lte=at, superseded_at=None
    )
    return {(row.meter, row.processing): row.unit_price for row in valid.filter(model="mini-of-file")}


def summary(changes: Changes) -> list[str]:
    return [str(change) for change in changes.changes if change.action != "unchanged"]


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
    assert keys.matches("acme-secret-of-the-file", bytes(key.secret_hash))
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


def test_a_changed_price_supersedes_the_former() -> None:
    apply()
    before = live_prices(now())
    at = now()
    changed = apply(
        FILE.replace('meter: output, usd_per_million: "0.60"', 'meter: output, usd_per_million: "0.50"')
    )
    assert summary(changed) == [
        "updated   price openai-of-file/mini-of-file output online (usd_per_million: 0.6 -> 0.5)"
    ]
    assert apply(FILE.replace('"0.60"', '"0.50"')).is_empty
    assert live_prices(at) == before  # what is past rates as it did
    assert live_prices(now())["output", "online"] == Decimal("0.5")


def test_a_price_that_left_the_list_ends() -> None:
    apply()
    before, at = live_prices(now()), now()
    changed = apply(FILE.replace('      - {meter: cache_read, usd_per_million: "0.075"}\n', ""))
    assert summary(changed) == [
        "updated   price openai-of-file/mini-of-file cache_read online (usd_per_million: 0.075 -> none)"
    ]
    assert ("cache_read", "online") not in live_prices(now())
    assert live_prices(at) == before


@pytest.mark.parametrize(
    ("good", "bad", "message"),
    [
        (
            "kind: openai\n",
            "kind: opena1\n",
            "3: providers[0].kind: must be 'openai' or 'anthropic', not 'opena1'",
        ),
        (
            "https://api",
            "ftp://api",
            "4: providers[0].base_url: must be an address such as https://host/path",
        ),
        (
            "${OPENAI_API_KEY}",
            "${NO_SUCH_NAME}",
            "5: providers[0].api_key: the environment variable NO_SUCH_NAME is",
        ),
        ("rpm: 5000", "rps: 5", "6: providers[0].limits.rps: is not known here"),
        (
            "provider: openai-of-file",
            "provider: nobody",
            "9: models[0].provider: there is no provider 'nobody'",
        ),
        ("    tier: standard", "    tierr: standard", "11: models[0].tierr: is not known here"),
        ("    context_window: 128000\n", "", "8: models[0].context_window: is missing"),
        (
            "json_schema]",
            "json_schema]\n    fallbacks: [nobody]",
            "15: models[0].fallbacks[0]: there is no model 'nobody'",
        ),
        ("{meter: input, usd", "{mater: input, usd", "16: models[0].prices[0].mater: is not known here"),
        (
            '"0.15"',
            '"cheap"',
            "16: models[0].prices[0].usd_per_million: must be a decimal number, not 'cheap'",
        ),
        (
            "meter: cache_read",
            "meter: input",
            "17: models[0].prices[1]: 'input online standard global 0' stands here",
        ),
        (
            "Europe/Berlin",
            "Mars/Olympus",
            "24: tenants[0].timezone: 'Mars/Olympus' is not an IANA time zone name",
        ),
        (
            "semantic: bounded",
            "semantic: on",
            "27: tenants[0].policy.cache.semantic: must be 'off', 'dry_run',",
        ),
        (
            "max_error_rate: 0.02",
            "max_error_rate: 2",
            "28: tenants[0].policy.cache.max_error_rate: must be below 1",
        ),
        (
            "demote: complex",
            "demote: all",
            "32: tenants[0].policy.pressure[0].demote: must be 'standard' or 'complex'",
        ),
        ("id: alice", "idd: alice", "34: tenants[0].users[0].idd: is not known here"),
        ("${ACME_KEY}", "short", "36: tenants[0].keys[0].secret: must have at least 8 characters"),
        ("2027-12-31", "soon", "36: tenants[0].keys[0].expires: must be a date such as 2027-12-31"),
        ("limit: 100000,", "limit: -1,", "39: tenants[0].budgets[1].limit: must be at least 0, not -1"),
        ("alert_at: [50", "alert_at: [0", "38: tenants[0].budgets[0].alert_at[0]: must be above 0, not 0"),
        (
            "concurrency: 50}",
            "concurrency: none}",
            "41: tenants[0].rate_limits.concurrency: must be a whole number",
        ),
        (
            "metric: request_cost",
            "metric: mood",
            "43: tenants[0].alerts[0].metric: Value 'mood' is not a valid choice.",
        ),
        (
            "channels: [ops]",
            "channels: [oops]",
            "43: tenants[0].alerts[0].channels[0]: tenant acme-of-file has no channel",
        ),
        (
            "kind: webhook",
            "kind: email",
            "45: tenants[0].channels[0]: an e-mail channel needs a to, and no url",
        ),
        ("tenants:\n", "tenant:\n", "21: tenant: is not known here"),
        ("tenants:\n", "tenants:\n - slug: [\n", "23: is not YAML"),
    ],
)
def test_an_error_names_its_line_and_changes_nothing(good: str, bad: str, message: str) -> None:
    assert good in FILE
    before = rows()
    with pytest.raises(ConfigurationError) as caught:
        apply(FILE.replace(good, bad, 1))
    assert str(caught.value).startswith(f"purser.yaml:{message}")
    assert rows() == before


def test_the_contracts_example_is_accepted(django_assert_max_num_queries: Callable[[int], Any]) -> None:
    with django_assert_max_num_queries(400):
        assert not apply().is_empty


def import_list_price(model: str, *, kind: str = "openai") -> None:
    for meter in ("input", "output"):
        PriceRow.objects.get_or_create(
            provider=kind,
            model=model,
            meter=meter,
            superseded_at=None,
            defaults={
                "unit_price": Decimal("0.7"),
                "per": 1_000_000,
                "valid_from": now(),
                "source": "import",
            },
        )


def test_the_imported_list_price_is_copied_to_the_models_name() -> None:
    head, rest = FILE.split("    prices:\n")
    text = head + "    prices: list\ntenants:" + rest.split("tenants:")[1]
    upstream = text.replace("upstream: gpt-4o-mini", "upstream: upstream-of-file")
    with pytest.raises(
        ConfigurationError, match=r"purser\.yaml:15: .*no list price of openai/upstream-of-file"
    ):
        apply(upstream)
    import_list_price("upstream-of-file")
    apply(upstream)
    assert live_prices(now()) == {("input", "online"): Decimal("0.7"), ("output", "online"): Decimal("0.7")}
    assert apply(upstream).is_empty


def test_the_demonstrations_file_is_accepted() -> None:
    for model in ("gpt-4.1-nano", "gpt-4o-mini", "gpt-4o", "text-embedding-3-small"):
        import_list_price(model)
    for model in ("claude-haiku-4-5", "claude-sonnet-4-5"):
        import_list_price(model, kind="anthropic")
    path = Path(__file__).parents[2] / "demo" / "demo.yaml"
    names = ("PURSER_SANDBOX_KEY", "PURSER_DEMO_KEY", "PURSER_DEMO_BOUNDED_KEY", "PURSER_HOOK_SECRET")
    environ = {"PURSER_SANDBOX_URL": "http://127.0.0.1:1", **{name: f"the value of {name}" for name in names}}
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


def test_further_accounts_of_a_model_have_its_prices_unless_they_have_their_own() -> None:
    more = """\
  - {name: second-of-file, kind: openai, base_url: "https://second.example/v1"}
  - {name: third-of-file, kind: openai, base_url: "https://third.example/v1"}
models:
"""
    deployments = """\
    tier: standard
    weight: 3
    timeouts: {first_byte: 20}
    deployments:
      - {provider: second-of-file, weight: 0.5, timeouts: {idle: 5}}
      - {provider: third-of-file, upstream: mini, prices: [{meter: input, usd_per_million: "7"}]}
"""
    text = FILE.replace("models:\n", more, 1).replace("    tier: standard\n", deployments, 1)
    apply(text)
    model = LanguageModel.objects.get(name="mini-of-file")
    second, _ = model.deployments.order_by("provider__name")
    assert (model.weight, model.timeouts, second.weight, second.timeouts) == (
        3,
        {"first_byte": 20},
        0.5,
        {"idle": 5},
    )
    prices = {
        provider: set(
            PriceRow.objects.filter(provider=provider, model="mini-of-file", superseded_at=None).values_list(
                "meter", "processing", "unit_price"
            )
        )
        for provider in ("openai-of-file", "second-of-file", "third-of-file")
    }
    assert prices["second-of-file"] == prices["openai-of-file"]
    assert prices["third-of-file"] == {("input", "online", Decimal(7))}
    assert apply(text).is_empty
    accounts = load_catalog().accounts["mini-of-file"]
    assert [(one.provider, one.upstream, one.weight) for one in accounts] == [
        ("openai-of-file", "gpt-4o-mini", 3),
        ("second-of-file", "gpt-4o-mini", 0.5),
        ("third-of-file", "mini", 1),
    ]
    assert accounts[1].timeouts == {"first_byte": 20, "idle": 5}
    Provider.objects.filter(name="openai-of-file").update(is_active=False)
    assert load_catalog().find("mini-of-file").provider == "second-of-file"


@pytest.mark.parametrize(
    ("deployment", "told"),
    [
        ("{provider: absent}", "there is no provider 'absent'"),
        ("{provider: openai-of-file}", "is the model's own account already"),
        ("{provider: openai-of-file, weight: -1}", "weight"),
    ],
)
def test_a_wrong_account_is_an_error_with_its_line(deployment: str, told: str) -> None:
    text = FILE.replace(
        "    tier: standard\n", f"    tier: standard\n    deployments:\n      - {deployment}\n", 1
    )
    with pytest.raises(ConfigurationError, match=told) as caught:
        apply(text)
    assert str(caught.value).startswith("purser.yaml:13")
