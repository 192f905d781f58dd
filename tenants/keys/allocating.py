"""Changes of whose cost the calls of a key or a user are.

Invariant: each change is one transaction and one history row with its author. It counts from the next call on: what is booked
keeps the tags that it was booked with.
"""

from typing import Any

from django.contrib.auth.models import AbstractBaseUser
from django.core.exceptions import ValidationError
from django.db import transaction

from tenants.allocation import COST_CENTER, NO_TAGS, Tags
from tenants.models import ApiKey, EndUser, Tenant
from tenants.people.authors import record_author
from tenants.policy import parse_policy


def check_team(tenant: Tenant, team: str) -> None:
    """Raise ValidationError for a team that the tenant's policy does not know."""
    if team and team not in parse_policy(tenant.policy).allocation.teams:
        raise ValidationError({"team": f"there is no team {team[:60]!r} in the tenant's policy"})


def cost_center_of(tenant: Tenant, user: EndUser | None) -> str:
    """Of the calls of a user, or of one who is not declared, where neither they nor their key name one."""
    policy = parse_policy(tenant.policy).allocation
    team = policy.teams.get(user.team, NO_TAGS) if user else NO_TAGS
    own = user.cost_center if user else ""
    return own or team.get(COST_CENTER, "") or policy.tags.get(COST_CENTER, "")


@transaction.atomic
def allocate_key(key: ApiKey, *, tags: Tags, acting_user: AbstractBaseUser | None = None) -> bool:
    """Give a key the tags of its calls. False if it has them; raises ValidationError."""
    current = ApiKey.objects.select_for_update().get(pk=key.pk, tenant_id=key.tenant_id)
    if current.tags == dict(tags):
        return False
    current.tags = dict(tags)
    current.clean_fields(exclude=["tenant", "secret_hash", "previous_secret_hash"])
    record_author(current, acting_user=acting_user, reason="tags changed")
    current.save(update_fields=["tags"])
    key.refresh_from_db()
    return True


@transaction.atomic
def allocate_user(
    tenant: Tenant,
    external_id: str,
    *,
    cost_center: str,
    team: str,
    tags: Tags,
    acting_user: AbstractBaseUser | None = None,
) -> bool:
    """Give a user, who is declared by that, a cost centre, a team and tags. False if nothing changes; raises ValidationError."""
    check_team(tenant, team)
    user = EndUser.objects.select_for_update().filter(tenant=tenant, external_id=external_id).first()
    is_new = user is None
    user = user or EndUser(tenant=tenant, external_id=external_id)
    wanted: dict[str, Any] = {"cost_center": cost_center, "team": team, "tags": dict(tags)}
    if not is_new and all(getattr(user, name) == value for name, value in wanted.items()):
        return False
    for name, value in wanted.items():
        setattr(user, name, value)
    user.full_clean()
    record_author(user, acting_user=acting_user, reason="allocated")
    user.save()
    return True
