"""The npm SDKs drive the running server: each case of the `*.test.mjs` files is a test here, its calls in the ledger.

`make npm-clients` installs them; where they or Node are missing these tests are skipped.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.books import Books
from tests.stack import Stack
from tests.world import Member, World

FOLDER = Path(__file__).resolve().parent
FILES = sorted(FOLDER.glob("*.test.mjs"))
CASES = [
    (file.name, name) for file in FILES for name in re.findall(r"^check\('(.+?)'", file.read_text(), re.M)
]
NODE = shutil.which("node")
PATIENCE_SECONDS = 300
COMPLETIONS = (
    "/v1/chat/completions",
    "/v1/messages",
    "/v1/responses",
    "/v1/completions",
    "/v1/embeddings",
)

pytestmark = [
    pytest.mark.skipif(NODE is None, reason="no Node.js on this machine: apt-get install nodejs npm"),
    pytest.mark.skipif(
        not (FOLDER / "node_modules" / ".installed").exists(),
        reason="the npm clients are not installed: make npm-clients",
    ),
]

Run = tuple[Member, dict[str, dict[str, Any]], str]


@pytest.fixture(scope="module")
def runs() -> dict[str, Run]:
    """What each file did so far: a file runs once, with a tenant of its own."""
    return {}


@pytest.fixture
def run(
    stack: Stack, runs: dict[str, Run], make_tenant: Callable[..., Member], tmp_path: Path
) -> Callable[[str], Run]:
    def once(file: str) -> Run:
        if file not in runs:
            stack.start_celery()
            member = make_tenant("node", policy={"cache": {"exact": True, "semantic": "off"}})
            runs[file] = (member, *drive(file, stack.base_url, member.key, tmp_path / "results.jsonl"))
        return runs[file]

    return once


def drive(file: str, url: str, key: str, results: Path) -> tuple[dict[str, dict[str, Any]], str]:
    """Run one file; what each case recorded by its name, and what Node printed."""
    results.touch()
    finished = subprocess.run(
        [str(NODE), "--test", file],
        cwd=FOLDER,
        env={
            **{name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ},
            **{"PURSER_URL": url, "PURSER_KEY": key, "PURSER_RESULTS": str(results)},
        },
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    recorded = [json.loads(line) for line in results.read_text().splitlines()]
    return {case["name"]: case for case in recorded}, finished.stdout + finished.stderr


@pytest.mark.parametrize(("file", "name"), CASES)
def test_a_case(file: str, name: str, run: Callable[[str], Run], world: World, books: Books) -> None:
    member, cases, printed = run(file)
    assert name in cases, printed[-4000:]
    case = cases[name]
    assert case["error"] is None, case["error"]
    assert case["calls"], "a case that calls nothing proves nothing"
    for call in case["calls"]:
        assert call["request_id"], call
        if call["status"] == 200 and call["method"] == "POST" and call["path"] in COMPLETIONS:
            check_books(books, world, member, call)


@pytest.mark.parametrize("file", [file.name for file in FILES])
def test_a_file_leaves_no_hold_behind(file: str, run: Callable[[str], Run], books: Books) -> None:
    member, cases, _ = run(file)
    assert len(cases) == sum(of == file for of, _ in CASES)
    assert {attempt.state for attempt in books.settled(member.id)} <= {"captured", "estimated", "voided"}
    books.check_windows(member.id)


def check_books(books: Books, world: World, member: Member, call: dict[str, Any]) -> None:
    """The call's receipt and its only ledger row agree on where it was made and what it cost."""
    books.log(call["request_id"])
    row = books.row(call["request_id"])
    assert (row.tenant_id, row.endpoint) == (member.id, call["path"])
    status, receipt = world.get(f"/v1/requests/{call['request_id']}", member)
    assert status == 200
    assert Decimal(receipt["result"]["cost_usd"]) == row.billed_cost
    if row.usage_source == "gateway_cache":
        assert row.billed_cost == 0
    else:
        assert row.billed_cost > 0
        assert row.input_tokens + row.cache_read_tokens + row.cache_write_tokens > 0
