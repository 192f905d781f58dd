"""The table of the audit log.

Invariant: the database refuses to change an entry, and to delete one before its time (`functions/audit.sql`). It holds no
secret: a field that holds one is shown as changed, no more.
"""

from django.conf import settings
from django.db import models
from django.utils.timezone import now

from tenants.models.tenants import Tenant


class AuditEntry(models.Model):
    """Who did what, when, from where and why. It names what it is about, because that may be gone by then."""

    at = models.DateTimeField(default=now, verbose_name="when")
    # no constraints: an entry outlives what it names
    tenant = models.ForeignKey(
        Tenant, on_delete=models.DO_NOTHING, db_constraint=False, null=True, related_name="+", db_index=False
    )
    person = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        null=True,
        related_name="+",
        db_index=False,
    )
    name = models.CharField(max_length=150, blank=True, default="", help_text="of the person, as it was then")
    address = models.CharField(max_length=45, blank=True, default="")
    verb = models.CharField(max_length=60)
    object_type = models.CharField(max_length=60, blank=True, default="")
    object_id = models.CharField(max_length=64, blank=True, default="")
    object_name = models.CharField(max_length=200, blank=True, default="")
    changes = models.JSONField(default=dict, help_text="of each field, the value before and after")
    reason = models.CharField(max_length=200, blank=True, default="")

    class Meta:
        ordering = ("-pk",)
        verbose_name_plural = "audit entries"
        indexes = (
            models.Index(fields=("tenant", "-id"), name="audit_tenant"),
            models.Index(fields=("person", "-id"), name="audit_person"),
            models.Index(fields=("object_type", "object_id", "-id"), name="audit_object"),
            models.Index(fields=("at",), name="audit_at"),
        )

    def __str__(self) -> str:
        return f"{self.name or 'the product'} {self.verb} {self.object_name}".strip()
