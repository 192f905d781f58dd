"""Applying tenants with their users and keys.

Invariant: a key's secret is stored hashed and never printed unless it was generated here; a secret that
was rotated away in the admin is not brought back by an old file.
"""

from datetime import datetime
from typing import Any

from llm.configuration.changes import FieldChange, IssuedKey
from llm.configuration.days import last_moment
from llm.configuration.document import Path
from llm.configuration.policies import check_models
from llm.configuration.spec import KeySpec, TenantSpec, UserSpec, plain
from llm.configuration.writer import Writer
from tenants.keys import strings as keys
from tenants.keys.allocating import check_team
from tenants.keys.editing import issue_key, replace_secret
from tenants.models import ApiKey, EndUser, Tenant
from tenants.policy import InvalidPolicy, parse_policy


def apply_tenant(spec: TenantSpec, *, path: Path, writer: Writer) -> Tenant:
    """Create or update a tenant's own fields; the models that its policy names are there by now."""
    try:
        check_models(parse_policy(plain(spec.policy)))
    except InvalidPolicy as error:
        raise writer.document.error((*path, *error.path), error.problem) from None
    row = Tenant.objects.filter(slug=spec.slug).first() or Tenant(slug=spec.slug)
    values: dict[str, Any] = {
        "name": spec.name or spec.slug,
        "timezone": spec.timezone,
        "requires_second_factor": spec.requires_second_factor,
        "policy": plain(spec.policy),
        "rate_limits": spec.rate_limits.as_json(),
    }
    return writer.write(row, values, written=spec.written(), kind="tenant", name=spec.slug, path=path)


def apply_user(spec: UserSpec, *, tenant: Tenant, path: Path, writer: Writer) -> None:
    """Create or update an end user."""
    row = EndUser.objects.filter(tenant=tenant, external_id=spec.id).first()
    row = row or EndUser(tenant=tenant, external_id=spec.id)
    with writer.refusals(path):
        check_team(tenant, spec.team)
    values: dict[str, Any] = {
        "display_name": spec.name,
        "cost_center": spec.cost_center,
        "team": spec.team,
        "tags": spec.tags,
        "is_active": spec.active,
    }
    writer.write(
        row,
        values,
        written=spec.written(),
        kind="user",
        name=f"{tenant.slug}/{spec.id}",
        path=path,
        words={"display_name": "name", "is_active": "active"},
    )


def apply_key(spec: KeySpec, *, tenant: Tenant, path: Path, writer: Writer) -> None:
    """Issue a key, or bring an existing one to what the file says."""
    name = f"{tenant.slug}/{spec.name}"
    expires_at = last_moment(spec.expires, tenant=tenant)
    key = ApiKey.objects.filter(tenant=tenant, name=spec.name, revoked_at=None).first()
    if key is None:
        _issue(spec, tenant=tenant, expires_at=expires_at, path=path, writer=writer)
        return
    if spec.secret is not None:
        _bring_secret(key, spec.secret, name=name, path=path, writer=writer)
    values: dict[str, Any] = {
        "models": spec.models,
        "ip_allow_list": spec.ip_allow_list,
        "rate_limits": spec.rate_limits.as_json(),
        "user": spec.user,
        "tags": spec.tags,
        "rights": spec.rights,
        "expires_at": expires_at,
    }
    writer.write(
        key,
        values,
        written=spec.written(),
        kind="key",
        name=name,
        path=path,
        words={"expires_at": "expires"},
    )


def _issue(spec: KeySpec, *, tenant: Tenant, expires_at: datetime | None, path: Path, writer: Writer) -> None:
    if spec.secret is not None:
        holder = ApiKey.objects.filter(public_id=keys.public_id_of(spec.secret)).first()
        if holder is not None:
            state = "revoked" if holder.revoked_at else "in use by another key"
            raise writer.document.error((*path, "secret"), f"this secret is {state}; give the key a new one")
    with writer.refusals(path):
        _, clear = issue_key(
            tenant,
            name=spec.name,
            models=spec.models,
            ip_allow_list=spec.ip_allow_list,
            rate_limits=spec.rate_limits.as_json(),
            user=spec.user,
            tags=spec.tags,
            rights=spec.rights,
            expires_at=expires_at,
            secret=spec.secret,
            acting_user=writer.acting_user,
        )
    writer.changes.add("key", f"{tenant.slug}/{spec.name}", "created")
    if spec.secret is None and not writer.changes.is_dry_run:
        writer.changes.issued.append(IssuedKey(tenant.slug, spec.name, clear))


def _bring_secret(key: ApiKey, secret: str, *, name: str, path: Path, writer: Writer) -> None:
    hashes = [bytes(stored) for stored in (key.secret_hash, key.previous_secret_hash) if stored is not None]
    if any(keys.matches(secret, stored) for stored in hashes):
        return
    if keys.public_id_of(secret) == key.public_id:
        raise writer.document.error(
            (*path, "secret"), f"the key {name} was rotated since; write its new secret here, or none"
        )
    with writer.refusals(path):
        replace_secret(key, secret=secret, acting_user=writer.acting_user)
    writer.changes.add("secret of key", name, "updated", (FieldChange("secret", "", ""),))
