"""The models that a tenant's policy names.

Invariant: whoever writes a policy, in a file or in the admin, is refused a name that stands for nothing, and told the
field. What is gone later is no error: a request does without.
"""

from collections.abc import Iterator

from llm.configuration.document import Path
from llm.models import LanguageModel
from tenants.policy import LOCAL_EMBEDDERS, InvalidPolicy, Policy


def check_models(policy: Policy) -> None:
    """Raise InvalidPolicy for the first name that is no model of the right kind."""
    kinds: dict[str, str] = {}
    named = [(path, name) for path, name in _embedders(policy) if name not in LOCAL_EMBEDDERS]
    if named:
        models = LanguageModel.objects.filter(name__in=[name for _, name in named])
        kinds = dict(models.values_list("name", "kind"))
    for path, name in named:
        if name not in kinds:
            known = ", ".join(LOCAL_EMBEDDERS)
            raise InvalidPolicy(path, f"is none of {known}, and there is no model {name!r}")
        if kinds[name] != LanguageModel.Kind.EMBEDDING:
            raise InvalidPolicy(path, f"the model {name!r} is not of kind embedding")


def _embedders(policy: Policy) -> Iterator[tuple[Path, str]]:
    here = ("policy", "cache")
    yield (*here, "embedder"), policy.cache.embedder
    for index, name in enumerate(policy.cache.also_embed_with):
        yield (*here, "also_embed_with", index), name
