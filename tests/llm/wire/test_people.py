"""A user is a person: what a tool puts into one field is told apart."""

import json
import time

import pytest

from llm.wire import format_for
from llm.wire.people import named_in

SESSION = "805e4da6-6f0c-4c39-9d0e-3c1f6f3f6d11"
ACCOUNT = "0b9f3c52-1d2e-4f4a-8b8e-6a52a2f2ad77"
DEVICE = "f784" * 16


@pytest.mark.parametrize(
    ("text", "person", "session"),
    [
        # Claude Code, signed in and with a key; and as it was before
        (json.dumps({"device_id": DEVICE, "account_uuid": ACCOUNT, "session_id": SESSION}), ACCOUNT, SESSION),
        (json.dumps({"device_id": DEVICE, "account_uuid": "", "session_id": SESSION}), DEVICE, SESSION),
        (f"user_{DEVICE}_account_{ACCOUNT}_session_{SESSION}", ACCOUNT, SESSION),
        (f"user_{DEVICE}_account__session_{SESSION}", DEVICE, SESSION),
        # others by the same idea
        (json.dumps({"userId": "alice", "sessionId": "s1"}), "alice", "s1"),
        (json.dumps({"user": {"id": "alice"}, "session": {"id": "s1"}}), "alice", "s1"),
        (
            json.dumps({"email": "a@example.com", "conversation_id": "c1", "trace_id": "t"}),
            "a@example.com",
            "c1",
        ),
        (json.dumps({"team": "red", "seat": 7, "run_id": "r1"}), "seat=7&team=red", "r1"),
        (json.dumps({"session_id": SESSION}), "", SESSION),
        (f"alice_session_{SESSION}", "alice", SESSION),
        (f"alice:session-{SESSION}", "alice", SESSION),
        (f"session={SESSION}&user=alice", "user=alice", SESSION),
        (f"bob/run/{SESSION}", "bob", SESSION),
        (f"session_{SESSION}", "", SESSION),
        # what names no session stands as it is
        ("alice", "alice", ""),
        ("alice_session", "alice_session", ""),
        ("nightly_run_20260101", "nightly_run_20260101", ""),
        (f"user_{DEVICE}", f"user_{DEVICE}", ""),
        (ACCOUNT, ACCOUNT, ""),
        ("Jürgen", "Jürgen", ""),
        ('{"half": ', '{"half":', ""),
        ("[1]", "[1]", ""),
        ("", "", ""),
    ],
)
def test_a_person_is_told_apart_from_a_session(text: str, person: str, session: str) -> None:
    found = named_in(text)
    assert (found.person, found.session) == (person, session)


def test_every_protocol_tells_them_apart() -> None:
    blob = json.dumps({"device_id": DEVICE, "account_uuid": "", "session_id": SESSION})
    turn = [{"role": "user", "content": "Hi"}]
    for api, body in (
        ("anthropic.messages", {"max_tokens": 5, "messages": turn, "metadata": {"user_id": blob}}),
        ("openai.chat", {"messages": turn, "user": blob}),
        ("openai.chat", {"messages": turn, "safety_identifier": blob}),
        ("openai.responses", {"input": "Hi", "user": blob}),
        ("openai.completions", {"prompt": "Hi", "user": blob}),
        ("openai.embeddings", {"input": "Hi", "user": blob}),
    ):
        facts = format_for(api).facts({"model": "m", **body})
        assert (facts.user, facts.session) == (DEVICE, SESSION), api


def test_a_long_id_is_cut_and_still_its_own() -> None:
    first, second = named_in("x" * 500 + "1"), named_in("x" * 500 + "2")
    assert len(first.person) == len(second.person) == 200
    assert first != second


@pytest.mark.parametrize("piece", ["session_", "-session", "session_a1234567", '{"a":', "_", "run-1"])
def test_hostile_text_costs_no_time(piece: str) -> None:
    began = time.perf_counter()
    named_in(piece * (16_000 // len(piece)))
    named_in(piece * 200_000)
    assert time.perf_counter() - began < 1
