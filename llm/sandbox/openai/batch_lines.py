"""Owns one line of a batch: a call without a connection of its own.

Invariant: a line is logged, can be made to fail by a fault, and is billed like a call, as `processing:
batch`.
"""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import orjson
from aiohttp import web

from llm.sandbox.errors import ProviderError
from llm.sandbox.exchange import ANTHROPIC, Exchange, Handler
from llm.sandbox.state import Sandbox
from llm.sandbox.usage import Usage


class LineExchange(Exchange):
    """A call in a batch; its answer is kept instead of sent."""

    payload: dict[str, Any]

    async def answer(
        self, payload: dict[str, Any], *, usage: Usage | None = None, tokens: int = 0
    ) -> web.StreamResponse:
        """Keep the answer and bill it."""
        self.bill(payload, usage)
        if self.has_fault("missing_usage"):
            payload = {name: value for name, value in payload.items() if name != "usage"}
        self.payload = payload
        return web.Response()


async def run_line(
    sandbox: Sandbox,
    handlers: Mapping[str, Handler],
    *,
    kind: str,
    path: str,
    key: str,
    batch_id: str,
    custom_id: str,
    body: dict[str, Any],
) -> tuple[int, str, dict[str, Any]]:
    """The status, request id and body that a line is answered with; never raises for a bad line."""
    exchange = LineExchange(sandbox, kind=kind, method="POST", path=path, key="", raw=orjson.dumps(body))
    call = exchange.call
    call.key, call.processing, call.batch_id, call.custom_id = key, "batch", batch_id, custom_id
    status = 200
    try:
        exchange.take(body)
        exchange.take_fault()
        fault = exchange.fault
        if fault is not None and (failed := fault.status_for(overloaded=529 if kind == ANTHROPIC else 503)):
            raise fault.error(failed)
        await handlers[path](exchange)
        return status, exchange.request_id, exchange.payload
    except ProviderError as error:
        status = error.status
        return status, exchange.request_id, error.body(kind, exchange.request_id)
    finally:
        sandbox.calls.finish(call, status=status, outcome="completed" if status == 200 else "failed")


def with_fault(results: list[bytes], fault: str) -> list[bytes]:
    """The lines of a batch's results as a fault leaves them."""
    if fault == "lose_results":
        return results[: len(results) // 2]
    if fault == "odd_results" and results:
        known = orjson.loads(results[0])
        strangers = [
            orjson.dumps({**known, "custom_id": name}) + b"\n" for name in ("nobody", str(uuid4()), "")
        ]
        return [*strangers, *(line for line in reversed(results) for _ in range(2)), b"not JSON\n"]
    return results
