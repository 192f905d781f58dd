"""Files and batches: calls that may take a day, at half the price.

Invariant: every line of a batch is one BatchItem that is answered once: from memory, by the equal line that leads it, or by
an attempt of its own, held before it is submitted. An attempt belongs to one BatchJob, and a job is submitted to its provider
once.
"""

from django.db import models
from django.db.models.functions import Cast, Concat

from tenants.models import Tenant


class StoredFile(models.Model):
    """A file a tenant uploaded, or one that a batch produced. Its content is in Django's storage `files`.

    The row is there before the content and until after it, so that nothing in the storage is without one.
    """

    class Status(models.TextChoices):
        ARRIVING = "arriving"  # no client sees it yet
        PROCESSED = "processed"
        ERROR = "error"  # lines of a batch, of which some cannot be sent

    public_id = models.CharField(max_length=64, unique=True)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+")
    key_id = models.BigIntegerField()
    purpose = models.CharField(max_length=32)
    filename = models.CharField(max_length=255)
    bytes = models.BigIntegerField(help_text="While it arrives, what is kept free for it.")
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.PROCESSED)
    location = models.CharField(
        max_length=64,
        blank=True,
        default="",
        help_text="Its name in the storage; empty: it has no content any more.",
    )
    report = models.JSONField(null=True, blank=True, help_text="What its lines are: numbers, models, tokens.")
    problems = models.JSONField(default=list, blank=True, help_text="What is wrong with its lines.")
    created_at = models.DateTimeField()
    deleted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]
        indexes = [
            models.Index(fields=["tenant", "-created_at"], name="storedfile_tenant_created"),
            # uploads that ended halfway, and deleted files whose contents are still there
            models.Index(
                fields=["id"],
                condition=~models.Q(location="") & (models.Q(status="arriving") | ~models.Q(deleted_at=None)),
                name="storedfile_to_sweep",
            ),
        ]
        constraints = [
            # a tenant's file never names another one's content
            models.CheckConstraint(
                condition=models.Q(location="")
                | models.Q(
                    location__startswith=Concat(Cast("tenant", models.CharField()), models.Value("/"))
                ),
                name="storedfile_own_content",
            )
        ]

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
    estimated_cost_usd = models.DecimalField(
        max_digits=28,
        decimal_places=12,
        null=True,
        blank=True,
        help_text="As it was estimated at its creation.",
    )
    estimated_list_cost_usd = models.DecimalField(
        max_digits=28,
        decimal_places=12,
        null=True,
        blank=True,
        help_text="The same lines in real time, at list prices.",
    )
    upper_bound_usd = models.DecimalField(
        max_digits=28, decimal_places=12, null=True, blank=True, help_text="The sum of its lines' holds."
    )
    errors = models.JSONField(default=list, blank=True)
    metadata = models.JSONField(null=True, blank=True)
    tags = models.JSONField(default=dict, blank=True)
    context = models.JSONField(
        default=dict,
        db_default=models.Value({}, models.JSONField()),
        blank=True,
        help_text="What its headers said of all lines: cache, tier, compress, prompt_version, trace.",
    )
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
            models.Index(fields=["-created_at"], name="batch_created"),
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


class Lane(models.TextChoices):
    """The way to an answer that is not in memory: a provider's batch API, or real time where a model has none."""

    BATCH = "batch"
    ONLINE = "online"


class BatchJob(models.Model):
    """Lines of a batch that go to one model at one account, as one batch of their own there, or one by one in real time.

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
    lane = models.CharField(max_length=8, choices=Lane.choices, default=Lane.BATCH)
    line_count = models.PositiveIntegerField(default=0)
    input_tokens = models.PositiveBigIntegerField(
        default=0, help_text="As estimated; what is queued at an account counts against its limit."
    )
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
        indexes = [
            # what is queued at an account
            models.Index(
                fields=["provider", "model"],
                condition=~models.Q(state="finished"),
                name="batchjob_open_at_account",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.public_id} ({self.state})"


class BatchItem(models.Model):
    """One line of a batch: its request, its attempt, and what came back."""

    class Status(models.TextChoices):
        PENDING = "pending"
        PLANNED = "planned"  # its model and its account are chosen
        REMEMBERED = "remembered"  # it has its answer from memory, which is not booked yet
        WAITING = "waiting"  # for the answer of an equal line
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
    attempt_no = models.PositiveSmallIntegerField(default=1, help_text="Of its attempts, this one's number.")
    model = models.CharField(max_length=128)
    provider = models.CharField(max_length=64)
    lane = models.CharField(max_length=8, choices=Lane.choices, default=Lane.BATCH)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.PENDING)
    leader = models.ForeignKey(
        "self",
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="followers",
        help_text="The equal line that is sent for it.",
    )
    exact_key = models.CharField(
        max_length=200,
        blank=True,
        default="",
        help_text="Its answer's name in the exact cache; empty: not kept there.",
    )
    plan = models.JSONField(
        default=dict, blank=True, help_text="How it was routed and compressed, with the steps of its receipt."
    )
    remembered = models.JSONField(
        null=True,
        blank=True,
        help_text="The facts of an answer that serves equal lines, or came from memory.",
    )
    size_tokens = models.PositiveIntegerField(default=0, help_text="Of its input, as estimated.")
    size_bytes = models.PositiveIntegerField(default=0, help_text="As it is sent.")
    body = models.JSONField()
    sent_body = models.JSONField(
        null=True, blank=True, help_text="The body that goes out, where it is shorter."
    )
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
        indexes = [
            models.Index(
                fields=["batch", "exact_key"],
                condition=models.Q(leader=None) & ~models.Q(exact_key=""),
                name="batchitem_leaders",
            ),
            # what a batch still has to do, a chunk at a time
            models.Index(
                fields=["batch", "status", "line"],
                condition=models.Q(settled_at=None),
                name="batchitem_open",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.custom_id} ({self.status})"
