"""The last panels of the home page: how the providers are, and how far batches are.

Invariant: providers are the operators' business. What is left of an account's limits comes from Redis; everything else from sums.
"""

from typing import Any, Final

from django.urls import reverse

from billing.admin.figures import count, percent
from config.home import reading
from config.home.choices import Choice
from config.home.figures import time
from config.site import cells
from llm.admin.batch_figures import age_of, small_bar
from llm.admin.deployment_states import AccountState, States, read_states
from llm.batches.operations.counting import OPEN
from llm.models import Batch, Provider

MOST_PROVIDERS: Final = 30
MOST_BATCHES: Final = 6
PROVIDER_HEADERS: Final = ["Provider", "State", "Requests", "Failed", "p50", "p95", "Running", "Limits"]
BATCH_HEADERS: Final = ["Batch", "Tenant", "Lines", "Age"]


def accounts(choice: Choice) -> tuple[list[Provider], States | None]:
    """The accounts at providers and how they are now; of nobody but operators."""
    if not choice.is_operator:
        return [], None
    found = list(Provider.objects.order_by("name")[:MOST_PROVIDERS])
    return found, read_states([one.name for one in found])


def providers(choice: Choice, found: list[Provider], states: States | None) -> dict[str, Any] | None:
    """State, errors, latency and limits of each account; None for who is no operator."""
    if not choice.is_operator:
        return None
    answers = reading.providers(choice)
    rows = []
    for account in found:
        ended = answers.get(account.name) or reading.Answers()
        state = states.accounts.get(account.name, AccountState()) if states else AccountState()
        rows.append(
            [
                cells.link(reverse("admin:llm_provider_change", args=(account.pk,)), account.name),
                _state(account, state, states),
                ended.requests,
                percent(ended.outcomes["failed"], ended.requests),
                time(ended.latency(0.5)),
                time(ended.latency(0.95)),
                count(state.running) if account.limits else cells.NOTHING,
                ", ".join(f"{name} {value:,}" for name, value in account.limits.items()) or "none",
            ]
        )
    return {"headers": PROVIDER_HEADERS, "rows": rows, "empty": "No provider yet."}


def batches(choice: Choice) -> dict[str, Any]:
    """The batches that are under way, newest first."""
    open_batches = Batch.objects.filter(status__in=OPEN).select_related("tenant", "progress")
    if choice.tenant_ids is not None:
        open_batches = open_batches.filter(tenant__in=list(choice.tenant_ids))
    rows = [
        [
            cells.link(reverse("admin:llm_batch_change", args=(batch.pk,)), f"{batch.public_id[:18]}…"),
            batch.tenant.slug,
            small_bar(batch),
            age_of(batch),
        ]
        for batch in open_batches.order_by("-created_at")[:MOST_BATCHES]
    ]
    return {"headers": BATCH_HEADERS, "rows": rows, "empty": "No batch is under way."}


def _state(account: Provider, state: AccountState, states: States | None) -> str:
    if not account.is_active:
        return account.state
    if states is None:
        return "not known: Redis does not answer"
    resting = sorted(
        model for (name, model), one in states.deployments.items() if name == account.name and one.resting_in
    )
    if resting:
        return f"{resting[0]} rests" if len(resting) == 1 else f"{len(resting)} models rest"
    if state.paused_seconds:
        return f"paused by the provider for {state.paused_seconds:.0f} s"
    if state.wait_seconds:
        return f"limits are used up for {state.wait_seconds:.1f} s"
    return "well"
