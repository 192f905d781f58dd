"""Every method that the official SDKs have for files and batches, one after another, as their users call them."""

import io

import anthropic
import openai
import pytest

from tests.llm.batches.conftest import CHAT, OVER, jsonl, question
from tests.llm.batches.test_message_batches import request, wait
from tests.world import World


def test_it_works(world: World, desk):
    client = world.openai()
    content = jsonl(question(str(number), f"What is {number} plus 1?") for number in range(3))
    uploaded = client.files.create(file=io.BytesIO(content), purpose="batch")
    assert client.files.wait_for_processing(uploaded.id).status == "processed"
    assert client.files.retrieve(uploaded.id).bytes == len(content)
    assert client.files.content(uploaded.id).read() == content
    order = client.batches.create(
        input_file_id=uploaded.id, endpoint=CHAT, completion_window="24h", metadata={"night": "1"}
    )
    assert order.status in {"validating", "in_progress"}
    batch = desk.wait(order.id)
    assert (batch.status, batch.request_counts.completed) == ("completed", 3)
    with client.files.with_streaming_response.content(batch.output_file_id) as response:
        rows = list(response.iter_lines())
        assert int(response.headers["content-length"]) == client.files.retrieve(batch.output_file_id).bytes
    assert len(rows) == 3
    assert client.files.delete(uploaded.id).deleted
    assert client.files.delete(batch.output_file_id).deleted
    assert list(client.files.list()) == []
    assert client.batches.retrieve(order.id).metadata == {"night": "1"}


def test_pages_of_batches_and_files_are_turned_by_the_sdk(world: World, desk):
    client = world.openai()
    files = [client.files.create(file=("l", jsonl([question("a", "Hi")])), purpose="batch") for _ in range(3)]
    orders = [
        client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h") for file in files
    ]
    for order in orders:
        client.batches.cancel(order.id)
        assert desk.wait(order.id).status in OVER
    assert [one.id for one in client.batches.list(limit=1)] == [order.id for order in reversed(orders)]
    page = client.batches.list(limit=2)
    assert (page.has_more, page.last_id) == (True, orders[1].id)
    assert [one.id for one in client.batches.list(after=orders[1].id)] == [orders[0].id]
    listed = client.files.list(limit=2, purpose="batch")
    assert [one.id for one in listed] == [file.id for file in reversed(files)]


async def test_the_asynchronous_client_streams_both_ways(world: World):
    client = world.async_openai()
    content = jsonl(question(str(number), "Hi " * 2_000) for number in range(200))
    uploaded = await client.files.create(file=("lines.jsonl", content), purpose="batch")
    async with client.files.with_streaming_response.content(uploaded.id) as response:
        read = b"".join([piece async for piece in response.iter_bytes(64 * 1024)])
    assert read == content
    await client.files.delete(uploaded.id)
    with pytest.raises(openai.NotFoundError):
        await client.files.retrieve(uploaded.id)


def test_anthropics_methods(world: World, celery):
    client = world.anthropic()
    orders = [
        client.messages.batches.create(
            requests=[request(str(number), f"What is {number} plus 1?") for number in range(150)]
        ),
        client.messages.batches.create(requests=[request("a", "What is 1 plus 1?")]),
    ]
    client.messages.batches.cancel(orders[1].id)
    ended = [wait(client, order.id) for order in orders]
    assert ended[0].request_counts.succeeded == 150
    assert [one.id for one in client.messages.batches.list(limit=1)] == [orders[1].id, orders[0].id]
    newer = client.messages.batches.list(before_id=orders[0].id)
    assert [one.id for one in newer.data] == [orders[1].id]
    results = [entry.custom_id for entry in client.messages.batches.results(orders[0].id)]
    assert results == [str(number) for number in range(150)]
    for order in orders:
        assert client.messages.batches.delete(order.id).type == "message_batch_deleted"
    assert list(client.messages.batches.list()) == []


@pytest.mark.parametrize(
    ("requests", "words"),
    [
        ([], "requests"),
        ([request("a", "x"), request("a", "y")], "requests.1.custom_id"),
        ([request("a", "x"), {"custom_id": "b"}], "requests.1.params"),
        ([request("a", "x"), request("b", "y", stream=True)], "requests.1.stream"),
        ([request("a", "x"), request("b", "word " * 400_000)], "requests.1.messages: prompt is too long"),
    ],
)
def test_a_wrong_request_is_refused_by_its_index_and_leaves_nothing(world: World, requests, words):
    client = world.anthropic()
    with pytest.raises(anthropic.BadRequestError) as caught:
        client.messages.batches.create(requests=requests)
    assert words in caught.value.body["error"]["message"]
    assert list(client.messages.batches.list()) == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        b'{"requests": [',
        b'{"requests": {"0": {}}}',
        b'{"requests": ["a"]}',
        b'{"requests": [{"custom_id": "a", "params": ' + b"[" * 50_000 + b"]" * 50_000 + b"}]}",
        b'{"requests": [{"custom_id": "a", "params": [' + b"1," * 300_000 + b"1]}]}",
        b'{"requests": [{"custom_id": "a", "params": "' + b"x" * 11_000_000 + b'"}]}',
        b'{"requests": [{"custom_id": "\\ud800", "params": {}}]}',
        b'{"requests": [{"custom_id": "a", "params": {"n": 1' + b"0" * 400 + b"}}]}",
    ],
)
def test_no_body_makes_it_fail(world: World, body):
    import urllib.error
    import urllib.request

    asked = urllib.request.Request(
        f"{world.stack.base_url}/v1/messages/batches",
        data=body,
        headers={"x-api-key": world.acme.key, "content-type": "application/json"},
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(asked, timeout=60)
    assert caught.value.code == 400
