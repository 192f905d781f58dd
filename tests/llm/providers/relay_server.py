"""The smallest gateway there can be: no keys, no money, only the wire. What the SDKs of the tests talk to.

Its models are named `<kind>/<upstream>`: any client protocol can be pointed at either kind of provider.
"""

from typing import Any

import orjson
from aiohttp import web

from llm.providers.client import call, open_stream
from llm.providers.kinds import KINDS
from llm.providers.outgoing import Outgoing
from llm.providers.passed_on import passed_on_headers
from llm.steps.relay import Relay
from llm.wire import WIRE_FORMATS, prepare
from tenants.errors import ClientError

BLOCK = {"cost_usd": "0.000001000000", "cache": "miss"}
PATHS = {
    "/v1/chat/completions": "openai_chat",
    "/v1/completions": "openai_completions",
    "/v1/responses": "openai_responses",
    "/v1/embeddings": "openai_embeddings",
    "/v1/messages": "anthropic_messages",
}


def build(sandbox: Any) -> web.Application:
    async def handle(request: web.Request) -> web.StreamResponse:
        wire = WIRE_FORMATS[PATHS[request.path]]
        body = orjson.loads(await request.read())
        try:
            facts = wire.facts(body)
            kind, _, upstream = facts.model.partition("/")
            target = sandbox.target(kind, upstream)
            limit = None if request.path == "/v1/embeddings" else facts.max_output_tokens or 300
            exchange = prepare(wire, body, kind=KINDS[kind], upstream_model=upstream, max_output_tokens=limit)
            headers = passed_on_headers(request.headers, api=wire.api)
            if not facts.stream:
                reply = await call(
                    target, Outgoing(exchange.payload()), wire=exchange.upstream, headers=headers
                )
                return web.Response(
                    body=exchange.answer_bytes(exchange.answer(reply.body), reply.raw, BLOCK),
                    content_type="application/json",
                )
            stream = await open_stream(
                target, Outgoing(exchange.payload()), wire=exchange.upstream, headers=headers
            )
        except ClientError as error:
            told = {"message": error.message, "code": error.code, "param": error.param, "type": error.type}
            return web.json_response({"type": "error", "error": told}, status=error.status)
        relay = Relay(exchange, wants_usage=facts.wants_usage)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        if request.headers.get("x-replay"):  # as a hit would be told
            async for _ in relay.run(stream):
                pass
            for event in wire.replay(relay.answer(), BLOCK, wants_usage=facts.wants_usage):
                await response.write(event)
            return response
        try:
            async for piece in relay.run(stream):
                await response.write(piece)
        except ClientError as error:
            told = {"message": error.message, "code": error.code, "param": None, "type": error.type}
            await response.write(wire.error_event(told))
        else:
            await response.write(relay.close(BLOCK))
        return response

    application = web.Application()
    for path in PATHS:
        application.router.add_post(path, handle)
    return application
