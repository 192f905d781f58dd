"""Schemathesis reads our own reference and sends what nobody thought of: no 5xx, nothing that is not documented.

`make conformance` sends much more; `SCHEMATHESIS_EXAMPLES` and `SCHEMATHESIS_PHASES` are its figures.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.world import World

pytestmark = pytest.mark.slow

COMMAND = Path(sys.executable).with_name("schemathesis")
EXAMPLES = os.environ.get("SCHEMATHESIS_EXAMPLES", "3")
PHASES = os.environ.get("SCHEMATHESIS_PHASES", "examples,fuzzing,stateful")
# of an open body nobody can say from the schema alone whether the model's provider takes it
UNDECIDABLE = "negative_data_rejection,positive_data_acceptance"


def test_it_works(world: World, tmp_path: Path) -> None:
    ran = subprocess.run(
        [
            *(COMMAND, "run", f"{world.stack.base_url}/openapi.json"),
            *("--header", f"Authorization: Bearer {world.acme.key}", "--exclude-checks", UNDECIDABLE),
            *("--seed", "1", "--max-examples", EXAMPLES, "--phases", PHASES, "--generation-database", "none"),
            *("--continue-on-failure", "--no-shrink", "--no-color", "--warnings", "off"),
            *("--request-timeout", "60", "--suppress-health-check", "all"),
        ],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=tmp_path,
    )
    assert ran.returncode == 0, ran.stdout[-20_000:] + ran.stderr[-4000:]
    assert " 0 generated" not in ran.stdout
