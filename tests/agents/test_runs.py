"""The real agents in an envelope: they run into it, hear of it early, are let on, and go on; and what our documentation tells
people to paste works."""

import json
import os
import re
import subprocess
from base64 import urlsafe_b64encode
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

from billing.models import Attempt, RunEnvelope
from billing.runs import trees
from billing.runs.envelopes import raise_run
from tests.agents.agents import claude, codex
from tests.agents.conftest import CLAUDE_MODEL, GPT_MODEL, Desk
from tests.books import eventually

DOCUMENT = Path(__file__).parents[2] / "docs" / "coding-agents.md"
SOON = 30  # seconds
NO_CACHE = {"exact": False, "semantic": "off"}
TICKET = "x-purser-run: TICKET-12"


def policy(**envelopes: Any) -> dict[str, Any]:
    return {"cache": NO_CACHE, "envelopes": {"opens": "session", "usd": 100, "most_usd": 1000, **envelopes}}


def held_at_first(desk: Callable[..., Desk]) -> Decimal:
    """What the first call of a session holds."""
    sat = desk(policy=policy())
    claude("Make the file.", **sat.options(model=CLAUDE_MODEL))
    first = Attempt.objects.filter(tenant_id=sat.member.id).order_by("occurred_at").first()
    assert first is not None
    return first.hold_usd


def test_claude_runs_into_its_envelope_is_raised_and_goes_on(desk: Callable[..., Desk]) -> None:
    """Its first call fits, its second does not: after a raise the same run makes the rest of its way."""
    usd = float(round(held_at_first(desk) * Decimal("1.0005"), 6))
    sat = desk(policy=policy(usd=usd))
    named = {"ANTHROPIC_CUSTOM_HEADERS": TICKET}
    ran = claude("Make the file.", **sat.options(model=CLAUDE_MODEL), **named)
    envelope = RunEnvelope.objects.select_related("budget").get(tenant=sat.member.id)
    assert envelope.run == "TICKET-12"
    assert "envelope of run 'TICKET-12'" in ran.output
    assert f"/portal/runs/{envelope.pk}" in ran.output
    assert ran.seconds < SOON
    raise_run(envelope, extra_amount=Decimal(10), reason="go on", acting_user=None)
    ran = claude("Go on.", "--continue", **sat.options(model=CLAUDE_MODEL), **named)
    assert "API Error" not in ran.output
    logs = sat.logs()
    assert [log.status for log in logs if log.status != 200] == [429]
    assert {log.run for log in logs} == {"TICKET-12"}
    attempts = sat.attempts()
    tree = trees.read_tree(sat.member.id, "TICKET-12", by="run")
    assert tree is not None
    assert tree.total.billed_cost == sum(row.billed_cost for row in sat.books.rows(sat.member.id))
    assert tree.total.requests == len(attempts)


def test_claude_warns_of_an_envelope_that_runs_low(desk: Callable[..., Desk]) -> None:
    """It shows limits to whom it takes for a subscriber, or for a caller of a gateway: by the token's audience."""
    usd = float(round(held_at_first(desk) * Decimal("1.1"), 6))
    token = ".".join(
        encoded(part) for part in ({"alg": "none"}, {"aud": "claude-gateway", "n": uuid4().hex}, {})
    )
    sat = desk(policy=policy(usd=usd), key={"secret": token})
    ran = claude(
        "Hi",
        *("--output-format", "stream-json", "--verbose"),
        **sat.options(model=CLAUDE_MODEL),
        ANTHROPIC_API_KEY="",
        ANTHROPIC_AUTH_TOKEN=token,
    )
    told = [json.loads(line) for line in ran.output.splitlines() if line.startswith("{")]
    warnings = [one["rate_limit_info"] for one in told if one["type"] == "rate_limit_event"]
    assert warnings, ran.output[-3000:]
    assert (warnings[0]["status"], warnings[0]["rateLimitType"]) == ("allowed_warning", "overage")
    assert 0.75 <= warnings[0]["utilization"] <= 1


def encoded(part: dict[str, str]) -> str:
    """A part of a token, as JWTs have it."""
    return urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


def test_the_status_line_that_is_documented_says_what_is_left(desk: Callable[..., Desk]) -> None:
    sat = desk(policy=policy(usd=5))
    claude("Make the file.", **sat.options(model=CLAUDE_MODEL))
    session = eventually(sat.logs)[0].session
    settings = json.loads(block("json"))
    line = shell(
        settings["statusLine"]["command"],
        said=json.dumps({"session_id": session, "model": {"id": "x"}}),
        ANTHROPIC_API_KEY=sat.member.key,
        ANTHROPIC_BASE_URL=sat.url,
    )
    assert re.fullmatch(r"[0-9a-f]{8}….{4}: [45]\.\d\d of 5\.00 USD left\n", line)
    newest = shell(block("sh"), PURSER_KEY=sat.member.key, BASE=sat.url)
    assert newest == line


def test_repository_branch_and_ticket_come_as_tags(desk: Callable[..., Desk]) -> None:
    """The lines of the documentation, in a repository, around the real tools."""
    sat = desk(policy=policy())
    sat.folder.mkdir(parents=True)
    shell(f"git init -q -b feature/TICKET-77-a,b {sat.folder}")
    for_claude, for_codex = blocks("sh")[1], blocks("sh")[2]
    told = shell(
        f"{for_claude}\ncommand() {{ printf '%s' \"$ANTHROPIC_CUSTOM_HEADERS\"; }}\nclaude", folder=sat.folder
    )
    claude("Hi", **sat.options(model=CLAUDE_MODEL), ANTHROPIC_CUSTOM_HEADERS=told)
    variables = shell(
        f'{for_claude}\n{for_codex}\ncommand() {{ printf \'%s\\n%s\' "$purser_tags" "$purser_run"; }}\ncodex',
        folder=sat.folder,
    ).split("\n")
    codex(
        "Hi",
        **sat.options(model=GPT_MODEL),
        settings=block("toml"),
        purser_tags=variables[0],
        purser_run=variables[1],
    )
    logs = eventually(sat.logs, until=lambda logs: len({log.endpoint for log in logs}) == 2)
    tags = {"repo": "work", "branch": "feature/TICKET-77-a-b"}
    assert [log.receipt["tags"] for log in logs] == [tags] * len(logs)
    assert {log.run for log in logs} == {"TICKET-77"}
    outside = shell(f"{for_claude}\ncommand() {{ printf '%s' \"$ANTHROPIC_CUSTOM_HEADERS\"; }}\nclaude")
    assert outside == "x-purser-tags: repo=,branch=\nx-purser-run: "


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)


def block(language: str) -> str:
    return blocks(language)[0]


def shell(script: str, *, said: str = "", folder: Path = Path("/"), **variables: str) -> str:
    ran = subprocess.run(
        ["bash", "-c", script],
        input=said,
        cwd=folder,
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        timeout=SOON,
        check=True,
    )
    return ran.stdout
