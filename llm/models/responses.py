"""The owners of the responses that a provider keeps.

Invariant: one row for a response, of the tenant whose call made it; written before its client learns that it is
complete. The provider's account is shared, so this row alone says who may continue, read or delete it.
"""

from django.db import models
from django.utils.timezone import now

from tenants.models import Tenant


class KeptItem(models.Model):
    """An id that a provider made in an answer to a tenant: an item, a file, a container, a recording."""

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+", db_index=False)
    item_id = models.CharField(max_length=200)
    provider = models.CharField(max_length=64, help_text="the account that keeps it")
    created_at = models.DateTimeField(default=now)

    class Meta:
        indexes = [models.Index(fields=["created_at"], name="keptitem_age")]
        constraints = [models.UniqueConstraint(fields=["tenant", "item_id"], name="keptitem_once")]

    def __str__(self) -> str:
        return self.item_id


class KeptResponse(models.Model):
    """A response that a provider keeps for a tenant, and how much a call that continues it begins with."""

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+", db_index=False)
    response_id = models.CharField(max_length=200)
    provider = models.CharField(max_length=64, help_text="the account that keeps it")
    model = models.CharField(max_length=128)
    context_tokens = models.BigIntegerField(
        help_text="its input and its output: what a next call begins with"
    )
    created_at = models.DateTimeField(default=now)

    class Meta:
        ordering = ["-created_at"]
        indexes = [models.Index(fields=["created_at"], name="keptresponse_age")]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "response_id"], name="keptresponse_once"),
            # a bound of nothing would let a continued call outgrow its budget
            models.CheckConstraint(condition=models.Q(context_tokens__gte=0), name="keptresponse_bounds"),
        ]

    def __str__(self) -> str:
        return self.response_id
