"""Claude Code behind us notices nothing: its real loop, from npm."""

import json
from collections.abc import Callable
from datetime import UTC, datetime

from tests.agents.agents import claude
from tests.agents.conftest import CLAUDE_MODEL, GPT_MODEL, TIGHT_MODEL, Desk
from tests.agents.model import COMMAND, LONG, LONG_WORDS

SOON = 30  # seconds; with its own retries it takes minutes


def test_it_works(desk: Callable[..., Desk]) -> None:
    """The tool loop with thinking, streamed: the shell really runs, and the books have it by person and session."""
    sat = desk()
    ran = claude("Make the file.", **sat.options(model=CLAUDE_MODEL))
    assert (sat.folder / "made.txt").read_text() == "made-by-the-model\n"
    assert "The shell said" in ran.output
    first, second = sat.asked("/messages")
    assert first["body"]["stream"]
    assert first["body"]["max_tokens"] == 32_000
    assert first["body"]["thinking"]["type"] == "enabled"
    assert {"claude-code-20250219", "interleaved-thinking-2025-05-14"} <= set(
        first["headers"]["anthropic-beta"].split(",")
    )
    assert first["headers"]["anthropic-version"] == "2023-06-01"
    thought, used = second["body"]["messages"][-2]["content"][:2]
    assert (thought["type"], thought["signature"]) == ("thinking", "c2lnbmVk")
    assert used["input"]["command"] == COMMAND
    logs = sat.logs()
    assert [log.status for log in logs] == [200, 200]
    told = json.loads(first["body"]["metadata"]["user_id"])
    assert {(log.user, log.session) for log in logs} == {(told["device_id"], told["session_id"])}
    assert [attempt.state for attempt in sat.attempts()] == ["captured", "captured"]


def test_an_answer_longer_than_any_default_arrives_whole(desk: Callable[..., Desk]) -> None:
    sat = desk()
    ran = claude(LONG, **sat.options(model=CLAUDE_MODEL))
    assert ran.output.count("word") >= LONG_WORDS
    (row,) = sat.books.rows(sat.member.id)
    assert row.output_tokens > 4_096


def test_it_resumes_and_compacts(desk: Callable[..., Desk]) -> None:
    sat = desk()
    claude("Make the file.", **sat.options(model=CLAUDE_MODEL))
    claude("Make it again.", "--continue", **sat.options(model=CLAUDE_MODEL))
    bodies = [one["body"] for one in sat.asked("/messages")]
    assert len(bodies[2]["messages"]) > len(bodies[1]["messages"])
    assert "Make the file." in json.dumps(bodies[2]["messages"])
    asked = len(sat.asked("/messages"))
    claude("/compact", "--continue", **sat.options(model=CLAUDE_MODEL))
    assert len(sat.asked("/messages")) > asked
    asked = len(sat.asked("/messages"))
    claude("And once more.", "--continue", **sat.options(model=CLAUDE_MODEL))
    compacted = sat.asked("/messages")[asked]["body"]["messages"]
    assert len(compacted) < len(bodies[2]["messages"])
    assert "continued from a previous conversation" in json.dumps(compacted)
    assert {log.status for log in sat.logs()} == {200}
    assert len({log.user for log in sat.logs()}) == 1


def test_it_counts_tokens_here(desk: Callable[..., Desk]) -> None:
    sat = desk()
    ran = claude("/context", **sat.options(model=CLAUDE_MODEL))
    assert "Built-in" in ran.output
    assert sat.asked() == []  # what is counted here costs nothing there


def test_a_wrong_key_is_told_at_once(desk: Callable[..., Desk]) -> None:
    from llm.models import RequestLog

    sat, began = desk(), datetime.now(UTC)
    ran = claude("Hi", **sat.options(model=CLAUDE_MODEL, key="sk-wrong"))
    assert "The API key is not valid" in ran.output
    assert ran.seconds < SOON
    refused = RequestLog.objects.filter(error_code="invalid_api_key", at__gte=began)
    assert refused.count() <= 1  # a flood of refusals leaves fewer rows, never more


def test_a_spent_budget_and_an_unknown_model_are_told_at_once(desk: Callable[..., Desk]) -> None:
    sat = desk(
        budgets=[{"scope": "tenant", "unit": "tokens", "period": "day", "limit": "10", "mode": "hard"}]
    )
    ran = claude("Hi", **sat.options(model=CLAUDE_MODEL))
    assert "tenant budget of 10 tokens per day" in ran.output
    assert ran.seconds < SOON
    assert [log.status for log in sat.logs()] == [429]
    ran = claude("Hi", **sat.options(model="claude-opus-9-9"))
    assert "claude-opus-9-9" in ran.output
    assert ran.seconds < SOON
    assert sat.asked() == []


def test_a_prompt_too_long_is_known_for_what_it_is(desk: Callable[..., Desk]) -> None:
    sat = desk()
    ran = claude("Hi", **sat.options(model=TIGHT_MODEL))
    assert "prompt is too long" in ran.output.lower()
    assert ran.seconds < SOON
    assert sat.asked() == []


def test_it_works_on_an_openai_model(desk: Callable[..., Desk]) -> None:
    sat = desk()
    ran = claude("Make the file.", **sat.options(model=GPT_MODEL))
    assert (sat.folder / "made.txt").exists(), ran.output
    first, second = sat.asked("/chat/completions")
    assert first["body"]["tools"]
    assert first["body"]["user"]
    assert not {"anthropic-version", "anthropic-beta"} & first["headers"].keys()
    assert [turn["role"] for turn in second["body"]["messages"]][-1] == "tool"
    assert {log.status for log in sat.logs()} == {200}
