"""The answers that are kept for a client's `idempotency-key`.

Invariant: one row for an API key, an endpoint and an idempotency key; it is work in progress, or its
result. Kept for a day.
"""

from django.db import models
from django.utils.timezone import now

from tenants.models import Tenant


class IdempotentCall(models.Model):
    """The first call with an idempotency key, and its answer once there is one."""

    class State(models.TextChoices):
        IN_PROGRESS = "in_progress", "in progress"
        DONE = "done", "done"

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+", db_index=False)
    key_id = models.BigIntegerField(help_text="the API key that asked")
    endpoint = models.CharField(max_length=64)
    key = models.CharField(max_length=255, help_text="the header's value")
    digest = models.BinaryField(help_text="SHA-256 of the end user and the body, its fields in order")
    request_id = models.UUIDField(help_text="whose work this is: attempts and ledger rows have it too")
    state = models.CharField(max_length=11, choices=State, default=State.IN_PROGRESS)
    leased_until = models.DateTimeField(help_text="while in progress: its worker lives until then at least")
    created_at = models.DateTimeField(default=now)
    is_stream = models.BooleanField(default=False)
    headers = models.JSONField(default=dict)
    content = models.BinaryField(null=True, help_text="the answer's bytes, a stream's as they were sent")
    error = models.JSONField(null=True, help_text="of a call that cost something and has no answer")

    class Meta:
        ordering = ["-created_at"]
        indexes = [models.Index(fields=["created_at"], name="idempotentcall_age")]
        constraints = [
            # two rows would be two charges
            models.UniqueConstraint(
                fields=["tenant", "key_id", "endpoint", "key"], name="idempotentcall_once"
            ),
            models.CheckConstraint(
                condition=~models.Q(state="done") | ~models.Q(content=None, error=None),
                name="idempotentcall_done_has_outcome",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.endpoint} {self.request_id} ({self.state})"
