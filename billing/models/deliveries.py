"""Reports that are delivered by themselves: which, when, and where to; and each delivery that came of it.

Invariant: of one occasion (a month's close, a day, a month) a schedule has exactly one delivery (unique constraint). What opens
the receiver's storage is encrypted, and never shown.
"""

from typing import ClassVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils.timezone import now

from billing.models.month_jobs import MonthJob
from tenants.models import Tenant
from tenants.secrets import EncryptedTextField


class ReportSchedule(models.Model):
    """What of a tenant's months, or of all tenants', goes where, and when."""

    is_audited: ClassVar[bool] = True

    class What(models.TextChoices):
        PACK = "pack", "the pack: every format"
        REPORT = "report", "the report"
        STATEMENT = "statement", "the statement"

    class When(models.TextChoices):
        CLOSE = "close", "after each close"
        DAILY = "daily", "every day, of the month that runs"
        MONTHLY = "monthly", "on a day of the month, of the month before"

    class Kind(models.TextChoices):
        EMAIL = "email", "e-mail"
        S3 = "s3", "S3-compatible storage"
        FOLDER = "folder", "folder of this installation"

    tenant = models.ForeignKey(
        Tenant,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="report_schedules",
        help_text="empty: all tenants together, with our margin",
    )
    name = models.CharField(max_length=100)
    what = models.CharField(max_length=9, choices=What, default=What.PACK)
    formats = ArrayField(
        models.CharField(max_length=30), default=list, blank=True, help_text="of a report or a statement"
    )
    when = models.CharField(max_length=7, choices=When, default=When.CLOSE)
    day = models.PositiveSmallIntegerField(null=True, blank=True, help_text="of the month: 1 to 28")
    hour = models.PositiveSmallIntegerField(
        default=6, help_text="0 to 23, in the tenant's time zone; all tenants' in UTC"
    )
    kind = models.CharField(max_length=6, choices=Kind, default=Kind.EMAIL)
    target = models.CharField(
        max_length=300,
        help_text="e-mail addresses, with commas between them; bucket/prefix; or a folder below REPORTS_FOLDER",
    )
    endpoint = models.CharField(
        max_length=300, blank=True, default="", help_text="of the storage; empty: Amazon's own"
    )
    region = models.CharField(max_length=40, blank=True, default="", help_text="such as eu-central-1")
    access_key = EncryptedTextField(blank=True, default="")
    secret_key = EncryptedTextField(blank=True, default="")
    is_active = models.BooleanField(default=True)
    next_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="when its next day or month is due"
    )
    created_at = models.DateTimeField(default=now, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        editable=False,
        on_delete=models.SET_NULL,
        related_name="+",
    )

    class Meta:
        ordering = ("tenant", "name")
        indexes = (
            models.Index(
                fields=("next_at",),
                condition=Q(is_active=True, next_at__isnull=False),
                name="report_schedule_next",
            ),
        )
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "name"), name="report_schedule_name_unique", nulls_distinct=False
            ),
            models.CheckConstraint(
                condition=(Q(when="monthly") & Q(day__gte=1, day__lte=28))
                | (~Q(when="monthly") & Q(day__isnull=True)),
                name="report_schedule_day_of_months",
            ),
            models.CheckConstraint(condition=Q(hour__lte=23), name="report_schedule_hour_of_day"),
            # Without keys of its own a storage would be opened with the machine's.
            models.CheckConstraint(
                condition=~Q(kind="s3") | (~Q(access_key="") & ~Q(secret_key="")),
                name="report_schedule_storage_has_keys",
            ),
        )

    def __str__(self) -> str:
        return f"{self.name} ({self.get_kind_display()})"


class ReportDelivery(models.Model):
    """The files of one occasion on their way to one place."""

    class State(models.TextChoices):
        WAITING = "waiting", "its files are being made"
        PENDING = "pending", "to be sent"
        DELIVERED = "delivered", "delivered"
        DEAD = "dead", "given up"

    schedule = models.ForeignKey(ReportSchedule, on_delete=models.CASCADE, related_name="deliveries")
    tenant = models.ForeignKey(Tenant, null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    occasion = models.CharField(
        max_length=30, help_text="such as 2026-10-closed: the last folder of its files"
    )
    month = models.CharField(max_length=7, help_text="YYYY-MM")
    state = models.CharField(max_length=9, choices=State, default=State.WAITING)
    job = models.ForeignKey(
        MonthJob,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="makes its files",
    )
    attempts = models.PositiveSmallIntegerField(default=0)
    next_try_at = models.DateTimeField(default=now)
    files = models.JSONField(default=list, blank=True, help_text="what was sent: name, bytes, sha256, place")
    place = models.CharField(max_length=500, blank=True, default="", help_text="where it went")
    last_error = models.CharField(max_length=500, blank=True, default="")
    created_at = models.DateTimeField(default=now, editable=False)
    delivered_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "report deliveries"
        ordering = ("-created_at", "-pk")
        indexes = (
            models.Index(
                fields=("next_try_at",),
                condition=Q(state__in=("waiting", "pending")),
                name="report_delivery_open",
            ),
        )
        constraints = (
            # each occasion is delivered once, whoever finds first that it is due
            models.UniqueConstraint(fields=("schedule", "occasion"), name="report_delivery_once"),
            models.CheckConstraint(
                condition=Q(state="delivered", delivered_at__isnull=False)
                | (~Q(state="delivered") & Q(delivered_at=None)),
                name="report_delivery_has_its_time",
            ),
        )

    def __str__(self) -> str:
        return f"{self.schedule.name}, {self.occasion}"
