"""Keeps the chat completions that a client asked to have stored.

Invariant: an answer that cannot be kept, or that the tenant has no room for, is still given; the receipt says why it was
not kept.
"""

import secrets

import orjson
import structlog

from llm.calls.call import Call
from llm.kept import chats
from llm.wire import Body

log = structlog.get_logger(__name__)


def is_wanted(call: Call) -> bool:
    """Whether the answer is to be kept: the client says so, and the tenant's policy does not forbid it."""
    return (
        call.wire.api == "openai.chat" and call.source.body.get("store") is True and call.policy.store_chats
    )


def with_new_id(call: Call, answer: Body) -> Body:
    """An answer from a cache with an id of its own, if it is to be kept: the old id is another call's."""
    return {**answer, "id": f"chatcmpl-{secrets.token_hex(16)}"} if is_wanted(call) else answer


async def keep(call: Call, answer: Body | None, block: Body) -> None:
    """Keep an answer that is to be kept, before its client can look for it. `block` is its `purser` object; an answer of None
    is one that is not exact."""
    if answer is None or not is_wanted(call):
        return
    public_id = answer.get("id")
    if not isinstance(public_id, str):
        return
    try:
        full = await chats.insert(
            call.principal.tenant_id,
            public_id=public_id,
            model=call.facts.model,
            asked=orjson.dumps(call.source.body["messages"]),
            answer=orjson.dumps({**answer, "purser": block}, default=str),
            metadata=call.source.body.get("metadata"),
            quotas=call.policy.quotas,
        )
    except Exception as error:
        call.receipt.note("stored", "failed")
        log.warning("chat_not_stored", error=type(error).__name__)
        return
    if full:
        reason = {"reason": "quota_exceeded", "chats": full.chats, "bytes": full.size_bytes}
        call.receipt.note("stored", "refused", **reason)
