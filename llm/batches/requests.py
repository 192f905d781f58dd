"""A tenant's batches, as the batches API creates, shows and cancels them.

Invariant: every statement runs inside the tenant's connection and names the tenant; a request only writes
down what is wanted, and the driver does the work, so that nothing is lost while no driver runs.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import orjson
from psycopg.rows import dict_row

from llm.batches.estimating import BatchEstimate, Payer, estimate, refuse_unaffordable
from llm.batches.lines import Problem
from llm.calls.dimensions import trace_of
from llm.calls.envelopes import envelope_of
from llm.calls.headers import CallHeaders
from llm.calls.tags import find_tags
from llm.catalog.snapshot import TenantSnapshot
from llm.errors import InvalidRequest, NotFound
from llm.files.stored import MESSAGES_PURPOSE, no_file
from tenants.contents import in_thread
from tenants.errors import QuotaExceeded
from tenants.pages import page
from tenants.principal import Principal
from tenants.rls import tenant_connection

COMPLETION_WINDOW: Final = timedelta(hours=24)

_COLUMNS: Final = """
    batch.id, batch.public_id, batch.endpoint, batch.status, batch.line_count, batch.errors, batch.metadata,
    batch.estimated_cost_usd, batch.estimated_list_cost_usd, batch.upper_bound_usd,
    batch.completion_window, batch.created_at, batch.expires_at, batch.in_progress_at, batch.finalizing_at,
    batch.completed_at, batch.failed_at, batch.cancelling_at, batch.cancelled_at, batch.expired_at,
    input.public_id AS input_file_id, output.public_id AS output_file_id, failures.public_id AS error_file_id,
    items.*
"""
_JOINS: Final = """
    LEFT JOIN llm_storedfile AS input ON input.id = batch.input_file_id
    LEFT JOIN llm_storedfile AS output ON output.id = batch.output_file_id
    LEFT JOIN llm_storedfile AS failures ON failures.id = batch.error_file_id
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE status = 'completed') AS completed,
               count(*) FILTER (WHERE status = 'failed') AS failed,
               count(*) FILTER (WHERE status = 'expired') AS expired,
               count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
               coalesce(sum(cost_usd), 0) AS cost_usd, coalesce(sum(list_cost_usd), 0) AS list_cost_usd,
               CASE WHEN count(DISTINCT model) = 1 THEN min(model) END AS model
        FROM llm_batchitem WHERE tenant_id = %(tenant)s AND batch_id = batch.id
    ) AS items
"""
_OF_CLIENTS: Final = "input_file_id IS NOT NULL"  # the others were gathered of deferred calls
FIND: Final = f"""
SELECT {_COLUMNS} FROM llm_batch AS batch {_JOINS}
WHERE batch.tenant_id = %(tenant)s AND batch.public_id = %(public_id)s
  AND (batch.endpoint = '/v1/messages') = %(messages)s AND batch.deleted_at IS NULL AND batch.{_OF_CLIENTS}
"""
LIST: Final = f"""
SELECT {_COLUMNS} FROM (
    SELECT * FROM llm_batch
    WHERE tenant_id = %(tenant)s AND (endpoint = '/v1/messages') = %(messages)s AND deleted_at IS NULL
      AND {_OF_CLIENTS}
      AND (%(after)s = '' OR id {{beyond}} (
          SELECT id FROM llm_batch WHERE tenant_id = %(tenant)s AND public_id = %(after)s))
    ORDER BY id {{order}} LIMIT %(limit)s
) AS batch {_JOINS} ORDER BY batch.id {{order}}
"""
INPUT_FILE: Final = """
SELECT id, purpose, report, problems FROM llm_storedfile
WHERE tenant_id = %(tenant)s AND public_id = %(input_file)s AND deleted_at IS NULL AND status <> 'arriving'
"""
HELD_FILE: Final = """
SELECT id FROM llm_storedfile
WHERE tenant_id = %(tenant)s AND public_id = %(input_file)s AND deleted_at IS NULL
FOR SHARE  -- nobody deletes it before the batch is there
"""
LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended('llm_batch', %s::bigint))"
OPEN: Final = f"""
SELECT count(*) FROM llm_batch
WHERE tenant_id = %s AND {_OF_CLIENTS} AND status IN ('validating', 'in_progress', 'finalizing', 'cancelling')
"""
INSERT: Final = """
INSERT INTO llm_batch (public_id, tenant_id, key_id, "user", feature, tags, endpoint, status, input_file_id,
                       context, line_count, errors, metadata, completion_window, created_at, expires_at, failed_at,
                       estimated_cost_usd, estimated_list_cost_usd, upper_bound_usd)
VALUES (%(public_id)s, %(tenant)s, %(key)s, %(user)s, %(feature)s, %(tags)s, %(endpoint)s, %(status)s,
        %(file)s, %(context)s, %(lines)s, %(errors)s, %(metadata)s, '24h', %(now)s, %(expires_at)s, %(failed_at)s,
        %(cost)s, %(list_cost)s, %(bound)s)
"""
DELETE: Final = """
UPDATE llm_batch SET deleted_at = now()
WHERE tenant_id = %(tenant)s AND public_id = %(public_id)s AND deleted_at IS NULL
  AND coalesce(completed_at, failed_at, cancelled_at, expired_at) IS NOT NULL
"""
CANCEL: Final = """
UPDATE llm_batch SET status = 'cancelling', cancelling_at = %(now)s
WHERE tenant_id = %(tenant)s AND public_id = %(public_id)s AND status IN ('validating', 'in_progress')
RETURNING id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBatch:
    """What a client asks for: a file of lines for one endpoint, and to whom it is charged."""

    key_id: int
    endpoint: str
    input_file: str
    metadata: Mapping[str, str] | None = None
    user: str = ""
    feature: str = ""
    context: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tags(self) -> Mapping[str, str]:
        """Of each line, as far as they are kept."""
        tags: Mapping[str, str] = self.context.get("tags", {})
        return tags


async def context_of(
    headers: CallHeaders, *, principal: Principal, snapshot: TenantSnapshot
) -> dict[str, Any]:
    """What the headers of a batch say of each of its lines, as `Batch.context` keeps it, with the envelope that pays for them.
    Raises what `find_tags` and `envelope_of` raise."""
    user, now, policy = principal.user or headers.user, datetime.now(UTC), snapshot.policy
    headers, run_tags = await find_tags(
        headers, session=headers.session, principal=principal, user=user, policy=policy, at=now
    )
    envelope = await envelope_of(
        headers,
        session=headers.session,
        principal=principal,
        user=user,
        policy=policy.envelopes,
        at=now,
    )
    said = {
        "cache": headers.cache,
        "tier": headers.tier,
        "compress": headers.compress,
        "prompt_version": headers.prompt_version,
        "tags": dict(headers.tags),
        "run_tags": dict(run_tags),
        "trace": trace_of(session=headers.session, run=headers.run, agent=headers.agent),
        "envelope": envelope.to_json() if envelope else None,
    }
    return {name: value for name, value in said.items() if value not in (None, "", {})}


async def create_batch(tenant_id: int, *, new: NewBatch, snapshot: TenantSnapshot) -> dict[str, Any]:
    """Write the batch down and return its row; one whose file has wrong lines has failed at once.

    Raises NotFound / InvalidRequest for its input file, QuotaExceeded, and BudgetExceeded where its upper bound does not fit.
    """
    public_id = f"{'msgbatch' if new.endpoint == '/v1/messages' else 'batch'}_{secrets.token_hex(16)}"
    now = datetime.now(UTC)
    async with tenant_connection(tenant_id) as connection:
        cursor = await connection.execute(INPUT_FILE, {"tenant": tenant_id, "input_file": new.input_file})
        found = await cursor.fetchone()
    if found is None:
        raise no_file(new.input_file)
    _, purpose, report, errors = found
    if purpose not in {"batch", MESSAGES_PURPOSE}:
        raise InvalidRequest(
            f"The file '{new.input_file}' was not uploaded with purpose 'batch'.", param="input_file_id"
        )
    if report and not errors and report["endpoint"] != new.endpoint:
        errors = [_of_another_endpoint(report["endpoint"], new.endpoint)]
    priced: BatchEstimate | None = None
    if report and not errors:  # a file of before reports were kept has none
        payer = Payer(new.key_id, new.user, new.feature, new.tags, new.context)
        priced = await in_thread(lambda: estimate(report, payer=payer, snapshot=snapshot, at=now))
        await refuse_unaffordable(tenant_id, estimate=priced)
    async with tenant_connection(tenant_id) as connection:
        cursor = await connection.execute(HELD_FILE, {"tenant": tenant_id, "input_file": new.input_file})
        held = await cursor.fetchone()
        if held is None:
            raise no_file(new.input_file)
        # so that batches created in parallel are counted one after another
        await connection.execute(LOCK, (tenant_id,))
        [count] = await (await connection.execute(OPEN, (tenant_id,))).fetchone() or (0,)
        if count >= snapshot.policy.quotas.open_batches:
            raise QuotaExceeded(
                f"The tenant has {count} batches that have not ended, the most it may have; wait for one or cancel it."
            )
        await connection.execute(
            INSERT,
            {
                "public_id": public_id,
                "tenant": tenant_id,
                "key": new.key_id,
                "user": new.user,
                "feature": new.feature,
                "tags": orjson.dumps(dict(new.tags)).decode(),
                "endpoint": new.endpoint,
                "status": "failed" if errors else "validating",
                "failed_at": now if errors else None,
                "errors": orjson.dumps(errors).decode(),
                "file": held[0],
                "context": orjson.dumps(dict(new.context)).decode(),
                "lines": report["lines"] if report else 0,
                "metadata": None if new.metadata is None else orjson.dumps(dict(new.metadata)).decode(),
                "now": now,
                "expires_at": now + COMPLETION_WINDOW,
                "cost": priced and priced.cost_usd,
                "list_cost": priced and priced.list_cost_usd,
                "bound": priced and priced.upper_bound_usd,
            },
        )
    return await find_batch(tenant_id, public_id=public_id, is_messages=new.endpoint == "/v1/messages")


def _of_another_endpoint(written: str, asked: str) -> dict[str, Any]:
    message = f"'url' must be {asked}, as the batch says; the lines of this file are for {written}."
    return Problem(1, "invalid_request", message, "url").to_json()


async def find_batch(tenant_id: int, *, public_id: str, is_messages: bool = False) -> dict[str, Any]:
    """A batch's row with the counts and costs of its lines, or NotFound."""
    async with tenant_connection(tenant_id) as connection:
        cursor = connection.cursor(row_factory=dict_row)
        await cursor.execute(FIND, {"tenant": tenant_id, "public_id": public_id, "messages": is_messages})
        row = await cursor.fetchone()
    if row is None:
        raise no_batch(public_id)
    return row


async def list_batches(
    tenant_id: int, *, after: str, limit: int, is_ascending: bool = False, is_messages: bool = False
) -> tuple[list[dict[str, Any]], bool]:
    """A page of batches after the one named, and whether more follow."""
    return await page(
        tenant_id, LIST, {"messages": is_messages}, after=after, limit=limit, is_ascending=is_ascending
    )


async def cancel_batch(tenant_id: int, *, public_id: str, is_messages: bool = False) -> dict[str, Any]:
    """Ask for a batch to be cancelled and return its row; InvalidRequest if it is finished, NotFound if it is
    not there."""
    before = await find_batch(tenant_id, public_id=public_id, is_messages=is_messages)
    async with tenant_connection(tenant_id) as connection:
        parameters = {"tenant": tenant_id, "public_id": public_id, "now": datetime.now(UTC)}
        cursor = await connection.execute(CANCEL, parameters)
        if cursor.rowcount == 0 and before["status"] not in {"cancelling", "cancelled"}:
            raise InvalidRequest(
                f"The batch is {before['status']} and cannot be cancelled.", param="batch_id"
            )
    return await find_batch(tenant_id, public_id=public_id, is_messages=is_messages)


async def delete_batch(tenant_id: int, *, public_id: str, is_messages: bool = False) -> None:
    """Have a batch that has ended be found no more; InvalidRequest for another one, NotFound if it is not there."""
    await find_batch(tenant_id, public_id=public_id, is_messages=is_messages)
    async with tenant_connection(tenant_id) as connection:
        cursor = await connection.execute(DELETE, {"tenant": tenant_id, "public_id": public_id})
        if cursor.rowcount == 0:
            raise InvalidRequest(
                "A batch can be deleted when it has ended: cancel it first.", param="batch_id"
            )


def batch_object(row: dict[str, Any]) -> dict[str, Any]:
    """A batch as the OpenAI API shows it (`views.schemas.batches.BatchObject`), with what it cost and saved in `purser`."""
    moments = (
        "created_at",
        "in_progress_at",
        "expires_at",
        "finalizing_at",
        "completed_at",
        "failed_at",
        "expired_at",
        "cancelling_at",
        "cancelled_at",
    )
    return {
        "id": row["public_id"],
        "object": "batch",
        "endpoint": row["endpoint"],
        "model": row["model"],
        "errors": {"object": "list", "data": row["errors"]} if row["errors"] else None,
        "input_file_id": row["input_file_id"],
        "completion_window": row["completion_window"],
        "status": row["status"],
        "output_file_id": row["output_file_id"],
        "error_file_id": row["error_file_id"],
        **{name: int(row[name].timestamp()) if row[name] else None for name in moments},
        "request_counts": {
            "total": row["line_count"],
            "completed": row["completed"],
            "failed": row["failed"] + row["expired"],
        },
        "metadata": row["metadata"],
        "purser": _money(row),
    }


def _money(row: dict[str, Any]) -> dict[str, str | None]:
    """What a batch is expected to cost and to save, the most it can cost, and what it has cost and saved by now."""
    cost, list_cost = row["estimated_cost_usd"], row["estimated_list_cost_usd"]
    return {
        "estimated_cost_usd": _usd(cost),
        "estimated_list_cost_usd": _usd(list_cost),
        "estimated_saved_usd": None if cost is None or list_cost is None else _usd(list_cost - cost),
        "upper_bound_usd": _usd(row["upper_bound_usd"]),
        "cost_usd": _usd(row["cost_usd"]),
        "list_cost_usd": _usd(row["list_cost_usd"]),
        "saved_usd": _usd(row["list_cost_usd"] - row["cost_usd"]),
    }


def _usd(amount: Decimal | None) -> str | None:
    return None if amount is None else f"{amount:.12f}"


def no_batch(public_id: str) -> NotFound:
    return NotFound(f"There is no batch '{public_id}'.", param="batch_id")
