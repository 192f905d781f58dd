"""The page of deployments: every model at every account, with its share of the calls and its health.

Invariant: shows the configuration and what the web processes report; changes nothing. Operators only.
"""

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from billing.admin.figures import count, percent
from llm.admin.deployment_states import AccountState, DeploymentState, States, read_states
from llm.models import LanguageModel, Provider

HEADERS = ["Model", "Account", "Weight", "Calls", "Failed", "Answer", "First byte", "State"]
ACCOUNT_HEADERS = ["Account", "Limits", "Running", "Next call", "State"]


def deployments_page(request: HttpRequest, model_admin: Any) -> HttpResponse:
    """Show all of them."""
    if not model_admin.has_view_permission(request):
        raise PermissionDenied
    accounts = list(Provider.objects.order_by("name"))
    states = read_states([account.name for account in accounts])
    known = states or States({}, {})
    context = {
        **admin.site.each_context(request),
        "title": "Deployments",
        "is_known": states is not None,
        "deployments": {"headers": HEADERS, "rows": list(_rows(known))},
        "accounts": {
            "headers": ACCOUNT_HEADERS,
            "rows": [_account_row(one, known.accounts.get(one.name, AccountState())) for one in accounts],
        },
    }
    return TemplateResponse(request, "admin/deployments.html", context)


def _rows(states: States) -> Iterator[list[Any]]:
    models = LanguageModel.objects.select_related("provider").prefetch_related("deployments__provider")
    for model in models.order_by("name"):
        accounts = [(model.provider, model.weight, model.is_active and model.provider.is_active)]
        accounts += [
            (one.provider, one.weight, model.is_active and one.is_active and one.provider.is_active)
            for one in model.deployments.all()
        ]
        found = [states.deployments.get((one.name, model.name), DeploymentState()) for one, _, _ in accounts]
        calls = sum(state.calls for state in found)
        weights = sum(weight for _, weight, is_active in accounts if is_active)
        for (account, weight, is_active), state in zip(accounts, found, strict=True):
            yield [
                _link(model),
                account.name,
                f"{weight:g} ({percent(round(1000 * weight), round(1000 * weights))})"
                if len(accounts) > 1 and is_active
                else f"{weight:g}",
                f"{count(state.calls)} ({percent(state.calls, calls)})" if calls else "–",
                percent(state.failures, state.calls) if state.failures else "–",
                _seconds(state.whole_seconds),
                _seconds(state.stream_seconds),
                _state(state) if is_active else "not active",
            ]


def _account_row(account: Provider, state: AccountState) -> list[Any]:
    limits = ", ".join(f"{name} {value:,}" for name, value in account.limits.items())
    if not account.is_active:
        shown_state = account.state
    elif state.paused_seconds:
        shown_state = f"paused by the provider for {state.paused_seconds:.0f} s"
    else:
        shown_state = "ready"
    return [
        account.name,
        limits or "none",
        count(state.running) if account.limits else "–",
        f"paid until in {state.wait_seconds:.1f} s" if state.wait_seconds else "–",
        shown_state,
    ]


def _state(state: DeploymentState) -> str:
    if not state.processes:
        return "not called recently"
    if state.resting_in:
        until = f", next probe in {state.rest_seconds:.0f} s" if state.rest_seconds else ", probe is due"
        return f"resting in {state.resting_in} of {state.processes} processes{until}"
    if state.probing_in:
        return f"being probed by {state.probing_in} of {state.processes} processes"
    return "well"


def _seconds(figures: list[float]) -> str:
    return f"{sum(figures) / len(figures):.2f} s" if figures else "–"


def _link(model: LanguageModel) -> SafeString:
    url = reverse("admin:llm_languagemodel_change", args=[model.pk])
    return format_html('<a class="text-link" href="{}">{}</a>', url, model.name)
