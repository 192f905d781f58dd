"""Another tenant's object is a 404, whatever it is and however it is asked for."""

import json
from typing import Any

import anthropic
import openai
import pytest

from tests.api.conftest import ask, fresh_question, turns
from tests.books import Books, eventually
from tests.world import World


def line(custom_id: str) -> dict[str, Any]:
    return {
        "custom_id": custom_id,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "gpt-4o-mini", "max_tokens": 20, "messages": turns(fresh_question())},
    }


def refused(world: World, method: str, path: str, body: Any = None) -> bool:
    """Whether the outsider gets a 404 in our envelope, and nothing else."""
    status, answer = world.request(method, path, body, member=world.outsider)
    assert (status, answer["error"]["code"]) == (404, "not_found"), (method, path, answer)
    return True


def test_it_works(world: World, books: Books) -> None:
    request_id = ask(world.openai()).headers["x-request-id"]
    path = f"/v1/requests/{request_id}"
    _, receipt = eventually(lambda: world.get(path), until=lambda answer: answer[0] == 200)
    assert receipt["request_id"] == request_id
    assert refused(world, "GET", path)


def test_feedback_on_anothers_request(world: World, books: Books) -> None:
    request_id = ask(world.openai()).headers["x-request-id"]
    books.log(request_id)
    feedback = {"request_id": request_id, "rating": -1}
    assert refused(world, "POST", "/v1/feedback", feedback)
    status, answer = world.request("POST", "/v1/feedback", {**feedback, "reason": "too short"})
    assert (status, answer["rating"]) == (201, -1)
    status, answer = world.request("POST", "/v1/feedback", feedback)
    assert (status, answer["error"]["param"]) == (400, "request_id")


def test_files_and_batches(world: World) -> None:
    client, outsider = world.openai(), world.openai(world.outsider)
    uploaded = client.files.create(file=("lines.jsonl", json.dumps(line("a")).encode()), purpose="batch")
    batch = client.batches.create(
        input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    for path in (f"/v1/files/{uploaded.id}", f"/v1/files/{uploaded.id}/content", f"/v1/batches/{batch.id}"):
        assert refused(world, "GET", path)
    assert refused(world, "DELETE", f"/v1/files/{uploaded.id}")
    assert refused(world, "POST", f"/v1/batches/{batch.id}/cancel")
    with pytest.raises((openai.NotFoundError, openai.BadRequestError)):
        outsider.batches.create(
            input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
    assert list(outsider.files.list()) == []
    assert list(outsider.batches.list()) == []
    assert client.files.retrieve(uploaded.id).id == uploaded.id
    assert client.batches.cancel(batch.id).status in ("cancelling", "cancelled")


def test_message_batches(world: World) -> None:
    params = {"model": "claude-haiku-4-5", "max_tokens": 20, "messages": turns(fresh_question())}
    client, outsider = world.anthropic(), world.anthropic(world.outsider)
    batch = client.messages.batches.create(requests=[{"custom_id": "a", "params": params}])
    for call in (outsider.messages.batches.retrieve, outsider.messages.batches.cancel):
        with pytest.raises(anthropic.NotFoundError) as caught:
            call(batch.id)
        assert caught.value.response.json()["error"]["type"] == "not_found_error"
    assert list(outsider.messages.batches.list()) == []
    assert client.messages.batches.cancel(batch.id).id == batch.id


def test_figures_are_ones_own(world: World) -> None:
    ask(world.openai(), user="alice")
    status, usage = world.get("/v1/usage", world.outsider)
    assert (status, usage["data"], usage["total"]["requests"]) == (200, [], 0)
    status, usage = world.get("/v1/usage?group_by=user")
    assert [row["group"] for row in usage["data"]] == ["alice"]
