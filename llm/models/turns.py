"""Whose batches were worked on last, so that tenants take turns."""

from django.db import models

from tenants.models import Tenant


class BatchTurn(models.Model):
    """A tenant's last turn: when it began, and with which batch, so that the next turn is another one's."""

    tenant = models.OneToOneField(Tenant, on_delete=models.CASCADE, primary_key=True, related_name="+")
    at = models.DateTimeField()
    batch_id = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.tenant_id} at {self.at}"
