"""The ORM inside one tenant's wall: for pages that strangers to each other use.

Invariant: inside, the connection has the rights of `purser_portal`: row-level security shows it the rows of one tenant, whatever
a query asks for, and the books can be read and not written. Outside of the block it is what it was. Where the owner of the
database could not make the role (`purser.W001`), the queries' own filters are the only wall.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from django.db import connection, transaction

from tenants.rls import TENANT_SETTING

PORTAL_ROLE: Final = "purser_portal"
LONGEST_STATEMENT: Final = "30s"  # of a page

ONE_STATE: Final = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"
ENTER: Final = f"""
SELECT set_config('{TENANT_SETTING}', %s, true), set_config('statement_timeout', %s, true),
       CASE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = '{PORTAL_ROLE}' AND pg_has_role(session_user, oid, 'MEMBER'))
            THEN set_config('role', '{PORTAL_ROLE}', true) END
"""
LEAVE: Final = f"SELECT set_config('role', 'none', true), set_config('{TENANT_SETTING}', '', true)"


@contextmanager
def inside(tenant_id: int, *, is_report: bool = False) -> Iterator[None]:
    """A transaction that sees one tenant's rows. Commits at its end, rolls back on an exception.

    `is_report`: it only reads, and all its queries see one state of the books, while calls go on being settled.
    """
    is_outermost = not connection.in_atomic_block
    with transaction.atomic():
        with connection.cursor() as cursor:
            if is_report and is_outermost:
                cursor.execute(ONE_STATE)
            cursor.execute(ENTER, [str(int(tenant_id)), LONGEST_STATEMENT])
        yield
        if not connection.needs_rollback:  # rolling back ends the settings, too
            with connection.cursor() as cursor:
                cursor.execute(LEAVE)
