"""The small sums of days whose rows a test has written itself."""

from django.db import connection

from billing.ledger import rollups
from billing.models import UsageDaily
from tenants.models import Tenant


def sum_days(tenant: Tenant) -> None:
    """Sum each of a tenant's days along each dimension, as a rebuild does after it has summed the ledger."""
    with connection.cursor() as cursor:
        for day in set(UsageDaily.objects.filter(tenant=tenant).values_list("day", flat=True)):
            for statement in (rollups.CLEAR_SUMS, rollups.REBUILD_SUMS, rollups.SUM_SAVINGS):
                cursor.execute(statement, {"tenant": tenant.pk, "day": day})
