"""`manage.py batch`, as a script uses it: a real process against the running product."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.llm.batches.conftest import Desk, jsonl, question
from tests.stack import ROOT


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(jsonl([question(f"q-{number}", f"What is {number} plus one?") for number in range(3)]))
    return path


def start(desk: Desk, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
    known = {"PURSER_API_KEY": desk.member.key, "PURSER_URL": desk.world.stack.base_url}
    return subprocess.Popen(
        [sys.executable, "manage.py", "batch", *arguments],
        cwd=ROOT,
        env=os.environ | known | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(desk: Desk, *arguments: str, **environment: str) -> tuple[int, str, str]:
    process = start(desk, *arguments, **environment)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def test_it_works(desk: Desk, lines: Path, tmp_path: Path) -> None:
    answers = tmp_path / "answers.jsonl"
    code, out, err = run(desk, "submit", str(lines), "--wait", "--output", str(answers))
    assert code == 0, err
    batch_id, saved = out.splitlines()
    assert batch_id.startswith("batch_")
    assert saved == str(answers)
    assert {json.loads(line)["custom_id"] for line in answers.read_text().splitlines()} == {
        "q-0",
        "q-1",
        "q-2",
    }
    assert "completed: 3 of 3 lines are over" in err
    code, out, _ = run(desk, "list", "--limit", "5")
    assert (code, batch_id in out, "3 of 3 answered" in out) == (0, True, True)
    code, out, _ = run(desk, "status", batch_id)
    assert (code, json.loads(out)["status"]) == (0, "completed")
    again = tmp_path / "again.jsonl"
    assert run(desk, "download", batch_id, "--output", str(again))[0] == 0
    assert again.read_bytes() == answers.read_bytes()


def test_a_batch_that_was_refused_has_a_code_of_its_own_and_says_why(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(jsonl([question("a", "Hello?", model="no-such-model")]))
    code, out, err = run(desk, "submit", str(path), "--wait")
    assert code in {1, 4}, (out, err)
    assert "no-such-model" in err


def test_interrupted_it_leaves_the_batch_going_and_says_how_to_go_on(
    desk_for: Callable[..., Desk], lines: Path
) -> None:
    desk = desk_for()
    process = start(desk, "submit", str(lines), "--wait", "--timeout", "60")
    assert process.stdout is not None
    batch_id = process.stdout.readline().strip()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    if process.returncode == 0:  # it was over before it was interrupted
        return
    assert process.returncode == 130
    assert f"manage.py batch status {batch_id} --wait" in err
    code, _, err = run(desk, "status", batch_id, "--wait")
    assert code == 0, err
    assert desk.wait(batch_id).status == "completed"


def test_a_batch_is_cancelled(desk: Desk, lines: Path) -> None:
    code, out, _ = run(desk, "submit", str(lines))
    assert code == 0
    code, out, err = run(desk, "cancel", out.strip())
    assert (code, out.strip()) in {(0, "cancelling"), (0, "cancelled"), (1, "")}, err
    if code:  # it was over by then
        assert "cannot be cancelled" in err


def test_time_that_is_up_has_a_code_of_its_own(desk: Desk, lines: Path) -> None:
    code, _, err = run(desk, "submit", str(lines), "--wait", "--timeout", "0")
    assert code == 5
    assert "goes on without you" in err


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        (("submit", "/no/such/file"), {}, "cannot be read"),
        (("list",), {"PURSER_API_KEY": "psr-wrong"}, "key"),
        (("status", "batch_of_nobody"), {}, "There is no batch 'batch_of_nobody'."),
        (("list",), {"PURSER_URL": "http://127.0.0.1:9"}, "does not answer"),
    ],
)
def test_what_is_refused_has_the_code_1(
    desk: Desk, arguments: tuple[str, ...], environment: dict[str, Any], words: str
) -> None:
    code, out, err = run(desk, *arguments, **environment)
    assert (code, out) == (1, "")
    assert words in err
    assert "Traceback" not in err


def test_a_wrong_argument_has_the_code_2(desk: Desk) -> None:
    assert run(desk, "destroy")[0] == 2
