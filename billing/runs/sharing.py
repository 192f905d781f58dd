"""With whom an envelope is shared: people by what their keys say, or everybody of the tenant.

Invariant: pure. Names only come in, so what a worker remembers of an envelope stays true until it ends; and only who may share
makes others draw from an envelope, because one that is empty refuses their calls.
"""

from collections.abc import Iterable
from typing import Final

from django.core.exceptions import ValidationError

from config.values import value_type
from tenants.policy import EnvelopePolicy

EVERYBODY: Final = "*"
MOST_SHARED: Final = 100
LONGEST_NAME: Final = 200


@value_type
class Sharing:
    """Those who are let in, as keys say who calls."""

    owners: tuple[str, ...]

    @classmethod
    def of(cls, text: str, *, policy: EnvelopePolicy, decides: bool) -> "Sharing | None":
        """From user ids with commas between them, or `*`; None where nobody is named. `decides`: an owner of the tenant asks.

        Raises ValidationError.
        """
        names = {name.strip() for name in text.split(",") if name.strip()}
        if not names:
            return None
        if not may_share(policy, decides=decides):
            raise ValidationError({"shared_with": "the tenant's policy leaves sharing to its owners"})
        if any(len(name) > LONGEST_NAME or not name.isprintable() for name in names):
            raise ValidationError({"shared_with": f"user ids of at most {LONGEST_NAME} characters"})
        return cls(tuple(sorted(EVERYBODY if name == EVERYBODY else f"user/{name}" for name in names)))

    def added_to(self, known: Iterable[str]) -> list[str]:
        """All who are let in then. Raises ValidationError for too many."""
        owners = sorted({*known, *self.owners})
        if len(owners) > MOST_SHARED:
            raise ValidationError({"shared_with": f"at most {MOST_SHARED} people; * is everybody"})
        return owners


def may_share(policy: EnvelopePolicy, *, decides: bool) -> bool:
    """Whether somebody may let others draw from an envelope."""
    return decides or policy.shared_by == "people"


def names_of(owners: Iterable[str]) -> str:
    """For reading."""
    return ", ".join("everybody" if one == EVERYBODY else one.partition("/")[2] for one in owners)
