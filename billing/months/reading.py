"""Settings with which PostgreSQL reads a whole month.

Invariant: they last for the transaction only. Months are joined partition by partition, so that a month of one year costs the
same when there are ten years of them.
"""

from django.db import connection

SETTINGS = "SET LOCAL work_mem = '64MB'; SET LOCAL enable_partitionwise_join = on; SET LOCAL jit = off"


def prepare() -> None:
    """Needs a transaction."""
    with connection.cursor() as cursor:
        cursor.execute(SETTINGS)
