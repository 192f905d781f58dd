"""The ledger's partitions: one a month, made ahead; for rows that come late, last month's as well.

Invariant: a row never waits for its partition. A row in the default one means that this was not
run for months: an error that the operators must see.
"""

from decimal import Decimal

import structlog
from django.db import DatabaseError, connection, transaction
from django.utils.timezone import now

from billing.notices import notify_operators

MONTHS_AHEAD = 3

CREATE = """
SELECT count(*) FILTER (WHERE billing_ensure_partition(
    (now() AT TIME ZONE 'UTC' + make_interval(months => step))::date))
FROM generate_series(-1, %s) AS step
"""
STRAYS = "SELECT count(*) FROM billing_usagerecord_default"

log = structlog.get_logger(__name__)


def ensure_partitions(*, months_ahead: int = MONTHS_AHEAD) -> int:
    """Make the partitions of last month, this month and the months ahead; how many months were new."""
    today = f"{now():%Y-%m-%d}"
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(CREATE, [months_ahead])
            made = int(cursor.fetchone()[0])
    except DatabaseError as error:
        notify_operators(
            "partitions", f"The ledger's partitions could not be made ahead: {error}", window=today
        )
        raise
    with connection.cursor() as cursor:
        cursor.execute(STRAYS)
        strays = int(cursor.fetchone()[0])
    if strays:
        log.error("rows_in_default_partition", rows=strays)
        notify_operators(
            "partitions",
            f"{strays} ledger rows have no month's partition of their own",
            window=today,
            value=Decimal(strays),
        )
    return made
