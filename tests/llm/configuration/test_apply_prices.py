"""Prices and accounts of a configuration file."""

from decimal import Decimal

import pytest
from django.utils.timezone import now

from billing.models import PriceRow
from llm.catalog.loading import load_catalog
from llm.configuration import ConfigurationError
from llm.models import LanguageModel, Provider
from tests.llm.configuration.applying import FILE, apply, import_list_price, live_prices, summary

pytestmark = pytest.mark.django_db


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
