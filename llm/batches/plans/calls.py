"""A batch's line as a call: what the steps of the pipeline take.

Invariant: the call of a line is the same each time it is made: that of the key and the user who ordered the batch, at the prices
and in the budgets of that moment. So a line is routed, remembered and booked by the code that serves every call.
"""

from typing import Any

import orjson

from llm.batches.lines import wire_of
from llm.calls.call import Call
from llm.calls.headers import CallHeaders
from llm.catalog.snapshot import TenantSnapshot
from llm.models import Batch, BatchItem
from llm.wire import Source
from tenants.allocation import NO_TAGS
from tenants.principal import ModelGlobs, Principal


def call_of(item: BatchItem, batch: Batch, *, snapshot: TenantSnapshot, is_planned: bool = True) -> Call:
    """The call of a line; `is_planned`: with the body that goes out, else with its client's."""
    wire, context = wire_of(batch.endpoint), batch.context
    body: dict[str, Any] = sent_body_of(item) if is_planned else item.body
    call = Call(
        request_id=item.request_id,
        received_at=batch.created_at,
        endpoint=batch.endpoint,
        wire=wire,
        source=Source(orjson.dumps(body), body),
        body=body,
        facts=wire.facts(body),
        headers=CallHeaders(
            user=batch.user,
            feature=batch.feature,
            tags=batch.tags,
            cache=context.get("cache", "on"),
            tier=context.get("tier", ""),
            compress=context.get("compress"),
            prompt_version=context.get("prompt_version", ""),
        ),
        passed_on={},
        principal=_principal(batch, snapshot),
        snapshot=snapshot,
        run_tags=context.get("run_tags") or NO_TAGS,
        joins_flights=False,
        hit_id=item.attempt_id,
    )
    if is_planned:
        call.tokens_before_compression = item.plan.get("tokens_before")
        call.tokens_after_compression = item.plan.get("tokens_after")
    return call


def sent_body_of(item: BatchItem) -> dict[str, Any]:
    """What goes out of a line: its body, or what compression has made of it."""
    body: dict[str, Any] = item.body if item.sent_body is None else item.sent_body
    return body


def _principal(batch: Batch, snapshot: TenantSnapshot) -> Principal:
    """Who ordered the batch; a key that is gone may use no model any more."""
    key = next((key for key in snapshot.tenant.keys.values() if key.id == batch.key_id), None)
    return Principal(
        tenant_id=batch.tenant_id,
        tenant_slug=snapshot.tenant.slug,
        key_id=batch.key_id,
        key_name=key.name if key else "",
        key_public_id=key.public_id if key else "",
        tags=key.tags if key else NO_TAGS,
        models=key.models if key else ModelGlobs(()),
    )
