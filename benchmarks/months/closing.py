"""`make bench-closing`: what closing a month takes, step by step.

The month (`ledger.py`) is closed as the product closes it: the digest over every row, the statement, its lines. Then its chain is
verified, which reads all of it again. The files of the report follow a close in the background: `make bench-reports` measures
them.

    make bench-closing           ROWS=1000000 USERS=100000 by default
"""

from datetime import timedelta
from typing import Any

from benchmarks import results_file
from benchmarks.months.ledger import ROWS, USERS, booked_month, measured
from benchmarks.own_servers import own_postgres

TARGET_CPU_SECONDS = 60


def main() -> None:
    machine = results_file.machine()
    with own_postgres():
        figures = _measure()
    path = results_file.write("closing", {"machine": machine, "rows": ROWS, "users": USERS, **figures})
    cpu = figures["close"]["cpu_seconds"] + figures["close"]["postgres_cpu_seconds"]
    within = "within" if cpu <= TARGET_CPU_SECONDS else "NOT within"
    print(
        f"{within} {TARGET_CPU_SECONDS} s of CPU: {cpu:.1f}; written to {path.relative_to(path.parents[2])}"
    )


def _measure() -> dict[str, Any]:
    from billing.models import StatementFile
    from billing.months import closing
    from billing.months.statements import first_break

    tenant, period = booked_month()
    steps = _Steps()
    with measured("closing") as close:
        closing.begin(period, grace=timedelta(0))
        statement = closing.issue(period, watcher=steps)
        steps.told("")
    close["peak_mib"] = max(one["peak_mib"] for one in steps.taken.values())
    with measured("verifying") as verify:
        broken = first_break(tenant)
    if statement.record_count != ROWS or broken is not None:
        raise SystemExit(f"the books are not exact: {statement.record_count} rows, {broken}")
    return {
        "close": close,
        "verify": verify,
        "steps": steps.taken,
        "statement_lines": statement.lines.count(),
        "statement_bytes": StatementFile.objects.get(statement=statement).size_bytes,
    }


class _Steps:
    """What each step of a close takes."""

    def __init__(self) -> None:
        self.taken: dict[str, dict[str, float]] = {}
        self._open: Any = None

    def told(self, step: str) -> None:
        if self._open is not None:
            self._open.__exit__(None, None, None)
        self._open = measured(f"  {step}") if step else None
        if self._open is not None:
            self.taken[step] = self._open.__enter__()

    def watched(self, label: str, report: Any) -> Any:
        return report

    def end(self) -> None:
        pass


if __name__ == "__main__":
    main()
