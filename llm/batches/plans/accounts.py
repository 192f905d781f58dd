"""The provider accounts of a batch's lines: which one takes them, and what it is asked.

Invariant: a line's account is chosen before it is held, because its price is the account's; a model or provider that was
switched off meanwhile still finishes what it began.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from django.db.models import Count, Sum

from llm.batches.offers import Lane, lane_at
from llm.catalog.loading import target_at
from llm.catalog.snapshot import TenantSnapshot
from llm.errors import ModelNotFound
from llm.models import Batch, BatchItem, BatchJob, LanguageModel, Provider
from llm.providers.kinds import KINDS
from llm.providers.kinds.batch_api import BatchApi, UpstreamError
from llm.providers.target import Target

Deployment = tuple[str, str]  # the names of a provider account and a model


@dataclass(frozen=True, slots=True)
class ChosenAccount:
    """Where lines of a model go, and how."""

    target: Target
    lane: Lane


@dataclass(slots=True)
class Accounts:
    """The accounts that may take a chunk of lines. Lines of one model in one chunk stay together."""

    snapshot: TenantSnapshot
    at: datetime
    queued: Mapping[Deployment, int]  # lines that wait there
    failing: Collection[Deployment] = ()
    _chosen: dict[tuple[str, str], ChosenAccount] = field(default_factory=dict)

    @classmethod
    def of(cls, batch: Batch, *, snapshot: TenantSnapshot) -> "Accounts":
        """As the accounts are now: what all batches have queued there, and whose last calls failed."""
        open_jobs = BatchJob.objects.exclude(state=BatchJob.State.FINISHED)
        by_account = open_jobs.order_by().values_list("provider", "model")
        queued = Counter(
            {(provider, model): count for provider, model, count in by_account.annotate(n=Sum("line_count"))}
        )
        without_job = batch.items.filter(job=None, settled_at=None).exclude(provider="").order_by()
        for provider, model, count in without_job.values_list("provider", "model").annotate(n=Count("pk")):
            queued[provider, model] += count
        return cls(snapshot, batch.created_at, queued, set(by_account.filter(failures__gt=0)))

    def choose(self, target: Target, *, not_at: str = "") -> ChosenAccount:
        """The account of the target's model that has the least to do for its weight, but one that fails, or `not_at`, only
        where there is no other. Real time, where none has batches: the account is chosen when the line goes out."""
        key = (target.model, not_at)
        if key not in self._chosen:
            self._chosen[key] = self._look(target, not_at=not_at)
        return self._chosen[key]

    def _look(self, target: Target, *, not_at: str) -> ChosenAccount:
        accounts = self.snapshot.catalog.accounts_of(target)
        with_batches = [
            one for one in accounts if lane_at(one, prices=self.snapshot.prices, at=self.at) == "batch"
        ]
        if not with_batches:
            return ChosenAccount(target, "online")

        def order(account: Target) -> tuple[bool, bool, bool, float]:
            at = (account.provider, account.model)
            load = self.queued.get(at, 0) + 1
            weight = account.weight
            return account.provider == not_at, at in self.failing, not weight, load / (weight or 1.0)

        return ChosenAccount(min(with_batches, key=order), "batch")


def batch_api(provider: str) -> BatchApi:
    """The batch API of a provider account, by its name. Raises UpstreamError where its kind has none."""
    account = Provider.objects.get(name=provider)
    open_api = KINDS[account.kind].batches
    if open_api is None:
        raise UpstreamError(f"{provider} is of kind {account.kind}, which has no batches.", is_final=True)
    return open_api(account)


def batches_wait(provider: str) -> bool:
    """Whether an account is disabled, so that nothing more goes out to it. One that is drained finishes its batches."""
    return Provider.objects.filter(name=provider, is_active=False, batches_wait=True).exists()


def target_of(job: BatchJob) -> Target:
    """The model and the account a job goes to, active or not. An account's limits a minute are not those of its batches."""
    model = LanguageModel.objects.get(name=job.model)
    account = Provider.objects.get(name=job.provider)
    further = model.deployments.filter(provider=account).first()
    return replace(target_at(model, account, further), limits={})


def account_of(item: BatchItem, *, snapshot: TenantSnapshot) -> Target:
    """The model of a planned line at its account. Raises ModelNotFound where it is not served any more."""
    accounts = snapshot.catalog.accounts_of(snapshot.catalog.find(item.model))
    for account in accounts:
        if account.provider == item.provider:
            return account
    raise ModelNotFound(f"The model '{item.model}' is not served at this account any more.", param="model")
