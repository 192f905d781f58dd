"""The `llm` command line, as a person uses it: configured by its own files, one process a command."""

import base64
import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.api.conftest import fresh_question
from tests.books import Books
from tests.clients.conftest import ASKS_FOR_WEATHER, CLAUDE, CLIENTS, GPT, MODELS, PIXEL, WEATHER, CheckBooks
from tests.world import World

PATIENCE_SECONDS = 120
TOOL = f"""
def get_weather(city: str) -> str:
    "The weather of a city."
    return {WEATHER!r}[city]
"""

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def llm(world: World, tmp_path: Path) -> Command:
    """`llm` with our models beside its own, and a key of acme's."""
    common = {
        "api_base": f"{world.stack.base_url}/v1",
        "api_key_name": "purser",
        "supports_tools": True,
        "supports_schema": True,
        "vision": True,
    }
    models = [{"model_id": f"purser-{model}", "model_name": model, **common} for model in MODELS]
    models += [{**model, "model_id": f"{model['model_id']}-responses", "responses": True} for model in models]
    (tmp_path / "extra-openai-models.yaml").write_text(json.dumps(models))  # JSON is YAML
    (tmp_path / "keys.json").write_text(json.dumps({"purser": world.acme.key}))

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [CLIENTS / "llm", *arguments],
            env={**os.environ, "LLM_USER_PATH": str(tmp_path), **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        )
        assert done.returncode == 0, done.stderr
        return done

    return run


@pytest.mark.parametrize(("model", "endpoint"), [(GPT, "/v1/chat/completions"), (CLAUDE, "/v1/responses")])
def test_it_works(
    world: World, llm: Command, books: Books, check_books: CheckBooks, model: str, endpoint: str
) -> None:
    """Streamed, as it does unless told otherwise; the tokens that it shows are those of the ledger."""
    name = f"purser-{model}" + ("-responses" if "responses" in endpoint else "")
    done = llm("-m", name, "--usage", fresh_question())
    assert done.stdout.strip()
    sent, received = re.search(r"([\d,]+) input, ([\d,]+) output", done.stderr).groups()
    (row,) = books.rows(world.acme.id)
    check_books(
        str(row.request_id),
        model=model,
        endpoint=endpoint,
        input_tokens=int(sent.replace(",", "")),
        output_tokens=int(received.replace(",", "")),
    )


def test_tools_run_and_the_conversation_goes_on(world: World, llm: Command, books: Books) -> None:
    told = llm("-m", f"purser-{CLAUDE}", "--functions", TOOL, ASKS_FOR_WEATHER).stdout
    assert all(weather in told for weather in WEATHER.values())
    assert llm("-c", "--no-stream", "Thank you. What is the capital of France?").stdout
    asked, with_results, went_on = (row.input_tokens for row in books.rows(world.acme.id))
    assert asked < with_results
    assert went_on > 100  # the tools did not go along, what was said before did


def test_a_schema_and_an_image(llm: Command, tmp_path: Path) -> None:
    image = tmp_path / "pixel.png"
    image.write_bytes(base64.b64decode(PIXEL))
    schema = ("--schema", "title, text")
    told = llm("-m", f"purser-{CLAUDE}", *schema, "-a", str(image), "What is in this image?").stdout
    assert json.loads(told).keys() == {"title", "text"}


def test_its_own_models_follow_the_environment(world: World, llm: Command, books: Books) -> None:
    """`OPENAI_BASE_URL` and a key are all that a person changes."""
    where = {"OPENAI_BASE_URL": f"{world.stack.base_url}/v1", "OPENAI_API_KEY": world.acme.key}
    assert llm("-m", GPT, fresh_question(), **where).stdout
    assert len(json.loads(llm("embed", "-m", "3-small", "-c", "one", **where).stdout)) == 1536
    assert [row.model for row in books.rows(world.acme.id)] == [GPT, "text-embedding-3-small"]
