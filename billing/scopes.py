"""What a budget can limit: its scopes, units and periods, and what its scope is compared with.

Invariant: this is the only list of scopes; the model's choices, the configuration's and the API's are this one. A new
scope is a name in `Scope`, a field of `Dimensions`, and its value in `llm.calls.dimensions`.
"""

from typing import Final, Literal, get_args

from config.values import value_type

Scope = Literal["tenant", "user", "key", "feature", "project", "cost_center", "model", "provider"]
Unit = Literal["usd", "tokens", "requests"]
Period = Literal["day", "week", "month", "total"]

# of envelopes, which are no scope of a tenant's budgets: see billing.runs.envelopes
RUN: Final = "run"
# of prepaid balances, which limit the whole tenant: see billing.contracts.prepaid
PREPAID: Final = "prepaid"
WHOLE_TENANT: Final = ("tenant", PREPAID)
_LABELS: Final = {"cost_center": "cost centre"}


@value_type
class Dimensions:
    """What budgets look at in a call: a field for each scope but the tenant's. '' means that the call has none."""

    user: str = ""
    key: str = ""
    feature: str = ""
    project: str = ""
    cost_center: str = ""
    model: str = ""
    provider: str = ""

    def answered_by(self, *, model: str, provider: str) -> "Dimensions":
        """The same, once it is known which model answers the call."""
        return Dimensions(self.user, self.key, self.feature, self.project, self.cost_center, model, provider)


NO_DIMENSIONS: Final = Dimensions()


def scope_choices() -> list[tuple[str, str]]:
    """Name and label of each scope, for the model's field: a function, so that a new scope needs no migration."""
    return [(name, _LABELS.get(name, name)) for name in get_args(Scope)]
