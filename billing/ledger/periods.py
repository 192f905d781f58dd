"""The period of a tenant that a moment belongs to. What periods are, and how they are made: billing/functions/periods.sql."""

from datetime import datetime

from django.db import connection

from billing.models import BillingPeriod
from tenants.models import Tenant


def period_at(tenant: Tenant, *, at: datetime) -> BillingPeriod:
    """The tenant's period that contains a moment, made if it is not there."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT billing_period_at(%s, %s)", (tenant.pk, at))
        return BillingPeriod.objects.get(pk=cursor.fetchone()[0])
