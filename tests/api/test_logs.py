"""What the web server logs: who and what and how much, and never a prompt, an answer or a secret."""

import json
from typing import Any

import openai
import pytest

from tests.api.conftest import ask, ask_claude
from tests.books import Books, eventually
from tests.world import World

PROMPT = "The patient named Wenceslas Quibble asks what turquoise marmalade means."
SYSTEM = "You are the confidential adviser of Ottoline Farthingale."


def log_of(world: World) -> str:
    """All that the web server has written."""
    web = next(process for process in world.stack.processes if process.name == "web")
    return web.log.read_text(errors="replace")


def lines_of(world: World, request_id: str) -> list[dict[str, Any]]:
    lines = [line for line in log_of(world).splitlines() if request_id in line]
    return [json.loads(line) for line in lines]


def test_it_works(world: World, books: Books, make_deployment) -> None:
    answer = ask(world.openai(), user="alice")
    request_id = answer.headers["x-request-id"]
    (line,) = eventually(lambda: lines_of(world, request_id))
    assert line["event"] == "call"
    assert line["tenant"] == world.acme.slug
    assert (line["model"], line["status"], line["cache"]) == ("gpt-4o-mini", 200, "miss")
    assert line["cost_usd"] == str(books.row(request_id).billed_cost)


def test_no_prompt_no_answer_and_no_secret_is_logged(world: World, make_deployment) -> None:
    deployment = make_deployment()
    client = world.openai()
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": PROMPT}]
    answers = [
        client.chat.completions.create(model=deployment.model, messages=messages).choices[0].message.content
    ]
    list(client.chat.completions.create(model=deployment.model, messages=messages, stream=True))
    ask_claude(world.anthropic(), PROMPT, system=SYSTEM)
    for fault in ("status:400", "status:401", "malformed", "disconnect"):
        world.fault(
            fault=fault,
            match={"key": deployment.account_key},
            times=3,
            message=f"Bad key {deployment.account_key}",
        )
        with pytest.raises(openai.APIStatusError):
            ask(client, PROMPT, model=deployment.model, extra_headers={"x-purser-cache": "off"})
        world.control("POST", "/reset", {"match": {"key": deployment.account_key}})
    last = ask(client)
    eventually(lambda: lines_of(world, last.headers["x-request-id"]))
    log = log_of(world)
    for secret in (PROMPT, "Quibble", "Farthingale", answers[0], world.acme.key, deployment.account_key):
        assert secret not in log, secret


def test_a_refusal_is_logged_with_its_code(world: World) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        ask(world.openai(), model="gpt-9")
    request_id = caught.value.response.headers["x-request-id"]
    (line,) = eventually(lambda: [line for line in lines_of(world, request_id) if line["event"] == "call"])
    assert (line["status"], line["code"], line["tenant"]) == (404, "model_not_found", world.acme.slug)


def test_nothing_of_a_prompt_is_in_the_receipt(world: World, books: Books) -> None:
    answer = ask(world.openai(), PROMPT)
    receipt = json.dumps(books.log(answer.headers["x-request-id"]).receipt)
    assert "Quibble" not in receipt
    assert world.acme.key not in receipt
