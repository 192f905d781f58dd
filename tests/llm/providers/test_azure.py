"""Azure's deployments are asked as the official client asks them, whole and streamed: method, path, query, key."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import openai
import orjson
import pytest
import pytest_asyncio
from aiohttp import web

from llm.providers.client import call, open_stream
from llm.providers.kinds import KINDS
from llm.providers.outgoing import Outgoing
from llm.providers.target import Target
from llm.steps.relay import Relay
from llm.wire import WIRE_FORMATS, prepare

VERSION = "2024-10-21"
ASK = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5}
USAGE = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
FILTERS = {"hate": {"filtered": False, "severity": "safe"}}


@dataclass
class Recorder:
    """A server that answers as Azure does, and writes down how it was asked."""

    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        body = orjson.loads(await request.read())
        self.asked.append(
            {
                "method": request.method,
                "path": request.path,
                "query": request.query_string,
                "key": request.headers.get("api-key"),
                "authorization": request.headers.get("authorization"),
                "body": body,
            }
        )
        if request.path.endswith("/embeddings"):
            data = [{"object": "embedding", "index": 0, "embedding": [0.5, 0.5]}]
            usage = {"prompt_tokens": 3, "total_tokens": 3}
            return web.json_response({"object": "list", "data": data, "model": "m", "usage": usage})
        if body.get("stream"):
            return web.Response(
                body=b"".join(map(_event, CHUNKS)) + b"data: [DONE]\n\n", content_type="text/event-stream"
            )
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello"},
            "finish_reason": "stop",
            "content_filter_results": FILTERS,
        }
        answer = {"id": "c1", "object": "chat.completion", "created": 1, "model": "gpt-4o-2024-08-06"}
        return web.json_response({**answer, "choices": [choice], "usage": USAGE, "prompt_filter_results": []})


def _chunk(**facts: Any) -> dict[str, Any]:
    return {
        "id": "c1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "gpt-4o-2024-08-06",
        **facts,
    }


# it begins with what its filters say of the prompt, without a choice
CHUNKS = [
    {
        "choices": [],
        "created": 0,
        "id": "",
        "model": "",
        "object": "",
        "prompt_filter_results": [{"prompt_index": 0}],
    },
    _chunk(choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]),
    _chunk(
        choices=[
            {
                "index": 0,
                "delta": {"content": "Hello"},
                "finish_reason": None,
                "content_filter_results": FILTERS,
            }
        ]
    ),
    _chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}]),
    _chunk(choices=[], usage=USAGE),
]


def _event(payload: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(payload) + b"\n\n"


@pytest_asyncio.fixture
async def azure() -> AsyncIterator[Recorder]:
    recorder = Recorder()
    application = web.Application()
    application.router.add_post("/{path:.*}", recorder.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    recorder.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield recorder
    await runner.cleanup()


def target(azure: Recorder, deployment: str, base_url: str = "") -> Target:
    return Target(
        model="ours",
        provider="azure-eu",
        kind=KINDS["azure"],
        base_url=base_url or azure.url,
        api_key="azure-key",
        upstream=deployment,
        options={"api_version": VERSION},
    )


async def ask(azure: Recorder, deployment: str, api: str, body: dict[str, Any]) -> Any:
    wire, to = WIRE_FORMATS[api], target(azure, deployment)
    exchange = prepare(
        wire, {"model": "ours", **body}, kind=to.kind, upstream_model=deployment, max_output_tokens=None
    )
    if not body.get("stream"):
        return (await call(to, Outgoing(exchange.payload()), wire=exchange.upstream)).body
    relay = Relay(exchange, wants_usage=False)
    async for _ in relay.run(await open_stream(to, Outgoing(exchange.payload()), wire=exchange.upstream)):
        pass
    return relay.answer()


@pytest.mark.parametrize("deployment", ["gpt-4o", "my deployment/ä"])
@pytest.mark.parametrize(
    ("api", "body"),
    [
        ("openai_chat", ASK),
        ("openai_chat", {**ASK, "stream": True, "stream_options": {"include_usage": True}}),
        ("openai_completions", {"prompt": "Hi", "max_tokens": 5}),
        ("openai_embeddings", {"input": ["Hi"]}),
    ],
    ids=["whole", "streamed", "completions", "embeddings"],
)
async def test_it_is_asked_as_by_the_official_client(
    azure: Recorder, http: aiohttp.ClientSession, api: str, body: dict[str, Any], deployment: str
) -> None:
    async with openai.AsyncAzureOpenAI(
        azure_endpoint=azure.url, api_key="azure-key", api_version=VERSION, max_retries=0
    ) as client:
        resources = {
            "openai_chat": client.chat.completions,
            "openai_completions": client.completions,
            "openai_embeddings": client.embeddings,
        }
        official = await resources[api].create(model=deployment, **body)
        if body.get("stream"):
            async for _ in official:
                pass
    await ask(azure, deployment, api, body)
    theirs, ours = azure.asked
    theirs["body"].pop("encoding_format", None)  # the client asks for base64 and decodes it
    assert ours == theirs
    assert (ours["method"], ours["query"], ours["key"], ours["authorization"]) == (
        "POST",
        f"api-version={VERSION}",
        "azure-key",
        None,
    )


@pytest.mark.parametrize("ending", ["", "/", "/openai", "/openai/"])
def test_an_endpoint_may_end_in_openai(azure: Recorder, ending: str) -> None:
    url = target(azure, "gpt-4o", base_url=f"{azure.url}{ending}").url("/chat/completions")
    assert url == f"{azure.url}/openai/deployments/gpt-4o/chat/completions?api-version={VERSION}"


async def test_a_stream_that_begins_with_its_filters_is_whole(
    azure: Recorder, http: aiohttp.ClientSession
) -> None:
    answer = await ask(azure, "gpt-4o", "openai_chat", {**ASK, "stream": True})
    assert answer["choices"][0]["message"]["content"] == "Hello"
    assert answer["usage"] == USAGE


async def test_a_client_of_anthropics_api_is_translated(azure: Recorder, http: aiohttp.ClientSession) -> None:
    body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5}
    await ask(azure, "gpt-4o", "anthropic_messages", body)
    assert azure.asked[0]["path"] == "/openai/deployments/gpt-4o/chat/completions"
