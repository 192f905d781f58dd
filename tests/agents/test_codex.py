"""Codex behind us notices nothing: its real loop, from npm."""

import json
from collections.abc import Callable

from billing.models import BudgetWindow, RunEnvelope
from billing.runs import trees
from tests.agents.agents import codex
from tests.agents.conftest import CLAUDE_MODEL, GPT_MODEL, Desk
from tests.agents.model import DELEGATE, LONG, LONG_WORDS

SOON = 30  # seconds
NO_CACHE = {"exact": False, "semantic": "off"}


def test_it_works(desk: Callable[..., Desk]) -> None:
    """The tool loop: the shell really runs; the next session goes on where the first one ended."""
    sat = desk()
    ran = codex("Make the file.", **sat.options(model=GPT_MODEL))
    assert (sat.folder / "made.txt").read_text() == "made-by-the-model\n"
    assert "The shell said" in ran.output
    first, second = sat.asked("/responses")
    assert first["body"]["include"] == ["reasoning.encrypted_content"]
    assert first["body"]["max_output_tokens"] > 4_096
    assert second["body"]["input"][-1]["type"] == "function_call_output"
    codex("Make it again.", "resume", "--last", **sat.options(model=GPT_MODEL))
    assert "Make the file." in json.dumps(sat.asked("/responses")[2]["body"]["input"])
    logs = sat.logs()
    assert {log.status for log in logs} == {200}
    assert len({log.session for log in logs} - {""}) == 1
    assert logs[0].receipt["agent"]["client"] == "codex_exec"
    assert {attempt.state for attempt in sat.attempts()} == {"captured"}


def test_a_sub_agent_of_it_is_in_its_tree_and_draws_from_its_envelope(desk: Callable[..., Desk]) -> None:
    """It starts one and waits for it; what it sends of parent and kind is what the tree is made of."""
    sat = desk(policy={"cache": NO_CACHE, "envelopes": {"opens": "session", "usd": 50}})
    ran = codex(DELEGATE, **sat.options(model=GPT_MODEL))
    assert "The agent has made the file." in ran.output, ran.output[-2000:]
    assert (sat.folder / "made.txt").exists()
    sat.attempts()
    rows = sat.books.rows(sat.member.id)
    (session,) = {row.session for row in rows}
    tree = trees.read_tree(sat.member.id, session, by="session")
    assert tree is not None
    (root,) = tree.roots
    (agent,) = root.agents
    assert (agent.kind, agent.claimed_parent, agent.agents) == ("collab_spawn", "", [])
    assert agent.own.requests == 2  # the shell, and what came of it
    assert root.own.requests == len(rows) - 2
    assert tree.total.billed_cost == root.whole.billed_cost == sum(row.billed_cost for row in rows)
    envelope = RunEnvelope.objects.get(tenant=sat.member.id)
    assert envelope.run == session
    assert BudgetWindow.objects.get(budget=envelope.budget).spent == tree.total.billed_cost


def test_its_built_in_provider_goes_on_without_a_websocket_at_once(desk: Callable[..., Desk]) -> None:
    sat = desk()
    ran = codex("Make the file.", is_built_in=True, **sat.options(model=GPT_MODEL))
    assert "The shell said" in ran.output
    assert "Reconnecting" not in ran.output
    assert {log.status for log in sat.logs()} == {200}


def test_an_answer_longer_than_any_default_arrives_whole(desk: Callable[..., Desk]) -> None:
    sat = desk()
    ran = codex(LONG, **sat.options(model=GPT_MODEL))
    assert ran.output.count("word ") >= LONG_WORDS
    (row,) = sat.books.rows(sat.member.id)
    assert row.output_tokens > 4_096


def test_a_wrong_key_is_told_at_once(desk: Callable[..., Desk]) -> None:
    sat = desk()
    for is_built_in in (False, True):
        ran = codex("Hi", is_built_in=is_built_in, **sat.options(model=GPT_MODEL, key="sk-wrong"))
        assert "401" in ran.output
        assert ran.seconds < SOON
    assert sat.asked() == []


def test_a_spent_budget_is_told_at_once(desk: Callable[..., Desk]) -> None:
    sat = desk(
        budgets=[{"scope": "tenant", "unit": "tokens", "period": "day", "limit": "10", "mode": "hard"}]
    )
    ran = codex("Hi", **sat.options(model=GPT_MODEL))
    assert "Quota exceeded" in ran.output  # its own words for it
    assert ran.seconds < SOON
    assert [log.status for log in sat.logs()] == [429]


def test_it_works_on_an_anthropic_model(desk: Callable[..., Desk]) -> None:
    sat = desk()
    ran = codex("Make the file.", **sat.options(model=CLAUDE_MODEL))
    assert (sat.folder / "made.txt").exists(), ran.output
    first, second = sat.asked("/messages")
    assert {"exec_command", "spawn_agent"} <= {tool["name"] for tool in first["body"]["tools"]}
    assert second["body"]["messages"][-1]["content"][0]["type"] == "tool_result"
    logs = sat.logs()
    assert {log.status for log in logs} == {200}
    held = next(step for step in logs[0].receipt["steps"] if step["step"] == "hold")
    assert "client_metadata" in held["let_go"]
