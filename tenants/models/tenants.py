"""Tables of the gateway's users: tenants, their end users and their API keys.

Invariant: every row except a `Tenant` belongs to exactly one tenant. Only the hash of a key's secret is stored. Status
and keys change through the functions of `tenancy` and `keys.editing`, which write the history.
"""

from django.db import models
from django.db.models import Q
from django.utils.timezone import now
from simple_history.models import HistoricalRecords

from tenants.validation import (
    validate_ip_allow_list,
    validate_key_rights,
    validate_models,
    validate_policy,
    validate_rate_limits,
    validate_tags,
    validate_tags_of_user,
    validate_timezone,
)


def every_model() -> list[str]:
    """The allow-list of a new key: every model."""
    return ["*"]


class Tenant(models.Model):
    """A customer: the owner of keys, budgets, policies and ledger rows."""

    class Status(models.TextChoices):
        ACTIVE = "active", "active"
        PAUSED = "paused", "paused"  # by its owners
        SUSPENDED = "suspended", "suspended"  # by an operator
        CLOSED = "closed", "closed"

    slug = models.SlugField(max_length=63, unique=True)
    name = models.CharField(max_length=200)
    timezone = models.CharField(
        max_length=63,
        default="UTC",
        validators=[validate_timezone],
        help_text="IANA name; budgets' days and months begin here",
    )
    status = models.CharField(max_length=10, choices=Status, default=Status.ACTIVE)
    policy = models.JSONField(
        default=dict,
        blank=True,
        validators=[validate_policy],
        help_text="only what differs from the defaults",
    )
    rate_limits = models.JSONField(
        default=dict,
        blank=True,
        validators=[validate_rate_limits],
        help_text='{"rpm": .., "tpm": .., "concurrency": ..}',
    )
    requires_second_factor = models.BooleanField(
        default=False, db_default=False, help_text="its people sign in with a second factor, or add one first"
    )
    created_at = models.DateTimeField(default=now, editable=False)

    history = HistoricalRecords()

    class Meta:
        ordering = ("slug",)
        constraints = (
            # An unknown status must not count as "active" anywhere.
            models.CheckConstraint(
                condition=Q(status__in=("active", "paused", "suspended", "closed")),
                name="tenant_status_known",
            ),
        )

    def __str__(self) -> str:
        return self.slug


class EndUser(models.Model):
    """A person or service on the tenant's side, as the tenant names it in `x-purser-user`."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="users")
    external_id = models.CharField(max_length=200)
    display_name = models.CharField(max_length=200, blank=True, default="")
    cost_center = models.CharField(max_length=100, blank=True, default="")
    team = models.CharField(
        max_length=100,
        blank=True,
        default="",
        db_default="",
        help_text="one of the policy's teams, whose tags its calls have",
    )
    tags = models.JSONField(
        default=dict,
        blank=True,
        db_default=models.Value({}, models.JSONField()),
        validators=[validate_tags_of_user],
        help_text="of calls that do not say otherwise: project, ...",
    )
    is_active = models.BooleanField(default=True)

    history = HistoricalRecords()

    class Meta:
        ordering = ("tenant", "external_id")
        constraints = (
            # One row per user: budgets and reports per user are summed by this name.
            models.UniqueConstraint(fields=("tenant", "external_id"), name="end_user_unique_in_tenant"),
        )

    def __str__(self) -> str:
        return self.display_name or self.external_id


class ApiKey(models.Model):
    """An API key of a tenant. During a rotation two secrets are valid: the new one, and until
    `previous_expires_at` the previous one."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="keys")
    name = models.CharField(max_length=100)
    public_id = models.CharField(max_length=40, unique=True, editable=False)
    secret_hash = models.BinaryField(max_length=32, editable=False)
    previous_secret_hash = models.BinaryField(max_length=32, null=True, blank=True, editable=False)
    previous_expires_at = models.DateTimeField(null=True, blank=True, editable=False)
    rotated_at = models.DateTimeField(null=True, blank=True, editable=False)
    rotations = models.PositiveSmallIntegerField(
        default=0, db_default=0, editable=False, help_text="on the day of the last one, in UTC"
    )
    ip_allow_list = models.JSONField(
        default=list,
        blank=True,
        validators=[validate_ip_allow_list],
        help_text="networks in CIDR form; empty allows every address",
    )
    rate_limits = models.JSONField(default=dict, blank=True, validators=[validate_rate_limits])
    user = models.CharField(
        max_length=200,
        blank=True,
        default="",
        db_default="",
        help_text="the person whose key it is: counted whatever user a call names",
    )
    tags = models.JSONField(
        default=dict,
        blank=True,
        db_default=models.Value({}, models.JSONField()),
        validators=[validate_tags],
        help_text="of calls that do not say otherwise: cost_center, project, ...",
    )
    rights = models.JSONField(
        default=list,
        blank=True,
        db_default=models.Value([], models.JSONField()),
        validators=[validate_key_rights],
        help_text="beyond calls, of a key that is a person's: reports",
    )
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(default=now, editable=False)

    # Hashes stay out of the history: it is shown in the admin, and kept after a key is gone.
    history = HistoricalRecords(
        excluded_fields=["secret_hash", "previous_secret_hash", "rotated_at", "rotations"]
    )

    # The last field: within the class body its name hides the module's.
    models = models.JSONField(
        default=every_model,
        blank=True,
        validators=[validate_models],
        help_text='globs such as "gpt-*"; ["*"] allows every model, an empty list none',
    )

    class Meta:
        verbose_name = "API key"
        ordering = ("tenant", "name")
        constraints = (
            # A configuration file identifies a key by tenant and name. A revoked key frees its name.
            models.UniqueConstraint(
                fields=("tenant", "name"),
                condition=Q(revoked_at__isnull=True),
                name="api_key_name_unique_in_tenant",
            ),
            # A previous secret without an end would be valid for ever.
            models.CheckConstraint(
                condition=Q(previous_secret_hash__isnull=True, previous_expires_at__isnull=True)
                | Q(previous_secret_hash__isnull=False, previous_expires_at__isnull=False),
                name="api_key_previous_secret_ends",
            ),
        )

    def __str__(self) -> str:
        return f"{self.name} ({self.public_id})"
