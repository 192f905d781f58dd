"""The principal: the authenticated caller of one request, and what it may do.

Invariant: frozen, and built only by `keys.authentication.identify`. Code that has a Principal need not check the key.
"""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import translate
from hashlib import sha256

from config.values import value_type
from tenants.allocation import Tags, no_tags
from tenants.errors import ModelNotAllowed, RightMissing
from tenants.policy import RateLimits


@dataclass(frozen=True, slots=True)
class ModelGlobs:
    """A key's model allow-list. Names match case-sensitively; an empty list allows nothing."""

    globs: tuple[str, ...]
    _pattern: re.Pattern[str] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        joined = "|".join(translate(glob) for glob in self.globs) if self.globs else r"(?!)"
        object.__setattr__(self, "_pattern", None if "*" in self.globs else re.compile(joined))

    @property
    def digest(self) -> str:
        """The same for lists of the same globs; empty where every model is allowed."""
        if self._pattern is None:
            return ""
        return sha256("\n".join(sorted(set(self.globs))).encode()).hexdigest()[:16]

    def allow(self, model: str) -> bool:
        return self._pattern is None or self._pattern.match(model) is not None


class KeyRight(StrEnum):
    """What a person's key may do beyond calls. A service's key has all of them: who holds it acts for the tenant."""

    REPORTS = "reports"  # read the tenant's reports, statements and chargebacks


@value_type
class Principal:
    """Who calls. `key_id` is the row's id, `key_public_id` what may be shown of the key."""

    tenant_id: int
    tenant_slug: str
    key_id: int
    key_name: str
    key_public_id: str
    user: str = ""  # the person the key is bound to: its calls cannot name another user
    tags: Tags = field(default_factory=no_tags)  # of its calls that do not say otherwise
    rights: frozenset[str] = frozenset()  # of KeyRight
    models: ModelGlobs = field(default_factory=lambda: ModelGlobs(("*",)))
    tenant_limits: RateLimits = field(default_factory=RateLimits)
    key_limits: RateLimits = field(default_factory=RateLimits)
    user_limits: RateLimits = field(default_factory=RateLimits)  # of each end user by itself

    def may_use(self, model: str) -> bool:
        """Whether the key's allow-list names the model."""
        return self.models.allow(model)

    def require_right(self, right: KeyRight) -> None:
        """Raise RightMissing where the key is a person's and was not given the right."""
        if self.user and right not in self.rights:
            raise RightMissing(
                f"The key '{self.key_name}' is one person's and lacks the right '{right}': what you ask for is the"
                " whole tenant's. An owner of the tenant can give the right to the key.",
                facts={"key": self.key_name, "right": str(right)},
            )

    def require_model(self, model: str) -> None:
        """Raise ModelNotAllowed unless the key's allow-list names the model."""
        if not self.may_use(model):
            raise ModelNotAllowed(
                f"The key '{self.key_name}' may not use the model '{model}'.",
                param="model",
                facts={"key": self.key_name, "model": model, "allowed": list(self.models.globs)},
            )
