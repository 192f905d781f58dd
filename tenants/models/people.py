"""Tables of the people who sign in.

Invariant: what a person may do in a tenant follows from their membership, of which there is one per person and tenant.
"""

from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.utils.timezone import now
from simple_history.models import HistoricalRecords

from tenants.models.tenants import Tenant
from tenants.secrets import EncryptedTextField


class PlatformRole(models.Model):
    """What somebody may do in every tenant; a superuser needs none."""

    class Role(models.TextChoices):
        OPERATOR = "operator", "operator"
        FINANCE = "finance", "finance"
        SUPPORT = "support", "support"
        READER = "reader", "read-only"

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="platform_role"
    )
    role = models.CharField(max_length=10, choices=Role)

    history = HistoricalRecords()

    class Meta:
        ordering = ("user",)
        constraints = (
            # An unknown role must not count as one with rights.
            models.CheckConstraint(
                condition=models.Q(role__in=("operator", "finance", "support", "reader")),
                name="platform_role_known",
            ),
        )

    def __str__(self) -> str:
        return f"{self.user} ({self.get_role_display()})"


class Membership(models.Model):
    """A person's place in a tenant: as what they came, and as which of its users they call."""

    class Role(models.TextChoices):
        OWNER = "owner", "owner"
        FINANCE = "finance", "finance"
        MEMBER = "member", "member"

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role, default=Role.MEMBER)
    person = models.CharField(
        max_length=200,
        blank=True,
        default="",
        db_default="",
        help_text="the tenant's name for them, as in x-purser-user: its keys and figures are their own; blank for none",
    )

    history = HistoricalRecords()

    class Meta:
        ordering = ("tenant", "user")
        constraints = (
            # One role per person and tenant: permissions are unambiguous.
            models.UniqueConstraint(fields=("tenant", "user"), name="membership_unique"),
            # Two people must not see each other's keys and figures as their own.
            models.UniqueConstraint(
                fields=("tenant", "person"), condition=~models.Q(person=""), name="membership_person_unique"
            ),
        )

    def __str__(self) -> str:
        return f"{self.user} in {self.tenant} ({self.role})"


class Invitation(models.Model):
    """A link, sent by e-mail, with which its reader becomes a member of a tenant; for a week, and once."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="invitations")
    email = models.EmailField()
    role = models.CharField(max_length=10, choices=Membership.Role, default=Membership.Role.MEMBER)
    person = models.CharField(max_length=200, blank=True, default="", help_text="as in a membership")
    token_hash = models.BinaryField(max_length=32, unique=True, editable=False)
    invited_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, editable=False, related_name="+"
    )
    created_at = models.DateTimeField(default=now, editable=False)
    expires_at = models.DateTimeField(editable=False)
    accepted_at = models.DateTimeField(null=True, editable=False)
    revoked_at = models.DateTimeField(null=True, editable=False)

    history = HistoricalRecords(excluded_fields=["token_hash"])

    class Meta:
        ordering = ("-pk",)
        constraints = (
            # An address has one open link in a tenant: the last one sent.
            models.UniqueConstraint(
                fields=("tenant", "email"),
                condition=models.Q(accepted_at=None, revoked_at=None),
                name="invitation_open_once",
            ),
        )

    def __str__(self) -> str:
        return f"{self.email} to {self.tenant} ({self.role})"

    @property
    def state(self) -> str:
        """What became of it."""
        if self.accepted_at:
            return "accepted"
        if self.revoked_at:
            return "withdrawn"
        return "open" if self.expires_at > now() else "expired"


class IdentityProvider(models.Model):
    """A company's own sign-in, by OpenID Connect, and who its new people become."""

    name = models.CharField(max_length=100, help_text="as its button is called")
    slug = models.SlugField(
        max_length=50, unique=True, help_text="in the address that it sends people back to"
    )
    issuer = models.URLField(max_length=300, help_text="https://…, as its discovery document names itself")
    client_id = models.CharField(max_length=300)
    client_secret = EncryptedTextField(blank=True, default="")
    domains = models.JSONField(
        default=list, help_text="of e-mail addresses that it may vouch for, e.g. acme.com"
    )
    tenant = models.ForeignKey(
        Tenant,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
        help_text="where its new people belong; empty: nowhere, or as the claim says",
    )
    tenant_claim = models.CharField(
        max_length=100, blank=True, default="", help_text="a claim with a tenant's short name"
    )
    role = models.CharField(max_length=10, choices=Membership.Role, default=Membership.Role.MEMBER)
    role_claim = models.CharField(
        max_length=100, blank=True, default="", help_text="a claim with groups or roles"
    )
    roles = models.JSONField(
        default=dict, blank=True, help_text='roles by the claim\'s values: {"purser-owners": "owner"}'
    )
    is_active = models.BooleanField(default=True)

    history = HistoricalRecords(excluded_fields=["client_secret"])

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        parts = urlsplit(self.issuer or "")
        if parts.scheme != "https" and not (
            parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost")
        ):
            raise ValidationError({"issuer": "It must begin with https://."})
        if not _are_texts(self.domains) or not self.domains:
            raise ValidationError({"domains": 'A list of domains: ["acme.com"].'})
        if not isinstance(self.roles, dict) or not set(self.roles.values()) <= set(Membership.Role.values):
            raise ValidationError({"roles": "Of each value of the claim, one of owner, finance, member."})


def _are_texts(values: object) -> bool:
    return (
        isinstance(values, list)
        and len(values) <= 100
        and all(isinstance(one, str) and "." in one for one in values)
    )
