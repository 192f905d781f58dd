"""The public vectors, through the command that judges run."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

VECTORS = Path(__file__).parent / "data" / "cost_vectors_public.json"
CONTENT = json.loads(VECTORS.read_text())


@pytest.fixture(scope="module")
def results() -> dict[str, dict[str, Any]]:
    output = StringIO()
    call_command("rate", str(VECTORS), stdout=output)
    return {result["id"]: result for result in map(json.loads, output.getvalue().splitlines())}


def test_it_works(results: dict[str, dict[str, Any]]) -> None:
    assert len(results) == len(CONTENT["provider_vectors"]) + len(CONTENT["tenant_vectors"])


@pytest.mark.parametrize("vector", CONTENT["provider_vectors"], ids=lambda vector: vector["id"])
def test_it_rates_what_providers_bill(vector: dict[str, Any], results: dict[str, dict[str, Any]]) -> None:
    expected = {name: value for name, value in vector["expected"].items() if name != "formula"}
    result = results[vector["id"]]
    assert {name: result.get(name) for name in expected} == expected
    if "wrong_answer_usd" in vector:
        assert result.get("cost_usd") != vector["wrong_answer_usd"]


@pytest.mark.parametrize("vector", CONTENT["tenant_vectors"], ids=lambda vector: vector["id"])
def test_it_rates_what_tenants_pay(vector: dict[str, Any], results: dict[str, dict[str, Any]]) -> None:
    assert {name: results[vector["id"]].get(name) for name in vector["expected"]} == vector["expected"]


def test_it_names_the_error_of_a_vector_it_cannot_rate(tmp_path: Path) -> None:
    base = CONTENT["provider_vectors"][0]
    bad = [
        {
            **base,
            "id": "no-audio-price",
            "usage": {"prompt_tokens": 10, "prompt_tokens_details": {"audio_tokens": 4}},
        },
        {**base, "id": "no-prices", "price_row": {}},
        {**base, "id": "no-usage", "usage": None},
        {"id": "no-api"},
    ]
    file = tmp_path / "bad.json"
    file.write_text(json.dumps({"provider_vectors": bad, "tenant_vectors": [{"id": "odd", "kind": "odd"}]}))
    output = StringIO()
    call_command("rate", str(file), stdout=output)
    errors = {told["id"]: told["error"] for told in map(json.loads, output.getvalue().splitlines())}
    assert errors == {
        "no-audio-price": "UnpricedMeter",
        "no-prices": "ModelUnpriced",
        "no-usage": "InvalidUsage",
        "no-api": "InvalidVector",
        "odd": "InvalidVector",
    }


def test_it_refuses_a_file_that_is_none() -> None:
    with pytest.raises(CommandError):
        call_command("rate", "/nowhere.json")
