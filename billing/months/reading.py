"""Settings with which PostgreSQL reads a whole month.

Invariant: they last for the transaction only. Months are joined partition by partition, so that a month of one year costs the
same when there are ten years of them. Rows are grouped by hashes: sorting them by a dozen texts, which the planner takes for
cheap, takes five times as long; what has to be in an order is sorted all the same. It is work of the background: it takes one
core.
"""

from django.db import connection

SETTINGS = """
SET LOCAL work_mem = '64MB'; SET LOCAL hash_mem_multiplier = 4; SET LOCAL enable_sort = off;
SET LOCAL enable_partitionwise_join = on; SET LOCAL jit = off; SET LOCAL max_parallel_workers_per_gather = 0
"""


def prepare() -> None:
    """Needs a transaction."""
    with connection.cursor() as cursor:
        cursor.execute(SETTINGS)
