"""The switches on the pages of accounts and models: test, drain, disable, enable, off and on.

Invariant: each says its effect in figures before it acts, has an author and a reason in the history, and its opposite stands
beside it.
"""

from typing import Final

from django.http import HttpRequest
from unfold.forms import BaseDialogForm

from llm.admin.switch_effects import AccountEffectForm, DeploymentsForm, ModelEffectForm
from llm.configuration import switching
from llm.models import Deployment, LanguageModel, Provider
from llm.providers.kinds import KINDS
from llm.providers.probing import NoConnection, probe
from tenants.admin.dialogs import dialog_action
from tenants.admin.tenants import ReasonForm

MOST_NAMED: Final = 5


class AccountSwitches:
    """The buttons of an account."""

    actions_detail = ("test_connection", "drain", "disable", "enable")

    @dialog_action(
        "Test connection",
        "network_check",
        title="Ask the account's server for its models?",
        text="One free call with the account's key. It takes 10 seconds at most, and changes nothing.",
        submit="Test",
        refusals=(NoConnection,),
    )
    def test_connection(self, request: HttpRequest, form: BaseDialogForm, account: Provider) -> str:
        answer = probe(account)
        said = (
            f"{account} answered within {answer.milliseconds:,} ms and lists {len(answer.models):,} models."
        )
        if lacking := answer.lacking(_upstreams(account)):
            named = ", ".join(lacking[:MOST_NAMED])
            return (
                f"{said} Not among them, though declared here: {named}{' …' if lacking[MOST_NAMED:] else ''}."
            )
        return said

    @dialog_action(
        "Drain…",
        "mode_standby",
        title="Drain this account?",
        text="It gets no new call within a second. Calls under way end, and batches that were begun go on.",
        submit="Drain",
        form=AccountEffectForm,
        is_destructive=True,
        offered=lambda account: account.state != "draining",
    )
    def drain(self, request: HttpRequest, form: ReasonForm, account: Provider) -> str:
        switching.drain(account, acting_user=request.user, reason=form.cleaned_data["reason"])
        return f"{account} is drained: it gets no new call. Enable takes it back."

    @dialog_action(
        "Disable…",
        "block",
        title="Disable this account?",
        text="It gets no new call within a second, and nothing more of a batch. Calls under way end, and what it has of"
        " batches already is collected.",
        submit="Disable",
        form=AccountEffectForm,
        is_destructive=True,
        offered=lambda account: account.state != "disabled",
    )
    def disable(self, request: HttpRequest, form: ReasonForm, account: Provider) -> str:
        switching.disable(account, acting_user=request.user, reason=form.cleaned_data["reason"])
        return f"{account} is disabled: nothing more goes out to it. Enable takes it back."

    @dialog_action(
        "Enable",
        "play_circle",
        title="Enable this account?",
        text="It is called again within a second, and its batches go on.",
        submit="Enable",
        form=ReasonForm,
        offered=lambda account: account.state != "active",
    )
    def enable(self, request: HttpRequest, form: ReasonForm, account: Provider) -> str:
        switching.enable(account, acting_user=request.user, reason=form.cleaned_data["reason"])
        return f"{account} is called again."


class ModelSwitches:
    """The buttons of a model."""

    actions_detail = ("switch_off", "switch_on", "switch_accounts")

    @dialog_action(
        "Switch off…",
        "block",
        title="Switch this model off?",
        text="It gets no new call within a second, of any tenant. Calls under way end, batches that were begun go on, and"
        " answers in the cache still count.",
        submit="Switch off",
        form=ModelEffectForm,
        is_destructive=True,
        offered=lambda model: model.is_active,
    )
    def switch_off(self, request: HttpRequest, form: ReasonForm, model: LanguageModel) -> str:
        _switch(request, form, model, is_on=False)
        return f"{model} is switched off. Switch on takes it back."

    @dialog_action(
        "Switch on",
        "play_circle",
        title="Switch this model on?",
        text="It is offered again within a second.",
        submit="Switch on",
        form=ReasonForm,
        offered=lambda model: not model.is_active,
    )
    def switch_on(self, request: HttpRequest, form: ReasonForm, model: LanguageModel) -> str:
        _switch(request, form, model, is_on=True)
        return f"{model} is offered again."

    @dialog_action(
        "Accounts…",
        "hub",
        title="Which further accounts are called for this model?",
        text="The others get no new call for it within a second. Calls under way end, and batches that were begun go on.",
        submit="Call these",
        form=DeploymentsForm,
        offered=lambda model: model.has_further_accounts,
    )
    def switch_accounts(self, request: HttpRequest, form: DeploymentsForm, model: LanguageModel) -> str:
        on = {int(pk) for pk in form.cleaned_data["on"]}
        reason = form.cleaned_data["reason"]
        changed = switching.switch_deployments(model, on=on, acting_user=request.user, reason=reason)
        words = [f"{one.provider.name} is {'called' if one.pk in on else 'switched off'}" for one in changed]
        return f"For {model}: {', '.join(words)}." if words else "Nothing changed."


def _switch(request: HttpRequest, form: ReasonForm, model: LanguageModel, *, is_on: bool) -> None:
    switching.switch_model(model, is_on=is_on, acting_user=request.user, reason=form.cleaned_data["reason"])


def _upstreams(account: Provider) -> set[str]:
    """What the models that are declared at an account are called there, where its list has such names."""
    if not KINDS[account.kind].lists_what_is_called:
        return set()
    own = LanguageModel.objects.filter(provider=account).values_list("upstream", flat=True)
    further = Deployment.objects.filter(provider=account).values_list("upstream", "model__upstream")
    return {*own, *(upstream or usual for upstream, usual in further)}
