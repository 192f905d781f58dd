"""The client's `idempotency-key`: the same answer again, and one charge.

Invariant: of the calls of one API key to one endpoint with the same idempotency key one goes through the pipeline. The
others wait for it and get its answer byte for byte. The key is free again only when the first has ended and owes
nothing; if its worker was lost, the ledger decides by what it owes. A deferred call that was queued gives its job.
"""

import asyncio
import hashlib
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
import structlog
from psycopg.rows import dict_row

from billing.errors import LedgerUnavailable
from billing.ledger import connection
from billing.money import plain
from caching.scope import TRANSPORT_FIELDS
from config import resources
from config.database import storable
from config.door.responses import Write
from llm import metrics
from llm.calls.answers import Answer, StreamedAnswer
from llm.calls.call import Call
from llm.calls.job_objects import COLUMNS, job_object
from llm.errors import InternalError, InvalidRequest, StillInProgress
from tenants.errors import ClientError
from tenants.rls import tenant_connection

HEADER = "idempotency-key"
REPLAY_HEADER = "x-purser-idempotent-replay"
KEPT_FOR = "24 hours"
LEASE_SECONDS = 30.0
RENEW_SECONDS = 10.0
WAIT_SECONDS = 60.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.02, 0.5
LARGEST_CONTENT_BYTES = 8 * 1024 * 1024
# these speak of the moment, not of the answer
OF_THE_MOMENT = ("server-timing", "retry-after", "x-ratelimit-", "anthropic-ratelimit-")

# A key is free if it was never used, if it has been deleted by now, or if its worker is gone and owes nothing.
# Its commit does not wait for the disk: the attempt's does, and what was committed before is on the disk then, too.
CLAIM = """
INSERT INTO llm_idempotentcall AS known (
    tenant_id, key_id, endpoint, key, digest, request_id, state, created_at, leased_until, is_stream, headers)
VALUES (%(tenant)s, %(key_id)s, %(endpoint)s, %(key)s, %(digest)s, %(request_id)s, 'in_progress', now(),
        now() + make_interval(secs => %(lease)s), %(is_stream)s, '{}')
ON CONFLICT (tenant_id, key_id, endpoint, key) DO UPDATE
SET digest = excluded.digest, request_id = excluded.request_id, state = 'in_progress', created_at = excluded.created_at,
    leased_until = excluded.leased_until, is_stream = excluded.is_stream, headers = '{}', content = NULL, error = NULL
WHERE (known.state = 'done' OR known.leased_until < now()) AND known.created_at < now() - %(kept_for)s::interval
   OR known.state = 'in_progress' AND known.leased_until < now() AND NOT EXISTS (
        SELECT FROM billing_attempt AS attempt
        WHERE attempt.tenant_id = known.tenant_id AND attempt.request_id = known.request_id
          AND attempt.state <> 'voided')
     AND NOT EXISTS (SELECT FROM llm_deferredjob AS job
        WHERE job.tenant_id = known.tenant_id AND job.request_id = known.request_id AND job.status <> 'accepting')
RETURNING id, set_config('synchronous_commit', 'off', true)
"""
LOOK = """
SELECT request_id, digest, state, leased_until < now() AS is_lost, is_stream, headers, content, error
FROM llm_idempotentcall
WHERE tenant_id = %(tenant)s AND key_id = %(key_id)s AND endpoint = %(endpoint)s AND key = %(key)s
"""
# What a deferred call has come to, though its answer was not kept.
JOB = f"""
SELECT {COLUMNS} FROM llm_deferredjob
WHERE tenant_id = %(tenant)s AND request_id = %(request_id)s AND status <> 'accepting'
"""
# What a call has come to whose worker was lost.
OWED = """
SELECT count(*) FILTER (WHERE attempt.state IN ('held', 'sent')) AS open,
       coalesce(sum(row.billed_cost), 0) AS billed_usd,
       coalesce(bool_or(row.usage_source = 'estimated'), false) AS is_estimate
FROM billing_attempt AS attempt
LEFT JOIN billing_usagerecord AS row ON row.id = attempt.id AND row.occurred_at = attempt.occurred_at
WHERE attempt.tenant_id = %(tenant)s AND attempt.request_id = %(request_id)s
"""
RENEW = """
UPDATE llm_idempotentcall SET leased_until = now() + make_interval(secs => %(lease)s)
WHERE tenant_id = %(tenant)s AND id = %(id)s AND request_id = %(request_id)s AND state = 'in_progress'
"""
KEEP = """
UPDATE llm_idempotentcall
SET state = 'done', headers = %(headers)s::jsonb, content = %(content)s, error = %(error)s::jsonb
WHERE tenant_id = %(tenant)s AND id = %(id)s AND request_id = %(request_id)s AND state = 'in_progress'
"""
# Only what owes nothing: a try that was billed, or may still be, keeps its key.
RELEASE = """
DELETE FROM llm_idempotentcall
WHERE tenant_id = %(tenant)s AND id = %(id)s AND request_id = %(request_id)s AND state = 'in_progress'
  AND NOT EXISTS (
    SELECT FROM billing_attempt AS attempt
    WHERE attempt.tenant_id = %(tenant)s AND attempt.request_id = %(request_id)s AND attempt.state <> 'voided')
"""

log = structlog.get_logger(__name__)


class ReplayedError(ClientError):
    """The error of the first call with this key, given again."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(
            error["message"],
            param=error.get("param"),
            headers={REPLAY_HEADER: "true"},
            recurs=True,
        )
        self.status, self.code, self.type = error["status"], error["code"], error["type"]


@dataclass(slots=True)
class Claim:
    """The right, and the duty, to answer for a key."""

    id: int
    tenant_id: int
    request_id: UUID
    renewing: "asyncio.Task[None] | None" = None

    async def keep(self, work: Awaitable[Answer | StreamedAnswer]) -> Answer | StreamedAnswer:
        """Do the work and keep what comes of it before it goes out; a stream is kept when it has ended."""
        self.renewing = resources.background(self._renew())
        try:
            answer = await work
        except Exception as error:
            await self._fail(error if isinstance(error, ClientError) else _internal_error())
            raise
        except BaseException:
            self._end()
            raise
        if isinstance(answer, StreamedAnswer):
            return StreamedAnswer(_Recording(answer, self), answer.headers)
        await self.write(answer.headers, answer.body)
        return answer

    async def write(self, headers: dict[str, str], content: bytes) -> None:
        """Keep an answer. If that fails the key keeps what was billed, and the answer goes out all the same."""
        self._end()
        if len(content) > LARGEST_CONTENT_BYTES:
            await self._write({}, None, _error_json(_too_large()))
            return
        kept = {name: value for name, value in headers.items() if not name.lower().startswith(OF_THE_MOMENT)}
        await self._write(kept, content, None)

    def _end(self) -> None:
        if self.renewing is not None:
            self.renewing.cancel()

    async def _fail(self, error: ClientError) -> None:
        """Free the key if the call owes nothing; else the key gives the failure from now on."""
        self._end()
        try:
            if not await self._execute(RELEASE):
                await self._write({}, None, _error_json(error))
        except LedgerUnavailable:
            log.warning("idempotency_key_not_freed", request_id=str(self.request_id))

    async def _write(self, headers: dict[str, str], content: bytes | None, error: str | None) -> None:
        try:
            await self._execute(
                KEEP,
                headers=storable.json_text(headers),
                content=content,
                error=error,
            )
        except LedgerUnavailable:
            log.warning("idempotent_answer_not_kept", request_id=str(self.request_id))

    async def _renew(self) -> None:
        """Say from time to time that the work is still being done."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                await self._execute(RENEW, lease=LEASE_SECONDS)
            except LedgerUnavailable:
                log.warning("idempotency_lease_not_renewed", request_id=str(self.request_id))

    async def _execute(self, statement: str, **parameters: Any) -> int:
        """Run a statement about this claim; how many rows it changed. Raises LedgerUnavailable."""
        everything = {
            "tenant": self.tenant_id,
            "id": self.id,
            "request_id": self.request_id,
            **parameters,
        }

        async def execute() -> int:
            async with tenant_connection(self.tenant_id) as connected:
                return (await connected.execute(statement, everything)).rowcount

        return await connection.twice(execute)


Found = Claim | Answer | StreamedAnswer | ClientError | None


async def find(call: Call) -> Found:
    """What there is of the call's key: the claim to answer for it, the answer that was given before, or why neither."""
    try:
        return await claim(call)
    except ClientError as error:
        return error


async def claim(call: Call) -> Claim | Answer | StreamedAnswer:
    """Claim the call's idempotency key, or return the answer that was given to it before.

    Waits while another call with the key is being answered, in any process. Raises InvalidRequest where the key
    was used for something else, StillInProgress when the wait gets too long, and ReplayedError.
    """
    digest = await _digest(call)
    ends_at = asyncio.get_running_loop().time() + WAIT_SECONDS
    pause = FIRST_PAUSE_SECONDS
    while True:
        found = await connection.twice(lambda: _claim_or_look(call, digest))
        if isinstance(found, Claim):
            return found
        if found is not None:
            if found["digest"] != digest:
                raise InvalidRequest(
                    f"This {HEADER} was used for another request in the last {KEPT_FOR}: use a new one.",
                    param=HEADER,
                )
            if (found["is_lost"] or found["error"]) and (job := await _find_job(call, found["request_id"])):
                return job
            if found["state"] == "done":
                return _replay(call, found)
            if found["is_lost"]:
                await _raise_if_settled(call, found["request_id"])
        if asyncio.get_running_loop().time() > ends_at:
            raise StillInProgress(
                f"The first request with this {HEADER} has not ended yet; try again later.",
                param=HEADER,
                retry_after_seconds=5,
            )
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, LONGEST_PAUSE_SECONDS)


class _Recording:
    """A stream that is kept while it is sent: it goes on to its end even when its client has gone."""

    def __init__(self, answer: StreamedAnswer, claim: Claim) -> None:
        self._answer, self._claim = answer, claim
        self._chunks: list[bytes] = []
        self._has_ended = False
        self._grown = asyncio.Event()
        resources.background(self._record())

    async def send_to(self, write: Write) -> None:
        """What has come so far, and what comes. Leaving this early changes nothing."""
        sent = 0
        while True:
            while sent < len(self._chunks):
                await write(self._chunks[sent])
                sent += 1
            if self._has_ended:
                return
            self._grown.clear()
            await self._grown.wait()

    async def abandon(self) -> None:
        """It is recorded all the same."""

    async def _record(self) -> None:
        try:
            await self._answer.chunks.send_to(self._take)
            await self._claim.write(self._answer.headers, b"".join(self._chunks))
        finally:
            self._has_ended = True
            self._grown.set()

    async def _take(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self._grown.set()


async def _claim_or_look(call: Call, digest: bytes) -> Claim | dict[str, Any] | None:
    """A claim; else the row that holds the key, None if it has just gone."""
    tenant_id = call.principal.tenant_id
    parameters = {
        "tenant": tenant_id,
        "key_id": call.principal.key_id,
        "endpoint": call.endpoint,
        "key": call.headers.idempotency_key,
        "digest": digest,
        "request_id": call.request_id,
        "lease": LEASE_SECONDS,
        "is_stream": call.facts.stream,
        "kept_for": KEPT_FOR,
    }
    async with tenant_connection(tenant_id) as connected:
        cursor = await connected.execute(CLAIM, parameters)
        if row := await cursor.fetchone():
            return Claim(row[0], tenant_id, call.request_id)
        looking = connected.cursor(row_factory=dict_row)
        await looking.execute(LOOK, parameters)
        return await looking.fetchone()


def _replay(call: Call, found: dict[str, Any]) -> Answer | StreamedAnswer:
    """The first call's answer: its bytes, and its headers but for those of the moment."""
    metrics.REPLAYS.add(call.endpoint)
    call.receipt.note("idempotency", "replay", first_request_id=str(found["request_id"]))
    if found["error"] is not None:
        raise ReplayedError(found["error"])
    headers = {**found["headers"], REPLAY_HEADER: "true", "server-timing": call.receipt.server_timing()}
    if found["is_stream"]:
        return StreamedAnswer.of([found["content"]], headers=headers)
    return Answer(found["content"], headers)


async def _find_job(call: Call, request_id: UUID) -> Answer | None:
    """The job of a deferred call that was queued, as it is now; None if there is none."""
    if not call.headers.urgency.may_wait:
        return None
    tenant_id = call.principal.tenant_id
    async with tenant_connection(tenant_id) as connected:
        cursor = connected.cursor(row_factory=dict_row)
        await cursor.execute(JOB, {"tenant": tenant_id, "request_id": request_id})
        row = await cursor.fetchone()
    if row is None:
        return None
    metrics.REPLAYS.add(call.endpoint)
    call.receipt.note("idempotency", "replay", first_request_id=str(request_id))
    return Answer(orjson.dumps(job_object(row)), {REPLAY_HEADER: "true"})


async def _raise_if_settled(call: Call, request_id: UUID) -> None:
    """Raise what a lost call has come to, once the ledger knows: it cost something, and there is no answer to it."""
    tenant_id = call.principal.tenant_id
    async with tenant_connection(tenant_id) as connected:
        cursor = connected.cursor(row_factory=dict_row)
        await cursor.execute(OWED, {"tenant": tenant_id, "request_id": request_id})
        owed = await cursor.fetchone()
    if owed is None or owed["open"]:
        return
    how = "an estimate of what was produced" if owed["is_estimate"] else "by the provider's figures"
    raise ReplayedError(
        {
            "status": 502,
            "code": "provider_error",
            "type": "api_error",
            "message": f"The first request with this {HEADER} ({request_id}) was lost on our side before its answer "
            f"could be kept. It was billed {plain(owed['billed_usd'])} USD, {how}. "
            "To ask again, and pay again, use a new key.",
            "param": HEADER,
        }
    )


async def _digest(call: Call) -> bytes:
    """What makes two calls the same: whose they are, and what they ask, however it is written."""
    fingerprint = await call.read_fingerprint()
    transport = {name: call.body[name] for name in TRANSPORT_FIELDS if name in call.body}
    if call.headers.urgency.may_wait:
        transport["deferred"] = True  # the answer to it is a job
    rest = orjson.dumps(transport, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(call.user.encode() + b"\0" + fingerprint.whole.encode() + rest).digest()


def _error_json(error: ClientError) -> str:
    return storable.json_text(
        {
            "status": error.status,
            "code": error.code,
            "type": error.type,
            "message": error.message,
            "param": error.param,
        }
    )


def _internal_error() -> ClientError:
    return InternalError("Something went wrong on our side after the provider had been asked.")


def _too_large() -> ClientError:
    return InvalidRequest(
        f"The answer to the first request with this {HEADER} was too large to be kept.", param=HEADER
    )
