"""Each error of a configuration file names its line."""

import pytest

from llm.configuration import ConfigurationError
from tests.llm.configuration.applying import FILE, apply, rows

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("good", "bad", "message"),
    [
        (
            "kind: openai\n",
            "kind: opena1\n",
            "3: providers[0].kind: must be 'openai', 'anthropic' or 'azure', not 'opena1'",
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
            "17: models[0].prices[1]: 'input online standard global 0' is here",
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
            "threshold: 0.95}",
            "threshold: 0.95,\n              embedder: nobody}",
            "30: tenants[0].policy.cache.embedder: is none of minilm, wordllama, "
            "and there is no model 'nobody'",
        ),
        (
            "threshold: 0.95}",
            "threshold: 0.95,\n              also_embed_with: [minilm, mini-of-file]}",
            "30: tenants[0].policy.cache.also_embed_with[1]: the model 'mini-of-file' is not of kind embedding",
        ),
        (
            "default_tier: standard}",
            "default_tier: standard, baseline_model: nobody}",
            "30: tenants[0].policy.routing.baseline_model: there is no model 'nobody'",
        ),
        (
            "demote: complex",
            "demote: all",
            "32: tenants[0].policy.pressure[0].demote: must be 'standard' or 'complex'",
        ),
        ("id: alice", "idd: alice", "34: tenants[0].users[0].idd: is not known here"),
        ("${ACME_KEY}", "short", "36: tenants[0].keys[0].secret: must have at least 32 characters"),
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
        (
            "kind: webhook",
            "kind: slack",
            "45: tenants[0].channels[0]: a Slack-compatible webhook is not signed: it needs no secret",
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
