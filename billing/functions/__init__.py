"""The database functions that move money. Money moves here and nowhere else: each is one call and one transaction for
a whole group of requests.

They run as the owner, because purser_app may not write a table of money, and a group holds calls of several tenants;
every row names its own. Locks are taken in one order (attempts by id, periods by id, windows by id), so that groups
cannot deadlock; the windows last, because everybody wants them. Plans are made once and kept, because planning takes
longer than running; they may be from the day the tables were empty, so the planner is told to use indexes.

Invariant: a function is defined once, in a file here, and a file may be run again. Whoever changes one adds a
migration whose operations are `define()`, which brings every database to what stands here.
"""

from pathlib import Path

from django.db.migrations import RunSQL
from django.db.migrations.operations.base import Operation

from tenants.rls import GrantApp

FILES = ("gates", "periods", "windows", "admission", "settlement", "booking", "alerts")
# What the gateway may call. The others are their parts, for the owner only.
FOR_THE_GATEWAY = (
    "billing_balances(bigint, bigint[], text[], timestamptz[])",
    "billing_ensure_windows(bigint[], text[], timestamptz[], timestamptz[], int)",
    "billing_admit(jsonb, bigint[], int[], int[], numeric[], boolean)",
    "billing_admit_in_shards(jsonb, bigint[], int[], int[], numeric[])",
    "billing_extend(uuid[], numeric[], bigint[])",
    "billing_settle(uuid[], text[], numeric[], bigint[], jsonb, jsonb)",
    "billing_void(uuid[], text[])",
    "billing_record_hits(jsonb, bigint[])",
    "billing_progress(uuid[], text[], timestamptz)",
    "billing_mark_sent(uuid[], timestamptz)",
)
FOR_THE_OWNER = (
    "billing_period_at(bigint, timestamptz)",
    "billing_periods_at(bigint[], timestamptz[])",
    "billing_open_period_after(bigint, timestamptz)",
    "billing_entry_period(bigint, timestamptz)",
    "billing_window_start(bigint, text, timestamptz)",
    "billing_window_states(bigint[])",
    "billing_describe_windows(bigint[])",
    "billing_window_rooms(bigint[], boolean)",
    "billing_all_shards(bigint[])",
    "billing_lock_all_shards(bigint[])",
    "billing_part_room(bigint[])",
    "billing_decide(bigint[], int[], int[], numeric[], boolean, int[])",
    "billing_correct_estimates(uuid[], int[], bigint[], numeric[], bigint[], jsonb, jsonb)",
    "billing_lock_rerating(bigint)",
    "billing_apply_rerating(bigint)",
    "billing_book_entry(uuid, bigint, text, numeric, text, text, text)",
    "billing_book_invoice_difference(uuid, bigint, timestamptz, numeric, numeric, text, text, text, jsonb)",
    "billing_alert_budgets(bigint[], numeric[])",
    "billing_alert_requests(uuid[], int[], bigint[], numeric[], jsonb)",
    "billing_alert_shards()",
)


def define() -> list[Operation]:
    """The operations of a migration that gives a database these functions, whichever it had before."""
    return [
        *[RunSQL(sql_of(name), RunSQL.noop) for name in FILES],
        *[
            RunSQL(f"REVOKE ALL ON FUNCTION {name} FROM PUBLIC", RunSQL.noop)
            for name in FOR_THE_GATEWAY + FOR_THE_OWNER
        ],
        *[GrantApp(name, "EXECUTE", "FUNCTION") for name in FOR_THE_GATEWAY],
    ]


def sql_of(name: str) -> str:
    """The text of one file."""
    return (Path(__file__).parent / f"{name}.sql").read_text()
