"""The models that a tenant's policy names.

Invariant: a policy written in a file or in the admin is refused where a name means nothing; the error names the field. A
model that is gone later is no error: a request does without.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from llm.configuration.document import Path
from llm.models import LanguageModel
from tenants.policy import LOCAL_EMBEDDERS, InvalidPolicy, Policy


@dataclass(frozen=True, slots=True)
class _Reference:
    path: Path
    name: str
    kind: str = LanguageModel.Kind.CHAT


def check_models(policy: Policy) -> None:
    """Raise InvalidPolicy for the first name that is no model of the right kind."""
    references = [one for one in _references(policy) if one.name]
    if not references:
        return
    models = LanguageModel.objects.filter(name__in=[one.name for one in references])
    kinds = dict(models.values_list("name", "kind"))
    for one in references:
        if one.name not in kinds:
            known = f"is none of {', '.join(LOCAL_EMBEDDERS)}, and " if one.kind == "embedding" else ""
            raise InvalidPolicy(one.path, f"{known}there is no model {one.name!r}")
        if kinds[one.name] != one.kind:
            raise InvalidPolicy(one.path, f"the model {one.name!r} is not of kind {one.kind}")


def _references(policy: Policy) -> Iterator[_Reference]:
    cache, embedding = ("policy", "cache"), LanguageModel.Kind.EMBEDDING
    if policy.cache.embedder not in LOCAL_EMBEDDERS:
        yield _Reference((*cache, "embedder"), policy.cache.embedder, embedding)
    for index, name in enumerate(policy.cache.also_embed_with):
        if name not in LOCAL_EMBEDDERS:
            yield _Reference((*cache, "also_embed_with", index), name, embedding)
    yield _Reference((*cache, "judge_model"), policy.cache.judge_model)
    yield _Reference(("policy", "routing", "baseline_model"), policy.routing.baseline_model)
