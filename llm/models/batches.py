"""Files and batches: calls that may take a day, at half the price.

Invariant: every line of a batch is one BatchItem with one attempt of its own, held before it is submitted; a
line belongs to one BatchJob, and a job is submitted to its provider once.
"""

from django.db import models

from tenants.models import Tenant


class StoredFile(models.Model):
    """A file a tenant uploaded, or one that a batch produced."""

    public_id = models.CharField(max_length=64, unique=True)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+")
    key_id = models.BigIntegerField()
    purpose = models.CharField(max_length=32)
    filename = models.CharField(max_length=255)
    bytes = models.BigIntegerField()
    content = models.BinaryField()
    created_at = models.DateTimeField()
    deleted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]
        indexes = [models.Index(fields=["tenant", "-created_at"], name="storedfile_tenant_created")]

    def __str__(self) -> str:
        return f"{self.public_id} {self.filename}"


class Batch(models.Model):
    """A batch as its client sees it; it may run as several jobs at several providers."""

    class Status(models.TextChoices):
        VALIDATING = "validating"
        FAILED = "failed"
        IN_PROGRESS = "in_progress"
        FINALIZING = "finalizing"
        COMPLETED = "completed"
        EXPIRED = "expired"
        CANCELLING = "cancelling"
        CANCELLED = "cancelled"

    public_id = models.CharField(max_length=64, unique=True)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+")
    key_id = models.BigIntegerField()
    user = models.CharField(max_length=200, blank=True, default="")
    feature = models.CharField(max_length=200, blank=True, default="")
    endpoint = models.CharField(max_length=64)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.VALIDATING)
    input_file = models.ForeignKey(
        StoredFile,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        help_text="None: it was gathered of deferred calls, and no client sees it.",
    )
    output_file = models.ForeignKey(
        StoredFile, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    error_file = models.ForeignKey(
        StoredFile, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    line_count = models.PositiveIntegerField(default=0)
    errors = models.JSONField(default=list, blank=True)
    metadata = models.JSONField(null=True, blank=True)
    tags = models.JSONField(default=dict, blank=True)
    completion_window = models.CharField(max_length=8, default="24h")
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    in_progress_at = models.DateTimeField(null=True, blank=True)
    finalizing_at = models.DateTimeField(null=True, blank=True)
    completed_at = models.DateTimeField(null=True, blank=True)
    failed_at = models.DateTimeField(null=True, blank=True)
    cancelling_at = models.DateTimeField(null=True, blank=True)
    cancelled_at = models.DateTimeField(null=True, blank=True)
    deleted_at = models.DateTimeField(null=True, blank=True)
    expired_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]
        verbose_name_plural = "batches"
        indexes = [
            models.Index(fields=["tenant", "-created_at"], name="batch_tenant_created"),
            # the driver looks for what is not finished, every few seconds
            models.Index(
                fields=["status"],
                condition=models.Q(status__in=["validating", "in_progress", "finalizing", "cancelling"]),
                name="batch_unfinished",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.public_id} ({self.status})"

    @property
    def is_gathered(self) -> bool:
        """Whether it was made of deferred calls."""
        return self.input_file_id is None


class BatchJob(models.Model):
    """The lines of a batch that go to one model, as one batch of their own at its provider.

    `submitting` is committed before the provider is asked, so that a lost answer is looked up and not asked
    again.
    """

    class State(models.TextChoices):
        NEW = "new"
        SUBMITTING = "submitting"
        SUBMITTED = "submitted"
        FINISHED = "finished"

    public_id = models.CharField(
        max_length=64, unique=True, help_text="Our name for it in the provider's metadata."
    )
    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, related_name="jobs")
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+")
    provider = models.CharField(max_length=64)
    model = models.CharField(max_length=128)
    state = models.CharField(max_length=16, choices=State.choices, default=State.NEW)
    upstream_file_id = models.CharField(max_length=200, blank=True, default="")
    upstream_id = models.CharField(max_length=200, blank=True, default="")
    upstream_status = models.CharField(max_length=32, blank=True, default="")
    submitting_at = models.DateTimeField(null=True, blank=True)
    submitted_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    cancel_asked_at = models.DateTimeField(null=True, blank=True)
    next_look_at = models.DateTimeField(
        null=True, blank=True, help_text="Not before then is the provider asked again."
    )
    failures = models.PositiveIntegerField(default=0, help_text="Calls to the provider that failed in a row.")
    last_error = models.CharField(max_length=1000, blank=True, default="")

    class Meta:
        ordering = ["batch", "pk"]
        constraints = [
            models.UniqueConstraint(fields=["batch", "provider", "model"], name="batchjob_one_per_model")
        ]

    def __str__(self) -> str:
        return f"{self.public_id} ({self.state})"


class BatchItem(models.Model):
    """One line of a batch: its request, its attempt, and what came back."""

    class Status(models.TextChoices):
        PENDING = "pending"
        HELD = "held"
        SUBMITTED = "submitted"
        COMPLETED = "completed"
        FAILED = "failed"
        CANCELLED = "cancelled"
        EXPIRED = "expired"

    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, related_name="items")
    job = models.ForeignKey(BatchJob, on_delete=models.SET_NULL, null=True, blank=True, related_name="items")
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+")
    line = models.PositiveIntegerField()
    custom_id = models.CharField(max_length=512)
    attempt_id = models.UUIDField(unique=True)
    request_id = models.UUIDField(unique=True, help_text="Also the line's name at the provider.")
    model = models.CharField(max_length=128)
    provider = models.CharField(max_length=64)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.PENDING)
    body = models.JSONField()
    response = models.JSONField(null=True, blank=True)
    error = models.JSONField(null=True, blank=True)
    input_tokens = models.PositiveIntegerField(default=0)
    output_tokens = models.PositiveIntegerField(default=0)
    cost_usd = models.DecimalField(max_digits=28, decimal_places=12, default=0)
    list_cost_usd = models.DecimalField(
        max_digits=28, decimal_places=12, default=0, help_text="The list price of the same tokens online."
    )
    settled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["batch", "line"]
        constraints = [
            models.UniqueConstraint(fields=["batch", "line"], name="batchitem_one_per_line"),
            models.UniqueConstraint(fields=["batch", "custom_id"], name="batchitem_custom_id_unique"),
        ]

    def __str__(self) -> str:
        return f"{self.custom_id} ({self.status})"
