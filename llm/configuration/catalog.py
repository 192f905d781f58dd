"""Applying providers and models.

Invariant: a model's provider and fallbacks exist once the file is applied, in the file or before it.
"""

from typing import Any

from llm.configuration.document import Path
from llm.configuration.spec import DeploymentSpec, ModelSpec, ProviderSpec
from llm.configuration.writer import Writer
from llm.models import Deployment, LanguageModel, Provider
from tenants.models import Tenant


def apply_provider(spec: ProviderSpec, *, path: Path, writer: Writer) -> None:
    """Create or update a provider account."""
    row = Provider.objects.filter(name=spec.name).first() or Provider(name=spec.name)
    values: dict[str, Any] = {
        "kind": spec.kind,
        "base_url": spec.base_url,
        "api_key": spec.api_key,
        "options": spec.options,
        "limits": spec.limits.as_json(),
        "timeouts": spec.timeouts.as_json(),
        "admin_api_key": spec.admin_api_key,
        "report_scope": spec.report_scope.as_json(),
        "is_active": spec.active,
    }
    writer.write(
        row,
        values,
        written=spec.written(),
        kind="provider",
        name=spec.name,
        path=path,
        secrets=("api_key", "admin_api_key"),
        checked=("base_url",),  # Django's check of an URL knows no host without a dot, such as a container's
        words={"is_active": "active"},
    )


def apply_owner(name: str, *, tenant: Tenant, path: Path, writer: Writer) -> None:
    """Make a provider account one tenant's alone."""
    row = Provider.objects.filter(name=name).first()
    if row is None:
        raise writer.document.error(path, f"there is no provider {name!r}")
    if row.tenant_id not in (None, tenant.pk):
        raise writer.document.error(path, f"the provider {name!r} is another tenant's own")
    writer.write(
        row,
        {"tenant": tenant},
        written=("tenant",),
        kind="provider",
        name=name,
        path=path,
        checked=("base_url",),
    )


def apply_model(spec: ModelSpec, *, path: Path, writer: Writer) -> LanguageModel:
    """Create or update a model; its prices and fallbacks are for later, when all models are there."""
    provider = Provider.objects.filter(name=spec.provider).first()
    if provider is None:
        raise writer.document.error((*path, "provider"), f"there is no provider {spec.provider!r}")
    row = LanguageModel.objects.filter(name=spec.name).first() or LanguageModel(name=spec.name)
    values: dict[str, Any] = {
        "provider": provider,
        "upstream": spec.upstream or spec.name,
        "kind": spec.kind,
        "tier": spec.tier,
        "context_window": spec.context_window,
        "max_output_tokens": spec.max_output_tokens,
        "capabilities": spec.capabilities,
        "fallbacks": spec.fallbacks,
        "weight": spec.weight,
        "timeouts": spec.timeouts.as_json(),
        "retires_on": spec.retires,
        "is_active": spec.active,
    }
    return writer.write(
        row,
        values,
        written=spec.written(),
        kind="model",
        name=spec.name,
        path=path,
        words={"is_active": "active", "retires_on": "retires"},
    )


def apply_deployment(spec: DeploymentSpec, *, model: LanguageModel, path: Path, writer: Writer) -> Deployment:
    """Create or update a further account of a model; its prices are for later, as the model's."""
    provider = Provider.objects.filter(name=spec.provider).first()
    if provider is None:
        raise writer.document.error((*path, "provider"), f"there is no provider {spec.provider!r}")
    row = Deployment.objects.filter(model=model, provider=provider).first()
    values: dict[str, Any] = {
        "upstream": spec.upstream or "",
        "weight": spec.weight,
        "timeouts": spec.timeouts.as_json(),
        "is_active": spec.active,
    }
    return writer.write(
        row or Deployment(model=model, provider=provider),
        values,
        written=spec.written(),
        kind="deployment",
        name=f"{spec.provider}/{model.name}",
        path=path,
        words={"is_active": "active"},
    )


def check_fallbacks(spec: ModelSpec, *, path: Path, writer: Writer) -> None:
    """Refuse a fallback that does not exist, once all models are there."""
    known = set(LanguageModel.objects.filter(name__in=spec.fallbacks).values_list("name", flat=True))
    for index, name in enumerate(spec.fallbacks):
        if name not in known:
            raise writer.document.error((*path, "fallbacks", index), f"there is no model {name!r}")
