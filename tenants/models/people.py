"""Tables of the people who log in.

Invariant: what a person may do in a tenant follows from their membership, of which there is one per person and tenant.
"""

from django.conf import settings
from django.db import models
from simple_history.models import HistoricalRecords

from tenants.models.tenants import Tenant


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
