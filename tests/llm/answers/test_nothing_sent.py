"""Between a hold and the first byte: whatever is raised there gives the hold back, because nothing was sent.

Each case stops a call on its way out by something that no provider did.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.books import Books
from tests.llm.answers.bodies import chat
from tests.llm.answers.conftest import Client
from tests.llm.answers.scripted import whole
from tests.world import Deployment, Member

PASSED_ON = {"openai-beta": "a\x01b"}
WRONG = {
    "no address": ({"base_url": "http://["}, {}),
    "a port that is none": ({"base_url": "http://127.0.0.1:99999/v1"}, {}),
    "a name that is too long": ({"base_url": f"http://{'a' * 70}.test/v1"}, {}),
    "another scheme": ({"base_url": "gopher://127.0.0.1/v1"}, {}),
    "a key over two lines": ({"api_key": "sk-sandbox\nx-more: 1"}, {}),
    "a key with half a character": ({"api_key": "sk-\ud83d"}, {}),
    "a header of the client's": ({}, {"passed_on": PASSED_ON}),
    "a value that is no JSON": ({}, {"extra": {"metadata": {"x": object()}}}),
    "a text with half a character": ({}, {"extra": {"metadata": {"x": "\ud83d"}}}),
    "a number that is too large": ({}, {"extra": {"seed": 1 << 70}}),
}


async def _call(member: Member, model: str, *, streamed: bool, extra: dict[str, Any], **facts: Any) -> Any:
    """A call in this process, as the pipeline has it before it is sent."""
    from llm.calls.own_calls import own_call
    from llm.catalog.loading import load_snapshot
    from llm.wire import format_for
    from tenants.principal import Principal
    from tenants.snapshots.store import SnapshotCache

    snapshot = await SnapshotCache(load_snapshot).get(member.id)
    [key] = snapshot.tenant.keys.values()
    principal = Principal(member.id, member.slug, key.id, key.name, key.public_id)
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 50,
        "stream": streamed,
    }
    call = own_call(
        state="miss",
        endpoint="/v1/chat/completions",
        wire=format_for("openai.chat"),
        body=body,
        principal=principal,
        snapshot=snapshot,
        **facts,
    )
    call.body = {**body, **extra}
    return call


def in_the_product(work: Callable[[], Awaitable[Any]]) -> Any:
    from config.resources import resources

    async def main() -> Any:
        async with resources():
            return await work()

    return asyncio.run(main())


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("case", WRONG)
def test_what_could_not_be_sent_owes_nothing(
    client: Client, books: Books, scripted: Callable[..., Deployment], case: str, streamed: bool
) -> None:
    deployment = scripted(whole(chat()))
    wrong, facts = WRONG[case]

    async def work() -> None:
        from llm.steps.attempts import first_success
        from tenants.errors import ClientError

        call = await _call(client.member, deployment.model, streamed=streamed, **{"extra": {}, **facts})
        target = replace(call.snapshot.catalog.targets[deployment.model], **wrong)
        catalog = replace(call.snapshot.catalog, targets={deployment.model: target})
        call.snapshot = replace(call.snapshot, catalog=catalog)
        with pytest.raises(ClientError):
            await first_success(call, [target])

    in_the_product(work)
    assert set(client.states()) == {"voided"}
    assert not books.rows(client.member.id)
    assert not client.asked(deployment)
    books.check_windows(client.member.id)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_call_that_is_called_off_before_it_is_sent_owes_nothing(
    client: Client, books: Books, scripted: Callable[..., Deployment], streamed: bool
) -> None:
    """It waits for a handshake that never ends."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        deployment = scripted(whole(chat()), base_url=f"https://127.0.0.1:{silent.getsockname()[1]}/v1")
        _call_off(client, deployment, streamed=streamed)
    assert client.states() == ["voided"]
    books.check_windows(client.member.id)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_call_that_is_called_off_after_it_was_sent_is_booked_at_its_bound(
    client: Client, books: Books, scripted: Callable[..., Deployment], streamed: bool
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        deployment = scripted(whole(chat()), base_url=f"http://127.0.0.1:{silent.getsockname()[1]}/v1")
        _call_off(client, deployment, streamed=streamed)
    assert client.states() == ["estimated"]
    (attempt,) = books.attempts(client.member.id)
    assert client.row().billed_cost == attempt.hold_usd
    books.check_windows(client.member.id)


def _call_off(client: Client, deployment: Deployment, *, streamed: bool) -> None:
    async def work() -> None:
        from llm.steps.attempts import first_success

        call = await _call(client.member, deployment.model, streamed=streamed, extra={})
        target = call.snapshot.catalog.targets[deployment.model]
        asking = asyncio.create_task(first_success(call, [target]))
        await asyncio.sleep(0.5)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    in_the_product(work)


def test_a_call_that_is_called_off_while_it_is_held_holds_nothing(
    client: Client, books: Books, scripted: Callable[..., Deployment]
) -> None:
    """It is cancelled at each of its first steps: wherever that is, nothing stays held."""
    deployment = scripted(whole(chat()), base_url="http://127.0.0.1:9/v1")

    async def work() -> None:
        from llm.steps.attempts import first_success

        for steps in range(12):
            call = await _call(client.member, deployment.model, streamed=False, extra={})
            target = call.snapshot.catalog.targets[deployment.model]
            asking = asyncio.create_task(first_success(call, [target]))
            for _ in range(steps):
                await asyncio.sleep(0)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    in_the_product(work)
    assert set(client.states()) <= {"voided"}
    books.check_windows(client.member.id)


@pytest.mark.parametrize("api", ["chat", "messages", "responses"])
def test_a_body_that_is_nested_too_deep_is_refused_before_anything_is_held(
    client: Client, books: Books, scripted: Callable[..., Deployment], api: str
) -> None:
    deployment = scripted(whole(chat()))
    for opening, closing in (('{"a":', "}"), ("[", "]")):
        body = client_body(deployment, api)[:-1] + b',"metadata":%b}' % deep(opening, closing, levels=260)
        refused = client.post({"chat": "/v1/chat/completions"}.get(api, f"/v1/{api}"), body)
        assert refused.status == 400, refused.raw
        assert b"nested" in refused.raw
    assert not books.attempts(client.member.id)
    shallow = client_body(deployment, "chat")[:-1] + b',"metadata":%b}' % deep('{"a":', "}", levels=200)
    assert client.post("/v1/chat/completions", shallow).status == 200


def client_body(deployment: Deployment, api: str) -> bytes:
    text = "input" if api == "responses" else "messages"
    said = '"Hi"' if api == "responses" else '[{"role":"user","content":"Hi"}]'
    return f'{{"model":"{deployment.model}","{text}":{said}}}'.encode()


def deep(opening: str, closing: str, *, levels: int) -> bytes:
    return (opening * levels + "1" + closing * levels).encode()
