"""`make bench-batch`: a large batch through the whole product, and what it does to other tenants.

A batch of LINES lines goes through upload, validation, holds, submission, the sandbox, settlement and its output file. Then the
provider's log, the ledger and the file are compared line by line. Fairness: TENANTS others have ten lines each, first alone, then
while the large batch is held and settled; and a few deferred calls in real time, alone and beside a crowd of them.

    make bench-batch              LINES=50000 LINE_BYTES=1000 TENANTS=8 BESIDE_LINES=50000 CROWD=400
"""

import os
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks import results_file
from benchmarks.batches.agreement import compare
from benchmarks.batches.client import Client
from benchmarks.batches.site import Site, running

LINES = int(os.environ.get("LINES", "50000"))
LINE_BYTES = int(os.environ.get("LINE_BYTES", "1000"))
TENANTS = int(os.environ.get("TENANTS", "8"))
BESIDE_LINES = int(
    os.environ.get("BESIDE_LINES", str(LINES))
)  # of the batch beside which the others are measured
CROWD = int(os.environ.get("CROWD", "400"))
FEW = 10
SLOW_MS = 1500
SOON = "within=60s"  # too soon for a batch
TIMELINE = """
SELECT extract(epoch FROM b.in_progress_at - b.created_at), extract(epoch FROM j.submitted - b.in_progress_at),
       extract(epoch FROM i.first - j.submitted), extract(epoch FROM i.last - i.first),
       extract(epoch FROM b.completed_at - b.finalizing_at), extract(epoch FROM b.completed_at - b.created_at)
FROM llm_batch b
CROSS JOIN LATERAL (SELECT max(submitted_at) AS submitted FROM llm_batchjob WHERE batch_id = b.id) j
CROSS JOIN LATERAL (SELECT min(settled_at) AS first, max(settled_at) AS last FROM llm_batchitem WHERE batch_id = b.id) i
WHERE b.public_id = %s
"""
PHASES = ("read and held", "submitted", "run by the provider", "settled", "output file", "in all")


def main() -> None:
    machine = results_file.machine()
    with running(tenants=TENANTS + 1) as site:
        figures = {"large": _large(site), "fairness": _fairness(site), "real_time": _real_time(site)}
    settings = {
        "lines": LINES,
        "line_bytes": LINE_BYTES,
        "tenants": TENANTS,
        "beside_lines": BESIDE_LINES,
        "crowd": CROWD,
    }
    path = results_file.write("batch", {"machine": machine, **settings, **figures})
    print(f"written to {path.relative_to(path.parents[2])}")


def _large(site: Site) -> dict[str, Any]:
    client = Client(site, 0)
    path = client.write("large", lines=LINES, line_bytes=LINE_BYTES)
    batch_id, upload_seconds = client.submit(path)
    batch = client.wait(batch_id, pause_seconds=1)
    began = time.monotonic()
    for _ in client.sdk.files.content(batch.output_file_id).iter_lines():
        pass
    seconds = {"uploaded": upload_seconds, **_timeline(batch_id), "read back": time.monotonic() - began}
    figures = {
        "file_mb": round(path.stat().st_size / 1e6, 1),
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "lines_per_second": {name: round(LINES / value) for name, value in seconds.items() if value > 0.05},
        "peak_mib": site.peak_mib(),
        "agreement": compare(site, client, batch),
    }
    print(f"{LINES:,} lines, {figures['file_mb']} MB")
    for name, value in seconds.items():
        print(f"    {name:24}{value:9.1f} s{LINES / max(value, 0.001):12,.0f} lines/s")
    for name, mib in site.peak_mib().items():
        print(f"    peak of a {name:20}{mib:9.1f} MiB")
    print(f"    agree line by line: {figures['agreement']}")
    return figures


def _fairness(site: Site) -> dict[str, Any]:
    """Ten lines of each of the others, alone and beside the large batch of one."""
    small = [Client(site, number) for number in range(1, TENANTS + 1)]
    files = [one.write(f"alone-{one.tenant}", lines=FEW, line_bytes=100) for one in small]
    alone = [one.seconds_for(file) for one, file in zip(small, files, strict=True)]
    crowd = Client(site, 0)
    batch_id, _ = crowd.submit(crowd.write("crowd", lines=BESIDE_LINES, line_bytes=LINE_BYTES))
    over = threading.Event()
    watcher = threading.Thread(target=lambda: (crowd.wait(batch_id, pause_seconds=1), over.set()))
    watcher.start()
    beside: list[float] = []
    while not over.is_set():
        one = small[len(beside) % len(small)]
        seconds = one.seconds_for(one.write(f"beside-{len(beside)}", lines=FEW, line_bytes=100))
        if not over.is_set():
            beside.append(seconds)
    watcher.join()
    figures = {"alone": _spread(alone), "beside": _spread(beside)}
    _print_spreads(f"{FEW} lines of another tenant, from upload to answers", figures)
    return figures


def _real_time(site: Site) -> dict[str, Any]:
    """A few deferred calls of one tenant that go out in real time, alone and beside a crowd of another's slow ones."""
    crowd, one = Client(site, 0), Client(site, 1)
    crowd.sdk.post(
        f"{site.sandbox_url}/control/faults",
        body={"fault": "slow", "match": {"contains": "crowd"}, "times": -1, "delay_ms": SLOW_MS},
        cast_to=object,
    )
    alone = [_seconds_of_job(one, f"alone {number}") for number in range(FEW)]
    with ThreadPoolExecutor(16) as threads:
        jobs = list(threads.map(lambda number: crowd.defer(f"crowd {number}", urgency=SOON), range(CROWD)))
        beside = []
        while len(beside) < FEW:
            beside.append(_seconds_of_job(one, f"beside {len(beside)}"))
        still_waiting = sum(
            crowd.sdk.get(f"/jobs/{job}", cast_to=object)["status"] != "completed" for job in jobs
        )  # type: ignore[index]
        list(threads.map(crowd.wait_for_job, jobs))
    figures = {"alone": _spread(alone), "beside": _spread(beside), "crowd_still_waiting": still_waiting}
    _print_spreads("a deferred call in real time", figures)
    return figures


def _seconds_of_job(client: Client, text: str) -> float:
    began = time.monotonic()
    job = client.wait_for_job(client.defer(text, urgency=SOON))
    if job["status"] != "completed":
        raise SystemExit(f"a deferred call ended as {job}")
    return time.monotonic() - began


def _timeline(batch_id: str) -> dict[str, float]:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(TIMELINE, [batch_id])
        return dict(zip(PHASES, map(float, cursor.fetchone()), strict=True))


def _spread(seconds: list[float]) -> dict[str, Any]:
    return {
        "count": len(seconds),
        "median_seconds": round(statistics.median(seconds), 2) if seconds else None,
        "most_seconds": round(max(seconds), 2) if seconds else None,
    }


def _print_spreads(title: str, figures: dict[str, Any]) -> None:
    print(title)
    for name in ("alone", "beside"):
        spread = figures[name]
        print(
            f"    {name:10}{spread['count']:5} times, median {spread['median_seconds']} s, most {spread['most_seconds']} s"
        )


if __name__ == "__main__":
    main()
