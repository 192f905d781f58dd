"""Tables of the people who log in.

Invariant: what a person may do in a tenant follows from their membership, of which there is one per person and tenant.
"""

from django.conf import settings
from django.db import models

from tenants.models.tenants import Tenant


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
