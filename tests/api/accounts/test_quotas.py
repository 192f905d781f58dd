"""A tenant cannot fill the house, nor escape its users' budgets by inventing names; lists have pages."""

from collections.abc import Callable
from urllib.parse import quote

import anthropic
import openai
import pytest
from django.utils.timezone import now

from llm.models import Batch
from tests.api.conftest import ask, turns
from tests.world import Member, World

FILE = ("a.txt", b"0123456789")


def test_files_are_counted_and_weighed(world: World, make_tenant: Callable[..., Member]) -> None:
    for quotas, said in (({"files": 2}, "2 files"), ({"file_bytes": 25}, "20 bytes of the 25")):
        client = world.openai(make_tenant(policy={"quotas": quotas}))
        kept = [client.files.create(file=FILE, purpose="user_data") for _ in range(2)]
        with pytest.raises(openai.PermissionDeniedError, match=said) as refused:
            client.files.create(file=FILE, purpose="user_data")
        assert refused.value.code == "quota_exceeded"
        assert refused.value.response.headers["x-should-retry"] == "false"
        client.files.delete(kept[0].id)
        client.files.create(file=FILE, purpose="user_data")


def test_open_batches_are_counted_in_both_apis(world: World, make_tenant: Callable[..., Member]) -> None:
    member = make_tenant(policy={"quotas": {"open_batches": 1, "files": 3}})
    client, claude = world.openai(member), world.anthropic(member)
    params = {"model": "claude-haiku-4-5", "max_tokens": 9, "messages": turns("What is 1 plus 1?")}
    uploaded = client.files.create(file=("a.jsonl", b"{}"), purpose="batch")

    def begin() -> None:
        client.batches.create(
            input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h"
        )

    begun = claude.messages.batches.create(requests=[{"custom_id": "a", "params": params}])
    for _ in range(2):  # what is refused leaves no file behind
        with pytest.raises(anthropic.PermissionDeniedError, match="1 batches that have not ended") as told:
            claude.messages.batches.create(requests=[{"custom_id": "a", "params": params}])
        assert told.value.body["type"] == "error"
        assert told.value.response.headers["x-should-retry"] == "false"
        with pytest.raises(openai.PermissionDeniedError, match="1 batches that have not ended") as refused:
            begin()
        assert refused.value.code == "quota_exceeded"
        assert refused.value.response.headers["x-should-retry"] == "false"
    Batch.objects.filter(public_id=begun.id).update(status="completed", completed_at=now())
    begin()


def test_only_known_users_are_served(world: World, make_tenant: Callable[..., Member]) -> None:
    client = world.openai(make_tenant(policy={"users": {"unknown": "refuse"}}))
    ask(client, user="bob")
    with pytest.raises(openai.PermissionDeniedError) as refused:
        ask(client, user="mallory")
    assert refused.value.code == "user_not_allowed"


def test_a_call_names_its_user_where_users_have_budgets(
    world: World, make_tenant: Callable[..., Member]
) -> None:
    budgets = [{"scope": "user", "unit": "usd", "period": "day", "limit": "5"}]
    client = world.openai(make_tenant(policy={"users": {"missing": "refuse"}}, budgets=budgets))
    ask(client, user="whoever")
    with pytest.raises(openai.BadRequestError) as refused:
        ask(client)
    assert (refused.value.code, refused.value.param) == ("invalid_request", "user")


@pytest.mark.parametrize("path", ["/v1/files", "/v1/batches", "/v1/chat/completions", "/v1/messages/batches"])
def test_a_page_has_a_limit(world: World, path: str) -> None:
    assert world.get(f"{path}?limit={'0' * 40}2", world.outsider)[0] == 200
    for limit in ("0000000009999999999999", "0" * 9 + "9" * 20, "9" * 5000, "-1", "1e2", "٣", "²", ""):
        status, told = world.get(f"{path}?limit={quote(limit)}", world.outsider)
        assert (status, told["error"]["type"]) == (400, "invalid_request_error"), limit
