"""What a switch of an account, a model or keys would do, in figures: shown in its dialog before anybody presses.

Invariant: reads only, and a bounded number of rows: the last hour's requests by each tenant's index, at most `MOST_CALLS`, or
days' sums.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, timedelta
from typing import Any, Final

from django import forms
from django.db import connection
from django.db.models import Count, QuerySet, Sum, TextField
from django.db.models.functions import Cast, Coalesce
from django.utils.timezone import now
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from billing.models import UsageSum
from llm.catalog.catalog import Catalog
from llm.catalog.loading import load_catalog
from llm.models import BatchJob, Deployment, LanguageModel, Provider
from tenants.admin.tenants import ReasonForm
from tenants.models import ApiKey

MOST_CALLS: Final = 100_000
MOST_MODELS: Final = 12
MOST_DEPLOYMENTS: Final = 50
HOUR: Final = timedelta(hours=1)
LAST_HOUR: Final = """
SELECT {by}, count(*), count(DISTINCT tenant_id) FROM (
    SELECT log.{by}, log.tenant_id
    FROM tenants_tenant AS tenant
    CROSS JOIN LATERAL (
        SELECT model, tenant_id, provider FROM llm_requestlog
        WHERE tenant_id = tenant.id AND at >= %(since)s) AS log
    WHERE {column} = %(name)s
    LIMIT %(most)s) AS calls
GROUP BY GROUPING SETS ((), ({by}))
"""


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls that were answered in the last hour, and of how many tenants."""

    calls: int = 0
    tenants: int = 0

    def __str__(self) -> str:
        more = "at least " if self.calls >= MOST_CALLS else ""
        return f"{more}{many(self.calls, 'call')} of {many(self.tenants, 'tenant')}"


def effect_on_account(account: Provider) -> list[str]:
    """Sentences: its calls of the last hour, who would answer for each of its models, and what it has of batches."""
    whole, by_model = _last_hour("log.provider", account.name)
    lines = [f"In the last hour it answered {whole}."]
    without = {model.name: model for model in _models_of(account)}
    before, after = _catalogs(account)
    served = sorted(name for name in without if name in before.targets)
    for name in served[:MOST_MODELS]:
        lines.append(f"{name} ({many(by_model.get(name, Calls()).calls, 'call')}): {_who(after, name)}")
    if len(served) > MOST_MODELS:
        lines.append(f"And {many(len(served) - MOST_MODELS, 'model')} more.")
    return [*lines, batches_under_way(provider=account.name)]


def effect_on_model(model: LanguageModel) -> list[str]:
    """Sentences: its calls of the last hour, who would answer for it, and its lines in batches."""
    whole, _ = _last_hour("log.model", model.name)
    before = load_catalog()
    accounts = {name: before.accounts.get(name, (target,)) for name, target in before.targets.items()}
    own = accounts.pop(model.name, None) or before.off.get(model.name, ())
    after = Catalog.of(accounts, off={**before.off, model.name: own})
    return [
        f"In the last hour it answered {whole}.",
        f"{model.name}: {_who(after, model.name)}",
        batches_under_way(model=model.name),
    ]


def effect_on_deployments(model: LanguageModel) -> list[str]:
    """Sentences: what each further account answered for the model, and who would answer without it."""
    before = load_catalog()
    accounts = {name: before.accounts.get(name, (target,)) for name, target in before.targets.items()}
    _, by_account = _last_hour("log.model", model.name, by="provider")
    lines = []
    for one in _further(model):
        answered = f"{by_account.get(one.provider.name, Calls())} in the last hour"
        own = accounts.get(model.name, before.off.get(model.name, ()))
        left = tuple(target for target in own if target.provider != one.provider.name)
        after = Catalog.of({**accounts, model.name: left}, off={**before.off, model.name: own})
        state = f"Without it: {_who(after, model.name)}" if one.is_active else "It is switched off."
        lines.append(f"{one.provider.name}: {answered}. {state}")
    return lines


def effect_on_keys(keys: QuerySet[ApiKey]) -> list[str]:
    """A sentence: what was called with the keys."""
    chosen = keys.order_by().values(value=Cast("pk", TextField()))
    sums = UsageSum.objects.filter(
        dimension=UsageSum.Dimension.KEY,
        tenant__in=keys.order_by().values("tenant"),
        value__in=chosen,
        day__gte=_yesterday(),
    )
    found = sums.aggregate(
        requests=Coalesce(Sum("requests"), 0),
        tenants=Count("tenant", distinct=True),
        keys=Count("value", distinct=True),
    )
    if not found["requests"]:
        return ["None of them was used since yesterday, UTC."]
    return [
        f"Since yesterday, UTC, {many(found['requests'], 'call')} of {many(found['tenants'], 'tenant')} came with"
        f" {many(found['keys'], 'key')} of them: such calls are refused."
    ]


def batches_under_way(**whose: Any) -> str:
    """A sentence: the jobs that are open there, and their lines."""
    jobs = BatchJob.objects.exclude(state=BatchJob.State.FINISHED).filter(**whose)
    open_jobs = jobs.aggregate(jobs=Count("pk"), lines=Sum("line_count"))
    if not open_jobs["jobs"]:
        return "No batch is under way there."
    return f"Batches under way there: {many(open_jobs['lines'] or 0, 'line')} in {many(open_jobs['jobs'], 'job')}."


def many(number: int, noun: str) -> str:
    """A number of things, in words."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


class _EffectForm(ReasonForm):
    form_before_template = "admin/switch_effect.html"


class AccountEffectForm(_EffectForm):
    """Says what becomes of an account's calls, and asks why."""

    def get_before_template_context(self, request: Any, object_id: Any = None) -> dict[str, Any]:
        account = Provider.objects.filter(pk=object_id).first()
        return {"lines": effect_on_account(account) if account else []}


class ModelEffectForm(_EffectForm):
    """Says what becomes of a model's calls, and asks why."""

    def get_before_template_context(self, request: Any, object_id: Any = None) -> dict[str, Any]:
        model = LanguageModel.objects.filter(pk=object_id).first()
        return {"lines": effect_on_model(model) if model else []}


class DeploymentsForm(_EffectForm):
    """Says what becomes of the calls of a model's further accounts, and asks which are called."""

    on = forms.MultipleChoiceField(
        label="Called for this model", required=False, widget=UnfoldAdminCheckboxSelectMultipleWidget()
    )
    field_order = ("on", "reason")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        further = list(_further(LanguageModel(pk=self.object_id)))
        choices: Any = self.fields["on"]
        choices.choices = [(str(one.pk), f"{one.provider.name}, weight {one.weight}") for one in further]
        choices.initial = [str(one.pk) for one in further if one.is_active]

    def get_before_template_context(self, request: Any, object_id: Any = None) -> dict[str, Any]:
        model = LanguageModel.objects.filter(pk=object_id).first()
        return {"lines": effect_on_deployments(model) if model else []}


def _further(model: LanguageModel) -> Iterator[Deployment]:
    yield from (
        Deployment.objects.filter(model=model.pk).select_related("provider").order_by("pk")[:MOST_DEPLOYMENTS]
    )


def _yesterday() -> date:
    return now().astimezone(UTC).date() - timedelta(days=1)


def _last_hour(column: str, name: str, *, by: str = "model") -> tuple[Calls, dict[str, Calls]]:
    with connection.cursor() as cursor:
        cursor.execute(
            LAST_HOUR.format(column=column, by=by), {"since": now() - HOUR, "name": name, "most": MOST_CALLS}
        )
        found = {model: Calls(calls, tenants) for model, calls, tenants in cursor.fetchall()}
    return found.pop(None, Calls()), found


def _models_of(account: Provider) -> Iterator[LanguageModel]:
    yield from LanguageModel.objects.filter(provider=account)
    yield from LanguageModel.objects.filter(deployments__provider=account)


def _catalogs(account: Provider) -> tuple[Catalog, Catalog]:
    """The catalog as it is, and as it is without the account."""
    before = load_catalog()
    accounts = {name: before.accounts.get(name, (target,)) for name, target in before.targets.items()}
    left = {
        name: tuple(one for one in targets if one.provider != account.name)
        for name, targets in accounts.items()
    }
    off = {name: accounts[name] for name, targets in left.items() if not targets}
    return before, Catalog.of(left, off={**before.off, **off})


def _who(after: Catalog, name: str) -> str:
    """Who answers for a model afterwards."""
    if target := after.targets.get(name):
        return f"goes on at {', '.join(one.provider for one in after.accounts_of(target))}."
    fallbacks = [one.model for one in after.fallbacks_of(after.off[name][0])] if name in after.off else []
    if fallbacks:
        return f"answered by its fallbacks, {', '.join(fallbacks)}, where they can; else refused with 503."
    return "refused with 503 provider_unavailable: it has no fallback that is on."
