"""The chat completions that a client asked to have stored.

Invariant: the texts belong to the tenant they were given to; an id means one answer. Kept for 30 days, or until its
tenant deletes it.
"""

from django.db import models
from django.utils.timezone import now

from tenants.models import Tenant


class StoredChat(models.Model):
    """One chat completion, with what was asked."""

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+", db_index=False)
    public_id = models.CharField(max_length=128, help_text="as the client knows it")
    model = models.TextField(help_text="as it was asked for")
    asked = models.BinaryField(help_text="the messages that were sent, as JSON")
    answer = models.BinaryField(help_text="the answer as it was sent, as JSON")
    metadata = models.JSONField(default=dict)
    created_at = models.DateTimeField(default=now)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["created_at"], name="storedchat_age")]
        constraints = [
            # one id for two answers would show one person's text as another's
            models.UniqueConstraint(fields=["tenant", "public_id"], name="storedchat_once"),
        ]

    def __str__(self) -> str:
        return self.public_id
