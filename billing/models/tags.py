"""What callers say of whose cost their calls are.

Invariant: written by the functions of billing/functions/tags.sql alone, which keep the bounds.
"""

from django.db import models
from django.utils.timezone import now

from tenants.models import Tenant


class TagValue(models.Model):
    """A value of a tag that callers of a tenant may bring along in a month (UTC)."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="+", db_index=False)
    month = models.CharField(max_length=7)
    name = models.CharField(max_length=200)
    value = models.CharField(max_length=200)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("tenant", "month", "name", "value"), name="tag_value_once"),
        )

    def __str__(self) -> str:
        return f"{self.name}={self.value}"


class RunTags(models.Model):
    """The tags of a run or session: whose it is, as of an envelope."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="+", db_index=False)
    owner = models.CharField(max_length=220)
    user = models.CharField(max_length=200, blank=True, default="")
    run = models.CharField(max_length=200)
    tags = models.JSONField()
    set_at = models.DateTimeField(default=now)
    expires_at = models.DateTimeField()

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("tenant", "owner", "user", "run"), name="run_tags_once"),
        )

    def __str__(self) -> str:
        return f"tags of {self.run}"
