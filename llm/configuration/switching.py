"""Switches of accounts and models: drain, disable and enable an account, switch a model, or it at one account, off and on.

Invariant: each change is one function, one transaction and one history row with author and reason. The database notifies every
worker, so that it takes effect within a second; a call under way keeps the snapshot it began with, and ends.
"""

from collections.abc import Collection
from typing import Any

from django.contrib.auth.models import AbstractBaseUser
from django.db import transaction

from llm.models import BatchJob, Deployment, LanguageModel, Provider
from tenants.people.authors import record_author


def drain(account: Provider, *, acting_user: AbstractBaseUser | None = None, reason: str = "") -> bool:
    """Send the account no new call; what it has begun ends, its batches too. False if it was so already."""
    return _set(account, acting_user, reason or "drained", is_active=False, batches_wait=False)


def disable(account: Provider, *, acting_user: AbstractBaseUser | None = None, reason: str = "") -> bool:
    """Send the account nothing more: its batches wait as well. False if it was so already."""
    return _set(account, acting_user, reason or "disabled", is_active=False, batches_wait=True)


@transaction.atomic
def enable(account: Provider, *, acting_user: AbstractBaseUser | None = None, reason: str = "") -> bool:
    """Call the account again; batches that waited go on immediately. False if it was so already."""
    waiting = BatchJob.objects.filter(provider=account.name).exclude(state=BatchJob.State.FINISHED)
    if is_changed := _set(account, acting_user, reason or "enabled", is_active=True, batches_wait=False):
        waiting.update(next_look_at=None)
    return is_changed


def switch_model(
    model: LanguageModel, *, is_on: bool, acting_user: AbstractBaseUser | None = None, reason: str = ""
) -> bool:
    """Offer a model, or let its fallbacks answer for it. False if it was so already."""
    return _set(model, acting_user, reason or ("switched on" if is_on else "switched off"), is_active=is_on)


@transaction.atomic
def switch_deployments(
    model: LanguageModel,
    *,
    on: Collection[int],
    acting_user: AbstractBaseUser | None = None,
    reason: str = "",
) -> list[Deployment]:
    """Have these of the model's further accounts called for it, and no others of them; those that this changed."""
    return [
        one
        for one in Deployment.objects.filter(model=model).select_related("provider")
        if _set(
            one,
            acting_user,
            reason or ("switched on" if one.pk in on else "switched off"),
            is_active=one.pk in on,
        )
    ]


@transaction.atomic
def _set(
    row: Provider | LanguageModel | Deployment,
    acting_user: AbstractBaseUser | None,
    reason: str,
    **values: Any,
) -> bool:
    current = type(row)._base_manager.select_for_update().get(pk=row.pk)
    for name, value in values.items():
        setattr(row, name, value)
    if all(getattr(current, name) == value for name, value in values.items()):
        return False
    record_author(row, acting_user=acting_user, reason=reason)
    row.save(update_fields=list(values))
    return True
