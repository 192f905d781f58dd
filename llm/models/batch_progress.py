"""How far batches are: what the operators' pages and alerts look at, instead of a batch's lines.

Invariant: derived from the lines, the jobs and the ledger, and written by `llm.batches.watching` alone: it may be behind by
some seconds, and losing a row loses nothing but the knowledge of which alerts went out.
"""

from django.db import models

from llm.models.batches import Batch, BatchItem
from tenants.models import Tenant

_S = BatchItem.Status
FAILED = (_S.FAILED, _S.EXPIRED)


class BatchProgress(models.Model):
    """The counts of one batch, since when they are the same, and whom that was told."""

    batch = models.OneToOneField(Batch, on_delete=models.CASCADE, primary_key=True, related_name="progress")
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+")
    batch_status = models.CharField(max_length=16)
    lines = models.JSONField(default=dict, help_text="How many lines have each status.")
    jobs = models.JSONField(default=dict, help_text="How many jobs have each state.")
    held_usd = models.DecimalField(max_digits=28, decimal_places=12, default=0)
    cost_usd = models.DecimalField(max_digits=28, decimal_places=12, default=0)
    list_cost_usd = models.DecimalField(max_digits=28, decimal_places=12, default=0)
    counted_at = models.DateTimeField()
    progressed_at = models.DateTimeField(help_text="When the counts were last seen to change.")
    stuck = models.CharField(
        max_length=500, blank=True, default="", help_text="Why it does not go on; empty: it does."
    )
    notified = models.JSONField(default=list, help_text="The alerts that went out about it.")

    class Meta:
        indexes = [
            models.Index(fields=["tenant"], condition=~models.Q(stuck=""), name="batchprogress_stuck"),
        ]

    def __str__(self) -> str:
        return f"{self.batch_id}: {self.answered} answered, {self.failed} failed"

    @property
    def answered(self) -> int:
        return self._lines(_S.COMPLETED)

    @property
    def failed(self) -> int:
        """Lines without an answer that nobody cancelled."""
        return self._lines(*FAILED)

    @property
    def cancelled(self) -> int:
        return self._lines(_S.CANCELLED)

    @property
    def under_way(self) -> int:
        """Lines that a provider works on."""
        return self._lines(_S.SUBMITTED)

    @property
    def counted_lines(self) -> int:
        return sum(self.lines.values())

    def _lines(self, *statuses: str) -> int:
        return sum(int(self.lines.get(status, 0)) for status in statuses)
