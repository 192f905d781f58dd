"""Work on a month that takes long: making its files, closing it.

Invariant: of a kind, a tenant has one job for a month at a time that is not over. A job is its worker's until its lease ends;
then another one goes on with it, and makes no file that is there again.
"""

import uuid

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q, Value
from django.db.models.functions import Coalesce
from django.utils.timezone import now

from tenants.models import Tenant


class MonthJob(models.Model):
    """What is to be done of a month, and how far it is."""

    class Kind(models.TextChoices):
        REPORT = "report", "files of a month"
        CLOSE = "close", "closing"

    class State(models.TextChoices):
        QUEUED = "queued", "queued"
        RUNNING = "running", "running"
        DONE = "done", "done"
        FAILED = "failed", "failed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=6, choices=Kind)
    tenant = models.ForeignKey(
        Tenant,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="+",
        help_text="whose month; empty: all tenants'",
    )
    month = models.CharField(max_length=7, help_text="YYYY-MM")
    formats = ArrayField(models.CharField(max_length=30), default=list, blank=True)
    state = models.CharField(max_length=7, choices=State, default=State.QUEUED)
    step = models.CharField(max_length=100, blank=True, default="", help_text="what is done now")
    done = models.BigIntegerField(default=0, help_text="lines that are written")
    total = models.BigIntegerField(default=0, help_text="of so many; 0: not known yet")
    error = models.CharField(max_length=500, blank=True, default="")
    tries = models.SmallIntegerField(default=0)
    asked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    key_id = models.BigIntegerField(null=True, blank=True, help_text="the API key that asked")
    reason = models.CharField(
        max_length=300, blank=True, default="", help_text="why it is closed before its time"
    )
    made_at = models.DateTimeField(null=True, blank=True, help_text="what its files say that they are of")
    fingerprint = models.CharField(
        max_length=64, blank=True, default="", help_text="of the sums that they have"
    )
    worker = models.UUIDField(null=True, blank=True)
    leased_until = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=now, editable=False)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-created_at",)
        indexes = (
            models.Index(
                fields=("created_at",), condition=Q(state__in=("queued", "running")), name="month_job_open"
            ),
            models.Index(fields=("tenant", "month", "-created_at"), name="month_job_of_month"),
        )
        constraints = (
            models.UniqueConstraint(
                Coalesce(F("tenant"), Value(0)),
                F("month"),
                F("kind"),
                condition=Q(state__in=("queued", "running")),
                name="month_job_one_at_a_time",
            ),
            # somebody works on it: until then
            models.CheckConstraint(
                condition=Q(state="running", worker__isnull=False, leased_until__isnull=False)
                | (~Q(state="running") & Q(worker=None, leased_until=None)),
                name="month_job_leased_while_running",
            ),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.month} ({self.state})"


class MonthFile(models.Model):
    """A file of a report job, in the storage of files."""

    job = models.ForeignKey(MonthJob, on_delete=models.CASCADE, related_name="files")
    tenant = models.ForeignKey(Tenant, null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    format = models.CharField(max_length=30)
    name = models.CharField(max_length=200)
    content_type = models.CharField(max_length=100)
    sha256 = models.CharField(max_length=64)
    size_bytes = models.BigIntegerField()
    location = models.CharField(max_length=200, help_text="in the storage of files")

    class Meta:
        ordering = ("job", "name")
        constraints = (models.UniqueConstraint(fields=("job", "name"), name="month_file_unique"),)

    def __str__(self) -> str:
        return self.name
