"""`llm-comply` holds the running product's answers against the providers' own specifications.

Every protocol is asked of a model that speaks it, and of one whose answers are translated.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.world import World

COMMAND = Path(sys.executable).with_name("llm-comply")
LEAST_PASSED = {"openai-chat": 8, "anthropic": 8, "open-responses": 12}


@pytest.mark.parametrize("model", ["gpt-4o-mini", "claude-haiku-4-5"])
@pytest.mark.parametrize("protocol", LEAST_PASSED)
def test_it_works(world: World, protocol: str, model: str) -> None:
    arguments = ["--base-url", f"{world.stack.base_url}/v1", "--api-key", world.acme.key, "--model", model]
    ran = subprocess.run(
        [COMMAND, "run", *arguments, "--format", protocol, "--json"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    results = {result["id"]: result for result in json.loads(ran.stdout)["results"]}
    failed = {name: result["errors"] for name, result in results.items() if result["status"] == "failed"}
    assert failed == {}
    assert ran.returncode == 0, ran.stderr
    assert (
        len([name for name, result in results.items() if result["status"] == "passed"])
        >= LEAST_PASSED[protocol]
    )
