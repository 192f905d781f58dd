"""`/v1/reports` and `/v1/statements`: the files of the tenant's months.

Invariant: a view makes no file: it asks for a job, which a worker does. Every query runs inside the tenant's connection and names
the tenant; a foreign object is a 404. A key that is bound to a person
reads what all people of the tenant did only with the right to.
"""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from billing.months.exports import ASKED
from config.door.responses import Pieces, PlainResponse
from llm.errors import GatewayBusy, InvalidRequest, NotFound
from llm.files import transfers
from llm.views import schemas
from llm.views.base import AsyncAPIView, json_response
from llm.views.documented import JSON, OF_A_LOOK_UP, operation, query
from tenants.principal import KeyRight
from tenants.rls import tenant_connection

TAG: Final = "Figures"
MONTHS_SHOWN: Final = 120
MOST_OPEN: Final = 24
RETRY_AFTER_SECONDS: Final = 5
FRESH_FOR: Final = 3600  # seconds; of a month that still runs

FILES: Final = """
SELECT f.id::text AS id, j.month, f.format, f.name, f.content_type, f.size_bytes AS bytes, f.sha256, f.location, j.made_at
FROM billing_monthfile AS f JOIN billing_monthjob AS j ON j.id = f.job_id AND j.tenant_id = f.tenant_id
WHERE f.tenant_id = %(tenant)s AND j.state = 'done'
  AND (%(month)s = '' OR j.month = %(month)s) AND (%(format)s = '' OR f.format = %(format)s)
  AND (%(id)s = '' OR f.id::text = %(id)s)
ORDER BY j.made_at DESC, f.name LIMIT %(most)s
"""
PERIODS: Final = """
SELECT label AS month, timezone, starts_at, ends_at, status FROM billing_billingperiod
WHERE tenant_id = %(tenant)s ORDER BY starts_at DESC LIMIT %(most)s
"""
# Who asks for what is on its way gets the job that is there; one that has not begun makes this format, too.
ASK: Final = """
INSERT INTO billing_monthjob (
    id, kind, tenant_id, month, formats, state, step, done, total, error, tries, key_id, reason, fingerprint, created_at)
SELECT %(id)s, 'report', %(tenant)s, %(month)s, ARRAY[%(format)s], 'queued', '', 0, 0, '', 0, %(key)s, '', '', now()
WHERE (SELECT count(*) FROM billing_monthjob WHERE tenant_id = %(tenant)s AND state IN ('queued', 'running')) < %(most)s
ON CONFLICT DO NOTHING
"""
JOIN_IN: Final = """
UPDATE billing_monthjob SET formats = formats || %(format)s::varchar
WHERE tenant_id = %(tenant)s AND month = %(month)s AND kind = 'report' AND state = 'queued' AND NOT %(format)s = ANY (formats)
"""
JOB: Final = """
SELECT id::text AS id, month, formats, state AS status, step, done AS lines_done, total AS lines_total, error, created_at
FROM billing_monthjob
WHERE tenant_id = %(tenant)s AND month = %(month)s AND kind = 'report' AND state IN ('queued', 'running', 'failed')
ORDER BY created_at DESC LIMIT 1
"""
STATEMENTS: Final = """
SELECT s.id, s.code, p.label AS month, s.timezone, s.currency, s.total, s.tax, s.total + s.tax AS payable,
       coalesce((s.terms ->> 'set_off')::numeric, 0) AS set_off,
       s.total + s.tax - coalesce((s.terms ->> 'set_off')::numeric, 0) AS due, s.exact_usd,
       s.record_count AS records, s.request_count AS requests, s.digest, s.previous_digest, s.issued_at
FROM billing_statement AS s JOIN billing_billingperiod AS p ON p.id = s.period_id AND p.tenant_id = s.tenant_id
WHERE s.tenant_id = %(tenant)s AND (%(code)s = '' OR s.code = %(code)s)
ORDER BY s.number DESC LIMIT %(most)s
"""
STATEMENT_FILES: Final = """
SELECT f.format, f.name, f.content_type, f.size_bytes AS bytes, f.sha256, f.location
FROM billing_statementfile AS f JOIN billing_statement AS s ON s.id = f.statement_id
WHERE s.tenant_id = %(tenant)s AND f.statement_id = %(statement)s AND f.location <> '' ORDER BY f.format
"""


class OfTheTenant(AsyncAPIView):
    """Of what all people of the tenant did."""

    is_limited = True

    async def initial_checks(self, request: HttpRequest) -> None:
        await super().initial_checks(request)
        self.principal.require_right(KeyRight.REPORTS)

    async def read(
        self, connection: AsyncConnection[Any], sql: str, **arguments: Any
    ) -> list[dict[str, Any]]:
        cursor = connection.cursor(row_factory=dict_row)
        await cursor.execute(sql, {"tenant": self.principal.tenant_id, "most": MONTHS_SHOWN, **arguments})
        return await cursor.fetchall()

    async def content(self, file: dict[str, Any]) -> PlainResponse:
        pieces = await transfers.stored_content(self.principal.tenant_id, file["location"])
        return PlainResponse(
            Pieces(pieces),
            content_type=file["content_type"],
            headers={
                "content-length": str(file["bytes"]),
                "content-disposition": f'attachment; filename="{file["name"]}"',
                "x-purser-sha256": file["sha256"],
            },
        )


class Reports(OfTheTenant):
    """`GET /v1/reports[?month=2026-11[&format=csv]]`."""

    @operation(
        "listReports",
        "The files of months; with a format, the file, or the job that makes it",
        tag=TAG,
        answers=schemas.ReportList,
        parameters=(
            query("month", "A billing month, such as 2026-11; its files only."),
            query(
                "format",
                "Of one month: answers with the file where there is one, else with 202 and the job that makes it; ask again then."
                " A FOCUS version of several data sets answers with the list of its files.",
                *ASKED,
            ),
            query(
                "max_age",
                "Of a month that still runs: how many seconds old a file may be; 3600 by default.",
                kind=int,
            ),
        ),
        errors=(*OF_A_LOOK_UP, 429),
        also={
            (200, "application/octet-stream"): (bytes, "With `format`: the file, in its own content type."),
            (202, JSON): (schemas.ReportJobObject, "With `format`: the job that makes it."),
        },
    )
    async def get(self, request: HttpRequest) -> HttpResponse | PlainResponse:
        month, wanted = request.GET.get("month", ""), request.GET.get("format", "")
        if wanted and wanted not in ASKED:
            raise InvalidRequest(f"'format' must be one of {', '.join(ASKED)}.", param="format")
        async with tenant_connection(self.principal.tenant_id) as connection:
            periods = await self.read(connection, PERIODS)
            if month and month not in {period["month"] for period in periods}:
                raise NotFound(f"There is no month {month!r} with usage.")
            files = await self.read(connection, FILES, month=month, format=wanted, id="")
            if not wanted:
                return json_response(
                    {"object": "list", "months": periods, "data": [_file_object(one) for one in files]}
                )
            if not month:
                raise InvalidRequest("A 'format' is asked for of one 'month'.", param="month")
            period = next(one for one in periods if one["month"] == month)
            fresh = [one for one in files if self._is_fresh(request, one, period)]
            newest = [one for one in fresh if one["made_at"] == fresh[0]["made_at"]]
            job = None if newest else await self._asked(connection, month, wanted)
        if job is not None:
            return json_response(
                {"object": "report_job", **job},
                status=202,
                headers={"retry-after": str(RETRY_AFTER_SECONDS)},
            )
        if len(newest) > 1:
            return json_response(
                {"object": "list", "months": [period], "data": [_file_object(one) for one in newest]}
            )
        return await self.content(newest[0])

    def _is_fresh(self, request: HttpRequest, file: dict[str, Any], period: dict[str, Any]) -> bool:
        """Whether a file says what there is to say: made after its month was closed, or a moment ago."""
        try:
            age = int(request.GET.get("max_age") or FRESH_FOR)
        except ValueError:
            raise InvalidRequest("'max_age' is a number of seconds.", param="max_age") from None
        if period["status"] == "closed":
            return bool(file["made_at"] >= period["ends_at"])
        return bool(file["made_at"] >= datetime.now(UTC) - timedelta(seconds=max(0, min(age, 86_400 * 365))))

    async def _asked(self, connection: AsyncConnection[Any], month: str, wanted: str) -> dict[str, Any]:
        arguments = {
            "tenant": self.principal.tenant_id,
            "id": uuid.uuid4(),
            "month": month,
            "format": wanted,
            "key": self.principal.key_id,
            "most": MOST_OPEN,
        }
        await connection.execute(ASK, arguments)
        await connection.execute(JOIN_IN, arguments)
        jobs = await self.read(connection, JOB, month=month)
        if not jobs:
            raise GatewayBusy(
                f"{MOST_OPEN} jobs of this tenant are waiting; try again when some are done.",
                retry_after_seconds=RETRY_AFTER_SECONDS,
                facts={"line": "month_jobs"},
            )
        return jobs[0]


class ReportFile(OfTheTenant):
    """`GET /v1/reports/files/{id}`."""

    @operation(
        "readReportFile",
        "The bytes of a file of a month",
        tag=TAG,
        content_type="application/octet-stream",
        errors=(*OF_A_LOOK_UP, 429),
    )
    async def get(self, request: HttpRequest, file_id: str) -> PlainResponse:
        async with tenant_connection(self.principal.tenant_id) as connection:
            files = await self.read(connection, FILES, month="", format="", id=file_id)
        if not files:
            raise NotFound(f"There is no file {file_id!r}.")
        return await self.content(files[0])


class Statements(OfTheTenant):
    """`GET /v1/statements`."""

    @operation(
        "listStatements",
        "The statements of closed months, the newest first",
        tag=TAG,
        answers=schemas.StatementList,
        errors=(*OF_A_LOOK_UP, 429),
    )
    async def get(self, request: HttpRequest) -> HttpResponse:
        async with tenant_connection(self.principal.tenant_id) as connection:
            rows = await self.read(connection, STATEMENTS, code="")
        return json_response({"object": "list", "data": [_statement_object(row) for row in rows]})


class Statement(OfTheTenant):
    """`GET /v1/statements/{code}` and, with a format, one of its files."""

    @operation(
        "getStatement",
        "One statement, and what files it has",
        tag=TAG,
        answers=schemas.StatementObject,
        errors=(*OF_A_LOOK_UP, 429),
    )
    async def get(self, request: HttpRequest, code: str) -> HttpResponse:
        statement, files = await self.found(code)
        names = ("format", "name", "bytes", "sha256")
        listed = [
            {name: file[name] for name in names} | {"url": f"/v1/statements/{code}/files/{file['format']}"}
            for file in files
        ]
        return json_response(_statement_object(statement) | {"files": listed})

    async def found(self, code: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        async with tenant_connection(self.principal.tenant_id) as connection:
            rows = await self.read(connection, STATEMENTS, code=code or " ")
            if not rows:
                raise NotFound(f"There is no statement {code!r}.")
            return rows[0], await self.read(connection, STATEMENT_FILES, statement=rows[0]["id"])


class StatementFile(Statement):
    """`GET /v1/statements/{code}/files/{format}`."""

    @operation(
        "readStatementFile",
        "The bytes of a file of a statement, as they were handed out first",
        tag=TAG,
        content_type="application/octet-stream",
        errors=(*OF_A_LOOK_UP, 429),
    )
    async def get(self, request: HttpRequest, code: str, format_name: str) -> PlainResponse:  # type: ignore[override]
        _, files = await self.found(code)
        file = next((one for one in files if one["format"] == format_name), None)
        if file is None:
            raise NotFound(f"Statement {code!r} has no file {format_name!r}.")
        return await self.content(file)


def _file_object(file: dict[str, Any]) -> dict[str, Any]:
    names = ("id", "month", "format", "name", "bytes", "sha256", "made_at")
    return {
        "object": "report_file",
        **{name: file[name] for name in names},
        "url": f"/v1/reports/files/{file['id']}",
    }


def _statement_object(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "object": "statement",
        "id": row["code"],
        **{name: value for name, value in row.items() if name not in ("id", "code")},
    }
