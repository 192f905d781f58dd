"""What a switch of an account or a model would do, in figures: shown in its dialog before anybody presses.

Invariant: reads only, and a bounded number of rows: the last hour's requests by each tenant's index, at most `MOST_CALLS`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from django.db import connection
from django.db.models import Count, Sum
from django.utils.timezone import now

from llm.catalog.catalog import Catalog
from llm.catalog.loading import load_catalog
from llm.models import BatchJob, LanguageModel, Provider
from tenants.admin.tenants import ReasonForm

MOST_CALLS: Final = 100_000
MOST_MODELS: Final = 12
HOUR: Final = timedelta(hours=1)
LAST_HOUR: Final = """
SELECT model, count(*), count(DISTINCT tenant_id) FROM (
    SELECT log.model, log.tenant_id
    FROM tenants_tenant AS tenant
    CROSS JOIN LATERAL (
        SELECT model, tenant_id, provider FROM llm_requestlog
        WHERE tenant_id = tenant.id AND at >= %(since)s) AS log
    WHERE {column} = %(name)s
    LIMIT %(most)s) AS calls
GROUP BY GROUPING SETS ((), (model))
"""


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls that were answered in the last hour, and of how many tenants."""

    calls: int = 0
    tenants: int = 0

    def __str__(self) -> str:
        more = "at least " if self.calls >= MOST_CALLS else ""
        return f"{more}{_many(self.calls, 'call')} of {_many(self.tenants, 'tenant')}"


def effect_on_account(account: Provider) -> list[str]:
    """Sentences: its calls of the last hour, who would answer for each of its models, and what it has of batches."""
    whole, by_model = _last_hour("log.provider", account.name)
    lines = [f"In the last hour it answered {whole}."]
    without = {model.name: model for model in _models_of(account)}
    before, after = _catalogs(account)
    served = sorted(name for name in without if name in before.targets)
    for name in served[:MOST_MODELS]:
        lines.append(f"{name} ({_many(by_model.get(name, Calls()).calls, 'call')}): {_who(after, name)}")
    if len(served) > MOST_MODELS:
        lines.append(f"And {_many(len(served) - MOST_MODELS, 'model')} more.")
    return [*lines, _batches(provider=account.name)]


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
        _batches(model=model.name),
    ]


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


def _last_hour(column: str, name: str) -> tuple[Calls, dict[str, Calls]]:
    with connection.cursor() as cursor:
        cursor.execute(
            LAST_HOUR.format(column=column), {"since": now() - HOUR, "name": name, "most": MOST_CALLS}
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


def _batches(**whose: str) -> str:
    jobs = BatchJob.objects.exclude(state=BatchJob.State.FINISHED).filter(**whose)
    open_jobs = jobs.aggregate(jobs=Count("pk"), lines=Sum("line_count"))
    if not open_jobs["jobs"]:
        return "No batch is under way there."
    return f"Batches under way there: {_many(open_jobs['lines'] or 0, 'line')} in {_many(open_jobs['jobs'], 'job')}."


def _many(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
