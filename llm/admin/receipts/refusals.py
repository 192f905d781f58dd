"""Why a request was refused, and what would let it through, each way with the button that does it.

Invariant: reads only; a button leads to the page or the dialog where the person's own rights decide.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from urllib.parse import urlencode

from django.db.models import Q
from django.urls import reverse
from django.utils.timezone import now

from billing.models import Budget
from config.site.timeline import facts_of, in_words, number_of
from llm.models import RequestLog

# what lets through a request with one of these codes
REMEDIES: Final = {
    "rate_limit_exceeded": "The same request passes when the limit's minute is over, or with a higher limit.",
    "model_not_allowed": "The key's list of models has to name the model, or the request another model.",
    "model_unpriced": "The model needs a price of this account: without one nobody knows what it costs.",
    "revoked_api_key": "Another key: a revoked one stays revoked.",
    "expired_api_key": "A later expiry date of the key, or its new secret.",
    "tenant_suspended": "The tenant has to be resumed.",
    "ip_not_allowed": "The key's list of networks has to hold the caller's address.",
    "right_missing": "The key is a person's: an owner can give it the right.",
    "user_not_allowed": "The user has to be declared and active.",
    "feature_switched_off": "More budget for the feature, or a policy that switches it off later.",
    "context_length_exceeded": "A shorter prompt, or a model with a larger context window.",
}


@dataclass(frozen=True)
class Button:
    """A way out. `is_dialog`: it opens over the page."""

    label: str
    url: str
    is_dialog: bool = False


@dataclass(frozen=True)
class Refusal:
    """What the page says above the story."""

    title: str
    message: str
    remedies: list[str]
    buttons: list[Button]
    facts: list[tuple[str, Any]] = field(default_factory=list)


def refusal_of(entry: RequestLog) -> Refusal | None:
    """The refusal of a request; None if it was answered."""
    facts = (entry.receipt or {}).get("refusal")
    if not facts:
        return None
    code = str(facts.get("code", entry.error_code))
    remedies, buttons = _ways(entry, code, facts)
    shown = {
        name: value for name, value in facts.items() if name not in ("code", "message", "status", "budget")
    }
    return Refusal(
        title=f"Why this was refused: {code.replace('_', ' ')}",
        message=str(facts.get("message", "")),
        remedies=remedies,
        buttons=buttons,
        facts=_with_units(shown),
    )


def budget_of(entry: RequestLog) -> Budget | None:
    """The budget that refused a request, if it still exists."""
    facts = (entry.receipt or {}).get("refusal") or {}
    if facts.get("code") != "budget_exceeded" or entry.tenant_id is None:
        return None
    own = Q(value=facts.get("subject") or "") | Q(value="")
    same = {name: facts.get(name) for name in ("scope", "unit", "period")}
    budgets = Budget.objects.filter(own, tenant=entry.tenant_id, **same)
    # the one of this subject before the one of each
    return budgets.order_by("-is_active", "-value").first()


def wish_of(entry: RequestLog) -> dict[str, str]:
    """The raise that would have let a request through, as a form is filled in with it: as much as was missing, until the
    budget starts anew, or for a day."""
    facts = (entry.receipt or {}).get("refusal") or {}
    resets_at = _moment(facts.get("resets_at"))
    end = resets_at if resets_at and resets_at > now() else now() + timedelta(days=1)
    return {
        "extra_amount": f"{_missing(facts):f}",
        "reason": f"Request {entry.request_id}",
        "ends_at": f"{end.astimezone(UTC):%Y-%m-%dT%H:%M}",
    }


def _ways(entry: RequestLog, code: str, facts: Mapping[str, Any]) -> tuple[list[str], list[Button]]:
    if code == "budget_exceeded":
        return _more_budget(entry, facts)
    remedies = [REMEDIES[code]] if code in REMEDIES else []
    if facts.get("retry_after_seconds"):
        remedies.append(f"Waiting: it was told to try again after {facts['retry_after_seconds']:,} s.")
    buttons = []
    if code in ("revoked_api_key", "expired_api_key", "model_not_allowed", "ip_not_allowed") and entry.key_id:
        buttons.append(Button("Open the key", reverse("admin:tenants_apikey_change", args=(entry.key_id,))))
    if (
        code in ("tenant_suspended", "user_not_allowed", "feature_switched_off", "rate_limit_exceeded")
        and entry.tenant_id
    ):
        buttons.append(
            Button("Open the tenant", reverse("admin:tenants_tenant_change", args=(entry.tenant_id,)))
        )
    if code == "rate_limit_exceeded" and entry.key_id and str(facts.get("limit_of", "")).startswith("key "):
        buttons.append(Button("Open the key", reverse("admin:tenants_apikey_change", args=(entry.key_id,))))
    if code == "model_unpriced":
        buttons.append(Button("Set a price", reverse("admin:billing_pricerow_add")))
    return remedies, buttons


def _more_budget(entry: RequestLog, facts: Mapping[str, Any]) -> tuple[list[str], list[Button]]:
    unit = "USD" if facts.get("unit") == "usd" else str(facts.get("unit", ""))
    missing = _missing(facts)
    remedies = [f"{missing:,f} {unit} more in the {facts.get('budget', 'budget')}."]
    resets_at = _moment(facts.get("resets_at"))
    if resets_at:
        remedies.append(f"Or waiting: the budget starts anew at {resets_at:%Y-%m-%d %H:%M} UTC.")
    remedies.append("Or a smaller request: a lower max_tokens or a cheaper model needs less.")
    budget = budget_of(entry)
    if budget is None:
        return remedies, []
    raise_url = (
        f"{reverse('admin:billing_budget_raise_until', args=(budget.pk,))}?{urlencode(wish_of(entry))}"
    )
    return remedies, [
        Button("Raise this budget…", raise_url, is_dialog=True),
        Button("Open the budget", reverse("admin:billing_budget_change", args=(budget.pk,))),
    ]


def _missing(facts: Mapping[str, Any]) -> Decimal:
    asked, remaining = (
        number_of(facts.get("asked")) or Decimal(0),
        number_of(facts.get("remaining")) or Decimal(0),
    )
    return max(asked - remaining, Decimal(0)).normalize()


def _moment(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text)) if text else None
    except ValueError:
        return None


def _with_units(facts: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The numbers it was decided by, in one order, amounts of a budget in its unit."""
    order = ("scope", "subject", "period", "limit", "spent", "held", "asked", "remaining", "resets_at")
    unit = {"usd": "USD"}.get(str(facts.get("unit", "")), str(facts.get("unit", "")))
    amounts = ("limit", "spent", "held", "asked", "remaining") if unit else ()
    named = {name: facts[name] for name in order if name in facts} | {
        name: value for name, value in facts.items() if name not in order and name != "unit"
    }
    readable = facts_of({name: value for name, value in named.items() if name not in amounts})
    numbers = [
        (in_words(name), f"{number_of(named[name]) or Decimal(0):,f} {unit}")
        for name in amounts
        if name in named
    ]
    return readable[:3] + numbers + readable[3:]
