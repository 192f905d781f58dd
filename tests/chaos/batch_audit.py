"""After the destruction: the provider's log of batches, the ledger, the tables and the output files, line by line.

Invariant: reads only. Whatever it finds wrong is a sentence in `faults`; none means that every line was submitted once, settled
once, is in exactly one of its batch's files, and that nothing is held.
"""

import json
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import psycopg
from psycopg.rows import namedtuple_row

from tests.chaos.batch_load import BatchLoad
from tests.chaos.harness import Site

OPEN_WORK = """
SELECT (SELECT count(*) FROM llm_batch WHERE status NOT IN ('completed', 'failed', 'expired', 'cancelled')) AS batches,
       (SELECT count(*) FROM llm_deferredjob WHERE status IN ('accepting', 'queued', 'running')) AS jobs
"""
ITEMS = """
SELECT i.request_id::text, i.custom_id, i.status, i.cost_usd, b.public_id AS batch, b.status AS batch_status,
       b.input_file_id IS NULL AS is_gathered
FROM llm_batchitem i JOIN llm_batch b ON b.id = i.batch_id
"""
JOBS = "SELECT public_id, request_id::text, status, lane, cost_usd, error FROM llm_deferredjob"
RECORDS = """
SELECT request_id::text, usage_source, upstream_id, billed_cost, processing, reason, input_tokens, cache_read_tokens,
       cache_write_tokens, output_tokens
FROM billing_usagerecord
"""
OPEN_ATTEMPTS = "SELECT id, state, request_id FROM billing_attempt WHERE state IN ('held', 'sent')"
WINDOWS = """
SELECT b.scope, b.unit, sum(w.held) AS held, sum(w.spent) AS spent
FROM billing_budget b LEFT JOIN billing_budgetwindow w ON w.budget_id = b.id GROUP BY b.id
"""


@dataclass
class BatchAudit:
    """What was compared, and what is wrong."""

    batches: Counter[str] = field(default_factory=Counter)
    lines: Counter[str] = field(default_factory=Counter)
    jobs: Counter[str] = field(default_factory=Counter)
    batch_calls: int = 0
    online_calls: int = 0
    records: int = 0
    estimated: Counter[str] = field(default_factory=Counter)
    rows_of_files: int = 0
    billed_usd: Decimal = Decimal(0)
    faults: list[str] = field(default_factory=list)


def open_work(site: Site) -> tuple[int, int]:
    """How many batches and deferred calls are not over yet."""
    with psycopg.connect(site.postgres.url, row_factory=namedtuple_row) as connection:
        row = connection.execute(OPEN_WORK).fetchone()
    assert row
    return row.batches, row.jobs


def read_files(load: BatchLoad) -> dict[str, list[dict[str, Any]]]:
    """The rows of the output and error files of each batch that a client knows, through the official SDKs."""
    found: dict[str, list[dict[str, Any]]] = {}
    client = load.openai()
    for batch_id in load.batches:
        batch = client.batches.retrieve(batch_id)
        files = [
            client.files.content(one).read() for one in (batch.output_file_id, batch.error_file_id) if one
        ]
        found[batch_id] = [json.loads(row) for file in files for row in file.splitlines()]
    messages = load.anthropic().messages  # kept: a client that is gone closes what it reads
    for batch_id in load.message_batches:
        found[batch_id] = [result.model_dump() for result in messages.batches.results(batch_id)]
    return found


def audit(site: Site, load: BatchLoad, files: dict[str, list[dict[str, Any]]]) -> BatchAudit:
    """Compare everything. The site is at rest."""
    calls = [json.loads(line) for line in site.call_log.read_text().splitlines()]
    calls = [call for call in calls if call["billed"]]
    with psycopg.connect(site.postgres.url, row_factory=namedtuple_row) as connection:
        items = connection.execute(ITEMS).fetchall()
        jobs = connection.execute(JOBS).fetchall()
        records = connection.execute(RECORDS).fetchall()
        still_open = connection.execute(OPEN_ATTEMPTS).fetchall()
        windows = connection.execute(WINDOWS).fetchall()
    found = BatchAudit(
        batches=Counter({row.batch: row.batch_status for row in items}.values()),
        lines=Counter(row.status for row in items),
        jobs=Counter(f"{row.status}, {row.lane}" for row in jobs),
        batch_calls=sum(call["processing"] == "batch" for call in calls),
        online_calls=sum(call["processing"] != "batch" for call in calls),
        records=len(records),
        estimated=Counter(row.reason for row in records if row.usage_source != "provider"),
        rows_of_files=sum(map(len, files.values())),
        billed_usd=sum((row.billed_cost for row in records), Decimal(0)),
    )
    _check_calls(found, calls, records)
    _check_lines(found, calls, items, records)
    _check_jobs(found, load, jobs, records)
    _check_files(found, load, items, files)
    found.faults += [f"still open: {attempt}" for attempt in still_open]
    tokens = sum(
        row.input_tokens + row.cache_read_tokens + row.cache_write_tokens + row.output_tokens
        for row in records
    )
    spent = {"usd": found.billed_usd, "tokens": tokens, "requests": len(records)}
    for window in windows:
        if window.held or window.spent != spent[window.unit]:
            found.faults.append(f"the ledger says {spent[window.unit]}, the budget {window}")
    return found


def _check_calls(found: BatchAudit, calls: list[Any], records: list[Any]) -> None:
    """Each call that the provider billed is one row of the ledger; a lost online call may be an estimate."""
    by_upstream = Counter(row.upstream_id for row in records if row.usage_source == "provider")
    found.faults += [f"two rows for one call: {name}" for name, count in by_upstream.items() if count > 1]
    unbooked = 0
    for call in calls:
        if not {call["request_id"], call["upstream_id"]} & set(by_upstream):
            unbooked += call["processing"] != "batch"
            if call["processing"] == "batch":
                found.faults.append(f"a line that nobody booked: {call['custom_id']}")
    if unbooked > found.estimated.total():
        found.faults.append(f"{unbooked} online calls are not booked, and {found.estimated} are estimates")
    known = {call[name] for call in calls for name in ("request_id", "upstream_id")}
    found.faults += [f"the provider does not know {name}" for name in by_upstream if name not in known]


def _check_lines(found: BatchAudit, calls: list[Any], items: list[Any], records: list[Any]) -> None:
    """Each line was run once at the provider and is one row of the ledger, if it was answered."""
    runs = Counter(call["custom_id"] for call in calls if call["processing"] == "batch")
    booked = Counter(row.request_id for row in records if row.processing == "batch")
    for item in items:
        wanted = 1 if item.status == "completed" else 0
        if (runs[item.request_id], booked[item.request_id]) != (wanted, wanted):
            found.faults.append(f"{item} ran {runs[item.request_id]} times, booked {booked[item.request_id]}")
        if item.status not in ("completed", "failed", "expired", "cancelled"):
            found.faults.append(f"never ended: {item}")
    names = {item.request_id for item in items}
    found.faults += [f"a line of nobody ran: {name}" for name in runs if name not in names]


def _check_jobs(found: BatchAudit, load: BatchLoad, jobs: list[Any], records: list[Any]) -> None:
    """Each deferred call that a client knows has ended, and cost what the ledger says."""
    costs: Counter[str] = Counter()
    for row in records:
        costs[row.request_id] += row.billed_cost
    known = {job.public_id: job for job in jobs}
    found.faults += [f"a deferred call is lost: {job_id}" for job_id in load.jobs if job_id not in known]
    for job in jobs:
        if job.status not in ("completed", "failed") or job.cost_usd != costs[job.request_id]:
            found.faults.append(f"{job} cost {costs[job.request_id]}")
        if job.status == "failed" and not found.estimated:
            found.faults.append(f"failed though nothing was lost: {job}")


def _check_files(
    found: BatchAudit, load: BatchLoad, items: list[Any], files: dict[str, list[dict[str, Any]]]
) -> None:
    """Each line is in exactly one of its batch's files, once."""
    lines: dict[str, Counter[str]] = {}
    for item in items:
        if not item.is_gathered:
            lines.setdefault(item.batch, Counter())[item.custom_id] += 1
    for batch_id in (*load.batches, *load.message_batches):
        if batch_id not in lines:
            found.faults.append(f"a batch is lost: {batch_id}")
        elif Counter(row["custom_id"] for row in files[batch_id]) != lines[batch_id]:
            found.faults.append(f"the files of {batch_id} have other lines")
